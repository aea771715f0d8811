//! The engine and the model, side by side: each step goes into both, and every byte that leaves must be
//! the one that the model expects.

use std::collections::{BTreeSet, VecDeque};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use aftr::engine::{DropReason, EventKind, TtlBy, Verdict};
use aftr::wire::{Packet, Side};

use crate::bed::Bed;
use crate::build;
use crate::ip::Ip;
use crate::left::Came;
use crate::model::{Entry, Model};
use crate::receivers::Receivers;
use crate::story::{Datagram, Kind, Outer, Part, Step};

pub(crate) struct Judge {
    pub(crate) bed: Bed,
    pub(crate) model: Model,
    pub(crate) ttl: TtlBy,
    pub(crate) receivers: Receivers,
    /// Packets by the reason that they were dropped for, as the model has it.
    pub(crate) drops: Vec<u64>,
    /// Fragments that were kept, and of these those that went on or were dropped after all.
    pub(crate) held: u64,
    pub(crate) resumed: u64,
    /// What left last, for errors to quote.
    pub(crate) lately: VecDeque<(Vec<u8>, Side, u32)>,
    /// The last of these that were too large for some path to a B4.
    pub(crate) large: VecDeque<Vec<u8>>,
    /// Identifications that B4s have seen.
    pub(crate) ids6: BTreeSet<(Ipv6Addr, Vec<u8>)>,
    /// Datagrams of which only pieces were sent.
    cut: VecDeque<Ip>,
    steps: u64,
    /// Of everything that came out: two runs of one story must agree (INV-9).
    pub(crate) digest: u64,
}

/// What the model and the engine disagree about.
pub(crate) type Difference = String;

macro_rules! agree {
    ($holds:expr, $($text:tt)*) => { if !$holds { return Err(format!($($text)*)); } };
}
pub(crate) use agree;

impl Judge {
    pub(crate) fn new(variant: usize) -> Judge {
        let (config, ttl) = super::variant(variant);
        let bed = Bed::of(&config, ttl);
        let model = Model::new(config, bed.now.millis());
        Judge {
            bed,
            model,
            ttl,
            receivers: Receivers::default(),
            drops: vec![0; DropReason::ALL.len()],
            held: 0,
            resumed: 0,
            lately: VecDeque::new(),
            large: VecDeque::new(),
            ids6: BTreeSet::new(),
            cut: VecDeque::new(),
            steps: 0,
            digest: 0,
        }
    }

    pub(crate) fn step(&mut self, step: Step) -> Result<(), Difference> {
        self.steps += 1;
        match step {
            Step::Send { datagram, piece, outer } => self.send(&datagram, piece, &outer)?,
            Step::UpWrong { home, what } => self.up_wrong(home, what)?,
            Step::DownWrong { what } => self.down_wrong(what)?,
            Step::ErrorDown { nth, code, wrong } => self.error_down(nth, code, wrong)?,
            Step::ErrorUp { nth, code, wrong } => self.error_up(nth, code, wrong)?,
            Step::ErrorAbout { nth, kind, code, quoted } => self.error_about(nth, [kind, code], quoted)?,
            Step::TunnelError { nth, kind, code, parameter, quoted, forged } => {
                self.tunnel_error(nth, [kind, code], parameter, quoted, forged)?;
            }
            Step::Chain { home, what, length } => self.chain(home, what, length)?,
            Step::Local { home, length } => self.local(home, length)?,
            Step::Garbage { seed, from_b4 } => self.garbage(seed, from_b4)?,
            Step::Mangled { datagram, outer, seed } => self.mangled(&datagram, &outer, seed)?,
            Step::Purge { home } => self.purge(home)?,
            Step::Wait { millis } => self.wait(millis)?,
        }
        self.count_lost();
        if self.steps.is_multiple_of(64) {
            self.compare_everything()?;
        }
        Ok(())
    }

    /// Gives a packet to the engine.
    pub(crate) fn offer(&mut self, bytes: &[u8], side: Side) -> Came {
        let mut packet = Packet::copied_from(bytes, side);
        let suppressed = self.bed.aftr.counters().icmp_suppressed;
        // A batch looks ahead: every other packet is one.
        let verdict = if self.steps.is_multiple_of(2) {
            self.bed.aftr.packet(&mut packet, self.bed.now)
        } else {
            let mut verdicts = [Verdict::Hold];
            self.bed.aftr.process(std::slice::from_mut(&mut packet), &mut verdicts, self.bed.now);
            verdicts[0]
        };
        self.bed.assert_balance();
        self.bed.fetch_events();
        let mut left = VecDeque::new();
        left.extend(verdict.leaves_to(side).map(|to| (packet.bytes().to_vec(), to)));
        while let Some((packet, to)) = self.bed.aftr.poll_packet() {
            left.push_back((packet.bytes().to_vec(), to));
        }
        self.note(verdict, &left);
        let suppressed = self.bed.aftr.counters().icmp_suppressed - suppressed;
        Came { verdict, left, suppressed }
    }

