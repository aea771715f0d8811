//! The engine and the model, side by side: each step goes into both, and every byte that leaves must be
//! the one that the model expects.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use aftr::engine::{DropReason, EventKind, TtlBy, Verdict};
use aftr::wire::Side;
use pnet_packet::ip::IpNextHeaderProtocol;

use crate::bed::{self, Bed, Inner, Outcome, R1, Seen, T, encapsulate};
use crate::model::{Entry, Flow, Model};
use crate::story::{Dice, Kind, Step};

pub(crate) struct Judge {
    bed: Bed,
    model: Model,
    ttl: TtlBy,
    steps: u64,
    /// Of everything that came out: two runs of one story must agree (INV-9).
    pub(crate) digest: u64,
}

/// What the model and the engine disagree about.
pub(crate) type Difference = String;

macro_rules! agree {
    ($holds:expr, $($text:tt)*) => { if !$holds { return Err(format!($($text)*)); } };
}

impl Judge {
    pub(crate) fn new(variant: usize) -> Judge {
        let (config, ttl) = super::variant(variant);
        let bed = Bed::of(&config, ttl);
        let model = Model::new(config, bed.now.millis());
        Judge { bed, model, ttl, steps: 0, digest: 0 }
    }

    pub(crate) fn step(&mut self, step: Step) -> Result<(), Difference> {
        self.steps += 1;
        match step {
            Step::Up { home, b4, host, port, kind, flags, remote, remote_port, ttl, tos, outer } => {
                let to = (remote_address(remote), 80 + u16::from(remote_port));
                let packet = from_host(kind, host, port, to, flags).ttl(ttl).tos(tos);
                self.up(b4_address(home, b4), packet, Flow { kind, flags }, outer)?;
            }
            Step::UpWrong { home, what } => self.up_wrong(home, what)?,
            Step::Down { nth, flags, remote, remote_port, ttl, tos } => {
                if let Some(at) = self.nth(nth) {
                    let from = SocketAddrV4::new(remote_address(remote), 80 + u16::from(remote_port));
                    self.down(
                        self.model.mappings[at].external,
                        self.model.mappings[at].kind,
                        from,
                        flags,
                        ttl,
                        tos,
                    )?;
                }
            }
            Step::DownBlind { address, port, kind, flags } => {
                let to = SocketAddrV4::new(pool_address(&self.model, address), port);
                self.down(to, kind, SocketAddrV4::new(R1, 80), flags, 64, 0)?;
            }
            Step::Call { home, b4, host, port, flags, nth } => {
                if let Some(at) = self.nth(nth) {
                    self.call(home, b4, host, port, flags, at)?;
                }
            }
            Step::ErrorDown { nth, code } => self.nth(nth).map_or(Ok(()), |at| self.error_down(at, code))?,
            Step::ErrorUp { nth, code } => self.nth(nth).map_or(Ok(()), |at| self.error_up(at, code))?,
            Step::Local { home } => self.local(home)?,
            Step::Garbage { seed, from_b4 } => self.garbage(seed, from_b4)?,
            Step::Purge { home } => self.purge(home)?,
            Step::Wait { millis } => self.wait(millis)?,
        }
        if self.steps.is_multiple_of(64) {
            self.compare_everything()?;
        }
        Ok(())
    }

    fn nth(&self, nth: u8) -> Option<usize> {
        let count = self.model.mappings.len();
        (count > 0).then(|| usize::from(nth) % count)
    }

    fn note(&mut self, outcome: &Outcome) {
        for byte in format!("{:?}", outcome.verdict).bytes().chain(outcome.bytes.iter().copied()) {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn send(&mut self, bytes: &[u8], side: Side) -> Outcome {
        let outcome = self.bed.send(bytes, side);
        self.note(&outcome);
        outcome
    }

    /// Packets that a host sends to the Internet.
    fn up(&mut self, b4: Ipv6Addr, packet: Inner, flow: Flow, class: u8) -> Result<(), Difference> {
        let outcome = self.send(&encapsulate(&b4.to_string(), T, class, 4, &[], &packet.bytes()), Side::B4);
        let Some(tos) = decapsulated_tos(packet.tos, class) else {
            return dropped(&outcome, DropReason::Ecn);
        };
        if packet.ttl <= 1 {
            return rejected(&outcome, DropReason::InTtl, (11, 0), &packet);
        }
        if flow.kind == Kind::Tcp && !is_sane(flow.flags) {
            return dropped(&outcome, DropReason::TcpFlags);
        }
        let (internal, remote) = ends(&packet, flow.kind);
        let (entry, known) = match self.find_caller(b4, flow, internal) {
            Ok(found) => found,
            Err(reason) => return dropped(&outcome, reason),
        };
        let home = self.model.home_of(b4);
        if let Err(reason) = self.model.may_send(home, known, flow, remote) {
            return refused(&outcome, reason, &packet);
        }
        if known.is_none()
            && let Err(reason) = self.model.may_create(home, flow.kind)
        {
            return refused(&outcome, reason, &packet);
        }
        agree!(outcome.verdict == Verdict::ToInternet, "expected it to leave, got {:?}", outcome.verdict);
        let seen = Seen::read(&outcome.bytes);
        let at = self.caller(entry, known, b4, flow.kind, internal, seen.from())?;
        self.model.passed(at, flow, remote, true);
        let external = self.model.mappings[at].external;
        let ttl = packet.ttl - u8::from(self.ttl == TtlBy::Engine);
        let expected = with_source(packet, flow.kind, external).ttl(ttl).tos(tos);
        agree!(
            seen.bytes == expected.bytes(),
            "left as {:02x?}\nexpected {:02x?}",
            seen.bytes,
            expected.bytes()
        );
        Ok(())
    }

    fn find_caller(
        &self,
        b4: Ipv6Addr,
        flow: Flow,
        internal: SocketAddrV4,
    ) -> Result<(Entry, Option<usize>), DropReason> {
        let entry = self.model.enter(b4)?;
        let known = match entry {
            Entry::Known(softwire) | Entry::Moves(softwire) => self.model.find(softwire, flow.kind, internal),
            Entry::Opens => None,
        };
        Ok((entry, known))
    }

    /// Settles who sent it, and learns its mapping when it is new.
    fn caller(
        &mut self,
        entry: Entry,
        known: Option<usize>,
        b4: Ipv6Addr,
        kind: Kind,
        internal: SocketAddrV4,
        external: SocketAddrV4,
    ) -> Result<usize, Difference> {
        let softwire = self.model.settle(entry, b4);
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

    /// Packets from the Internet.
    fn down(
        &mut self,
        to: SocketAddrV4,
        kind: Kind,
        from: SocketAddrV4,
        flags: u8,
        ttl: u8,
        tos: u8,
    ) -> Result<(), Difference> {
        let packet = from_remote(kind, from, to, flags).ttl(ttl).tos(tos);
        let outcome = self.send(&packet.bytes(), Side::Internet);
        let flow = Flow { kind, flags };
        if ttl <= 1 && self.ttl == TtlBy::Engine {
            return rejected_or_dropped(&outcome, DropReason::X4Ttl);
        }
        if to.port() == 0 && kind != Kind::Icmp {
            return dropped(&outcome, DropReason::L4Port0);
        }
        if kind == Kind::Tcp && !is_sane(flags) {
            return dropped(&outcome, DropReason::TcpFlags);
        }
        let Some(at) = self.model.at(kind, to) else {
            return self.unsolicited(&outcome, DropReason::NatNoMapping, flow, to, from);
        };
        if let Err(reason) = self.model.may_enter(at, flow, from) {
            return self.unsolicited(&outcome, reason, flow, to, from);
        }
        agree!(outcome.verdict == Verdict::ToB4, "expected it to reach {to}, got {:?}", outcome.verdict);
        self.model.passed(at, flow, from, false);
        let internal = self.model.mappings[at].internal;
        let lost = u8::from(self.ttl == TtlBy::Engine);
        let expected = with_destination(packet, kind, internal).ttl(ttl - lost);
        self.reached(&outcome, at, &expected)
    }

    /// The packet inside `outcome` is `expected`, in the softwire of the mapping and in no other (INV-3).
    fn reached(&self, outcome: &Outcome, at: usize, expected: &Inner) -> Result<(), Difference> {
        let b4 = self.model.b4_of(&self.model.mappings[at]);
        let outer = encapsulate(T, &b4.to_string(), expected.tos, 4, &[], &expected.bytes());
        agree!(outcome.bytes == outer, "arrived as {:02x?}\nexpected {:02x?}", outcome.bytes, outer);
        Ok(())
    }

    fn unsolicited(
        &mut self,
        outcome: &Outcome,
        reason: DropReason,
        flow: Flow,
        to: SocketAddrV4,
        from: SocketAddrV4,
    ) -> Result<(), Difference> {
        let is_syn = flow.kind == Kind::Tcp && flow.flags & 0x12 == 2;
        if is_syn && matches!(reason, DropReason::NatNoMapping | DropReason::NatFilter) {
            agree!(
                outcome.verdict == Verdict::Hold,
                "expected six seconds of silence, got {:?}",
                outcome.verdict
            );
            self.model.hold_syn(to, from);
            return Ok(());
        }
        dropped(outcome, reason)
    }

    /// From one home to another by the external address.
    fn call(
        &mut self,
        home: u8,
        variant: u8,
        host: u8,
        port: u8,
        flags: u8,
        target: usize,
    ) -> Result<(), Difference> {
        let called = self.model.mappings[target].clone();
        if called.kind == Kind::Icmp {
            return Ok(());
        }
        let (b4, flow) = (b4_address(home, variant), Flow { kind: called.kind, flags });
        let packet =
            from_host(called.kind, host, port, (*called.external.ip(), called.external.port()), flags);
        let outcome = self.send(&encapsulate(&b4.to_string(), T, 0, 4, &[], &packet.bytes()), Side::B4);
        if flow.kind == Kind::Tcp && !is_sane(flags) {
            return dropped(&outcome, DropReason::TcpFlags);
        }
        let (internal, _) = ends(&packet, called.kind);
        let (entry, known) = match self.find_caller(b4, flow, internal) {
            Ok(found) => found,
            Err(reason) => return dropped(&outcome, reason),
        };
        let prefix = self.model.home_of(b4);
        if let Err(reason) = self.model.may_send(prefix, known, flow, called.external) {
            return refused(&outcome, reason, &packet);
        }
        let paired =
            self.model.homes.get(&prefix).and_then(|home| home.address).unwrap_or(Ipv4Addr::UNSPECIFIED);
        let seen_as = known.map_or(SocketAddrV4::new(paired, 0), |at| self.model.mappings[at].external);
        if let Err(reason) = self.model.may_enter(target, flow, seen_as) {
            let caller = SocketAddrV4::new(Ipv4Addr::new(240, home, variant, host), internal.port());
            if matches!(reason, DropReason::NatFilter) {
                return self.unsolicited(&outcome, reason, flow, called.external, caller);
            }
            return refused(&outcome, reason, &packet);
        }
        if known.is_none()
            && let Err(reason) = self.model.may_create(prefix, called.kind)
        {
            return refused(&outcome, reason, &packet);
        }
        agree!(
            outcome.verdict == Verdict::ToB4,
            "expected the call to go through, got {:?}",
            outcome.verdict
        );
        let seen = Seen::read(&outcome.bytes[40..]);
        let at = self.caller(entry, known, b4, called.kind, internal, seen.from())?;
        let external = self.model.mappings[at].external;
        self.model.passed(at, flow, called.external, true);
        self.model.passed(target, flow, external, false);
        let expected =
            with_destination(with_source(packet, called.kind, external), called.kind, called.internal)
                .ttl(63);
        self.reached(&outcome, target, &expected)
    }

    fn error_down(&mut self, at: usize, code: u8) -> Result<(), Difference> {
        let (kind, external, internal) = self.tuple(at);
        let router = Ipv4Addr::new(198, 18, 5, 5);
        let quoted = |source: SocketAddrV4| packet(kind, source, SocketAddrV4::new(R1, 80), 16, 8).bytes();
        let error = bed::icmp(router, *external.ip(), 3, code, [0; 4], &quoted(external));
        let outcome = self.send(&error.bytes(), Side::Internet);
        agree!(outcome.verdict == Verdict::ToB4, "expected the error to pass, got {:?}", outcome.verdict);
        let lost = u8::from(self.ttl == TtlBy::Engine);
        let expected = bed::icmp(router, *internal.ip(), 3, code, [0; 4], &quoted(internal)).ttl(64 - lost);
        self.reached(&outcome, at, &expected)
    }

    fn error_up(&mut self, at: usize, code: u8) -> Result<(), Difference> {
        let (kind, external, internal) = self.tuple(at);
        let b4 = self.model.b4_of(&self.model.mappings[at]);
        let quoted =
            |destination: SocketAddrV4| packet(kind, SocketAddrV4::new(R1, 80), destination, 16, 0).bytes();
        let error = bed::icmp(*internal.ip(), R1, 3, code, [0; 4], &quoted(internal));
        let outcome = self.send(&encapsulate(&b4.to_string(), T, 0, 4, &[], &error.bytes()), Side::B4);
        agree!(
            outcome.verdict == Verdict::ToInternet,
            "expected the error to leave, got {:?}",
            outcome.verdict
        );
        let lost = u8::from(self.ttl == TtlBy::Engine);
        let expected = bed::icmp(*external.ip(), R1, 3, code, [0; 4], &quoted(external)).ttl(64 - lost);
        agree!(
            outcome.bytes == expected.bytes(),
            "left as {:02x?}\nexpected {:02x?}",
            outcome.bytes,
            expected.bytes()
        );
        Ok(())
    }

    fn tuple(&self, at: usize) -> (Kind, SocketAddrV4, SocketAddrV4) {
        let mapping = &self.model.mappings[at];
        (mapping.kind, mapping.external, mapping.internal)
    }

    fn local(&mut self, home: u8) -> Result<(), Difference> {
        let b4 = b4_address(home, 0).to_string();
        let request = bed::echo(host_address(0), [192, 0, 0, 1].into(), 8, 9);
        let outcome = self.send(&encapsulate(&b4, T, 0, 4, &[], &request.bytes()), Side::B4);
        if outcome.verdict == Verdict::Reply {
            let seen = outcome.inside(&b4);
            agree!(seen.payload[0] == 0 && seen.destination == host_address(0), "a strange reply {seen:?}");
            return Ok(());
        }
        dropped(&outcome, DropReason::Local)
    }

    fn up_wrong(&mut self, home: u8, what: u8) -> Result<(), Difference> {
        let b4 = b4_address(home, 0).to_string();
        let good = bed::udp(host_address(0), 5000, R1, 80);
        let wrap = |inner: &[u8]| encapsulate(&b4, T, 0, 4, &[], inner);
        let mut damaged = good.bytes();
        let (bytes, reason) = match what {
            0 => (encapsulate(bed::X, T, 0, 4, &[], &damaged), DropReason::V6Acl),
            1 => (wrap(&good.sent_by([8, 8, 8, 8].into()).bytes()), DropReason::InSrc),
            2 => (wrap(&good.sent_to([127, 0, 0, 1].into()).bytes()), DropReason::InDst),
            3 => (wrap(&good.sent_to([192, 168, 9, 9].into()).bytes()), DropReason::InNoRoute),
            4 => (wrap(&bed::udp(host_address(0), 5000, R1, 0).bytes()), DropReason::L4Port0),
            5 => {
                damaged[10] ^= 0x10;
                (wrap(&damaged), DropReason::InChecksum)
            }
            6 => {
                let mut gre = good;
                gre.protocol = IpNextHeaderProtocol(47);
                (wrap(&gre.bytes()), DropReason::InProtocol)
            }
            _ => (encapsulate(&b4, "2001:db8:ff::77", 0, 4, &[], &damaged), DropReason::V6Dst),
        };
        let outcome = self.send(&bytes, Side::B4);
        rejected_or_dropped(&outcome, reason)
    }

    fn garbage(&mut self, seed: u64, from_b4: bool) -> Result<(), Difference> {
        let mut dice = Dice(seed);
        let mut bytes: Vec<u8> = (0..dice.below(200)).map(|_| dice.roll() as u8).collect();
        if let Some(first) = bytes.first_mut() {
            *first = if from_b4 { 0x60 } else { 0x45 };
        }
        let side = if from_b4 { Side::B4 } else { Side::Internet };
        let outcome = self.send(&bytes, side);
        agree!(outcome.verdict.drop_reason().is_some(), "garbage became {:?}", outcome.verdict);
        Ok(())
    }

    fn purge(&mut self, home: u8) -> Result<(), Difference> {
        let prefix = self.model.home_of(b4_address(home, 0));
        let net = ipnet::Ipv6Net::new(prefix.into(), self.model.config.softwire.subscriber_mask_v6)
            .expect("a prefix");
        let (ours, theirs) = (self.model.purge(prefix), self.bed.aftr.purge(net, self.bed.now));
        agree!(ours == theirs, "purged {theirs} mappings, expected {ours}");
        Ok(())
    }

    /// Time passes until at least then: further, while some timer may or may not have ended.
    fn wait(&mut self, millis: u32) -> Result<(), Difference> {
        let start = self.bed.now.millis();
        let mut end = start + u64::from(millis);
        self.model.wait_until(end);
        while self.model.is_doubtful() {
            end += 500;
            self.model.wait_until(end);
        }
        let sent = self.bed.advance_millis(end - start);
        self.bed.events.clear();
        let answerable = std::mem::take(&mut self.model.answerable);
        agree!(sent.len() <= answerable.len(), "{} errors for {} silent SYNs", sent.len(), answerable.len());
        for (bytes, side) in sent {
            let inner = if side == Side::B4 { &bytes[40..] } else { &bytes[..] };
            let seen = Seen::read(inner);
            agree!(seen.payload[..2] == [3, 3], "not a port unreachable: {seen:?}");
            let known = answerable.iter().any(|(attacked, caller)| {
                *attacked.ip() == seen.source && (side == Side::B4 || *caller.ip() == seen.destination)
            });
            agree!(known, "an error that answers nothing: {seen:?}");
        }
        let (theirs, ours) = (self.bed.mappings(), self.model.mappings.len());
        agree!(theirs == ours, "{theirs} mappings live, expected {ours}");
        Ok(())
    }

    /// Every table, entry by entry.
    fn compare_everything(&self) -> Result<(), Difference> {
        let mut theirs: Vec<_> = self
            .bed
            .aftr
            .mappings(self.bed.now)
            .map(|m| (m.external, m.internal, m.b4, m.sessions))
            .collect();
        let ours = self.model.mappings.iter();
        let mut ours: Vec<_> =
            ours.map(|m| (m.external, m.internal, self.model.b4_of(m), m.sessions.len() as u32)).collect();
        theirs.sort_unstable();
        ours.sort_unstable();
        agree!(theirs == ours, "mappings are {theirs:?}\nexpected {ours:?}");
        let mut theirs: Vec<_> = self
            .bed
            .aftr
            .subscribers()
            .map(|view| {
                let mut sets = view.port_sets.clone();
                sets.sort_unstable();
                (view.prefix.network().to_bits(), view.external, sets, view.softwires.len())
            })
            .collect();
        theirs.sort();
        let ours: Vec<_> = self
            .model
            .homes
            .iter()
            .map(|(prefix, home)| {
                let mut sets: Vec<_> = home.sets.iter().map(|set| (set.first, set.last)).collect();
                sets.sort_unstable();
                (*prefix, home.address, sets, home.softwires.len())
            })
            .collect();
        agree!(theirs == ours, "subscribers are {theirs:x?}\nexpected {ours:x?}");
        Ok(())
    }
}

fn dropped(outcome: &Outcome, reason: DropReason) -> Result<(), Difference> {
    agree!(
        outcome.verdict == Verdict::Drop(reason),
        "expected {reason:?} in silence, got {:?}",
        outcome.verdict
    );
    Ok(())
}

/// Dropped for this reason; whether anybody is told depends on the rate limits.
fn rejected_or_dropped(outcome: &Outcome, reason: DropReason) -> Result<(), Difference> {
    agree!(outcome.verdict.drop_reason() == Some(reason), "expected {reason:?}, got {:?}", outcome.verdict);
    Ok(())
}

fn rejected(
    outcome: &Outcome,
    reason: DropReason,
    message: (u8, u8),
    cause: &Inner,
) -> Result<(), Difference> {
    rejected_or_dropped(outcome, reason)?;
    if outcome.verdict == Verdict::Reject(reason) {
        let seen = Seen::read(&outcome.bytes[40..]);
        agree!(
            (seen.payload[0], seen.payload[1]) == message,
            "told {:?}, expected {message:?}",
            &seen.payload[..2]
        );
        agree!(seen.quoted() == cause.bytes(), "quotes something else");
    }
    Ok(())
}

/// Refused for want of a resource: the host is told 3/1; for anything else it is not.
fn refused(outcome: &Outcome, reason: DropReason, cause: &Inner) -> Result<(), Difference> {
    if matches!(reason, DropReason::NatQuota | DropReason::NatRate | DropReason::NatPool) {
        return rejected(outcome, reason, (3, 1), cause);
    }
    dropped(outcome, reason)
}

/// RFC 6040 figure 4, and the uniform model of RFC 2983.
fn decapsulated_tos(inner: u8, outer: u8) -> Option<u8> {
    let figure = [
        [Some(0), Some(0), Some(0), None],
        [Some(1), Some(1), Some(1), Some(3)],
        [Some(2), Some(1), Some(2), Some(3)],
        [Some(3); 4],
    ];
    figure[usize::from(inner & 3)][usize::from(outer & 3)].map(|ecn| outer & !3 | ecn)
}

fn is_sane(flags: u8) -> bool {
    let (fin, syn, rst, ack) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0, flags & 16 != 0);
    let conflict = [fin, syn, rst].iter().filter(|flag| **flag).count() > 1;
    !conflict && (syn || rst || ack)
}

fn b4_address(home: u8, variant: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, (u16::from(home) + 1) << 8, 0, 0, 0, u16::from(variant) + 1)
}

fn host_address(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 2 + host)
}