    fn note(&mut self, verdict: Verdict, left: &VecDeque<(Vec<u8>, Side)>) {
        let mut mix = |byte: u8| self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        mix(verdict.drop_reason().map_or(0, |reason| reason as u8));
        left.iter().flat_map(|(bytes, _)| bytes).for_each(|&byte| mix(byte));
    }

    /// A datagram, or a piece of it.
    fn send(&mut self, told: &Datagram, piece: Option<Part>, outer: &Outer) -> Result<(), Difference> {
        let is_cut = piece.is_some() || outer.fragment.is_some();
        let Some(whole) = self.datagram(told, is_cut) else { return Ok(()) };
        let ip = match piece {
            None => whole,
            Some((start, end)) => {
                let (start, end) = (usize::from(start), usize::from(end).min(whole.payload().len()));
                if start > end {
                    return Ok(());
                }
                whole.piece(start, end)
            }
        };
        match build::b4_of(told.way) {
            None => self.packet_from_internet(&ip),
            Some(b4) => match build::encapsulated(&ip, b4, outer, &self.model.config) {
                None => Ok(()),
                Some(packet) => self.packet_from_b4(&packet),
            },
        }
    }

    /// All pieces of a datagram are of the one that was made for the first of them: mappings come and go.
    pub(crate) fn datagram(&mut self, told: &Datagram, is_cut: bool) -> Option<Ip> {
        if is_cut && let Some(made) = self.cut.iter().find(|made| made.number == told.number) {
            return Some(made.clone());
        }
        let made = build::datagram(told, &self.model)?;
        if build::b4_of(told.way).is_some_and(|b4| self.is_between_workers(b4, made.destination())) {
            return None;
        }
        if told.is_damaged {
            self.receivers.damaged.insert(told.number);
        }
        if is_cut {
            if self.cut.len() == 128 {
                self.cut.pop_front();
            }
            self.cut.push_back(made.clone());
        }
        Some(made)
    }

    /// A call to a home of another worker, whose state the caller's does not know: the model is of one worker,
    /// and `tests/rfc/workers.rs` tells of calls between two.
    pub(crate) fn is_between_workers(&self, b4: Ipv6Addr, destination: Ipv4Addr) -> bool {
        let pools = &self.model.config.nat.external_ip_address_pool;
        let is_call = pools.iter().any(|pool| pool.holds(destination));
        let owners = self.bed.aftr.owners();
        is_call && owners.of_address(destination) != owners.of_b4(b4)
    }

    pub(crate) fn nothing_more(&self, came: &Came) -> Result<(), Difference> {
        agree!(came.suppressed == 0, "an error that nobody expects was kept back");
        agree!(came.left.is_empty(), "more left than expected: {:02x?}", came.left);
        Ok(())
    }

    /// Settles who sent it, and learns its mapping when it is new.
    pub(crate) fn caller(
        &mut self,
        entry: Entry,
        known: Option<usize>,
        (b4, own): (Ipv6Addr, usize),
        kind: Kind,
        internal: SocketAddrV4,
        external: SocketAddrV4,
    ) -> Result<usize, Difference> {
        let softwire = self.model.settle(entry, b4, own);
        for event in std::mem::take(&mut self.bed.events) {
            if let EventKind::PortSetGranted(grant) = event.kind {
                self.model.granted(grant.b4, grant.external, grant.first_port, grant.last_port)?;
            }
        }
        match known {
            Some(at) => Ok(at),
            None => self.model.create(softwire, b4, kind, internal, external),
        }
    }

    fn purge(&mut self, home: u8) -> Result<(), Difference> {
        let prefix = self.model.home_of(build::b4_address(home, 0));
        let net = ipnet::Ipv6Net::new(prefix.into(), self.model.config.softwire.subscriber_mask_v6)
            .expect("a prefix");
        let (ours, theirs) = (self.model.purge(prefix), self.bed.aftr.purge(net, self.bed.now));
        agree!(ours == theirs, "purged {theirs} mappings, expected {ours}");
        Ok(())
    }

    /// Counts what was kept and then lost.
    fn count_lost(&mut self) {
        let model = &mut self.model;
        let lost = model.from_b4.lost.drain(..).chain(model.from_internet.lost.drain(..));
        let lost = lost.chain(model.reassembly.lost.drain(..));
        for reason in lost {
            self.drops[reason as usize] += 1;
            self.resumed += 1;
        }
    }
}