fn remote_address(remote: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, 1 + remote)
}

fn pool_address(model: &Model, nth: u8) -> Ipv4Addr {
    let nets = &model.config.nat.external_ip_address_pool[0].external_ip_pool;
    let net = nets[usize::from(nth) % nets.len()];
    (net.network().to_bits() + u32::from(nth) % (net.broadcast().to_bits() - net.network().to_bits() + 1))
        .into()
}

fn from_host(kind: Kind, host: u8, port: u8, to: (Ipv4Addr, u16), flags: u8) -> Inner {
    let source = SocketAddrV4::new(host_address(host), 5000 + u16::from(port));
    packet(kind, source, SocketAddrV4::new(to.0, to.1), flags, 8)
}

fn from_remote(kind: Kind, from: SocketAddrV4, to: SocketAddrV4, flags: u8) -> Inner {
    packet(kind, from, to, flags, 0)
}

/// For ICMP the identifier is the port of whichever end is a host's: the source of a request, the
/// destination of a reply.
fn packet(kind: Kind, source: SocketAddrV4, destination: SocketAddrV4, flags: u8, icmp: u8) -> Inner {
    match kind {
        Kind::Tcp => bed::tcp(*source.ip(), source.port(), *destination.ip(), destination.port(), flags),
        Kind::Udp => bed::udp(*source.ip(), source.port(), *destination.ip(), destination.port()),
        Kind::Icmp => {
            let identifier = if icmp == 8 { source.port() } else { destination.port() };
            bed::echo(*source.ip(), *destination.ip(), icmp, identifier)
        }
    }
}

/// Internal and remote end of a packet that a host sends.
fn ends(packet: &Inner, kind: Kind) -> (SocketAddrV4, SocketAddrV4) {
    let word = |at: usize| u16::from_be_bytes([packet.payload[at], packet.payload[at + 1]]);
    let (source, destination) = if kind == Kind::Icmp { (word(4), word(4)) } else { (word(0), word(2)) };
    (SocketAddrV4::new(packet.source, source), SocketAddrV4::new(packet.destination, destination))
}

fn with_source(mut inner: Inner, kind: Kind, source: SocketAddrV4) -> Inner {
    set_port(&mut inner, kind, 0, source.port());
    inner.sent_by(*source.ip())
}

fn with_destination(mut inner: Inner, kind: Kind, destination: SocketAddrV4) -> Inner {
    set_port(&mut inner, kind, 2, destination.port());
    inner.sent_to(*destination.ip())
}

fn set_port(inner: &mut Inner, kind: Kind, at: usize, port: u16) {
    let at = if kind == Kind::Icmp { 4 } else { at };
    inner.payload[at..at + 2].copy_from_slice(&port.to_be_bytes());
    if kind == Kind::Icmp {
        inner.payload[2..4].fill(0);
        let sum = pnet_packet::util::checksum(&inner.payload, 1);
        inner.payload[2..4].copy_from_slice(&sum.to_be_bytes());
    }
}
