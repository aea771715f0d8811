//! The public face of the engine.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use aftr_config::Config;

use super::counters::Counters;
use super::event::Event;
use super::fragment::Fragments;
use super::from_b4::packet_from_b4;
use super::from_internet::packet_from_internet;
use super::held_syn::HeldSyns;
use super::identification::IpIdentifications;
use super::limit_notice::LimitNotices;
use super::limiter::Limiter;
use super::mapping::{Mappings, Pool, Ports, addresses_of};
use super::notice::{Events, Notices};
use super::owners::{Share, WorkerNumber};
use super::pass_through::PassThrough;
use super::refusal::Refusal;
use super::seed::{HashKey, Random, Seed};
use super::session::Sessions;
use super::settings::Settings;
use super::softwire::{Identifications, Reassembly, Softwires};
use super::subscriber::{Admission, Subscribers};
use super::table_notice::TableNotices;
use super::time::Instant;
use super::toward::Toward;
use super::verdict::Verdict;
use super::warm::{BATCH, Guess};
use crate::wire::{Packet, Side};

/// Who takes one from the inner TTL of a packet that crosses. A hairpinned packet is never seen by
/// the kernel: there it is always the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TtlBy {
    /// The engine: it is the only router between the two sides.
    Engine,
    /// The kernel, which routes on both sides of a tun: the engine checks the TTL of what comes from
    /// a B4 and leaves the decrement to the kernel.
    Kernel,
}

/// One AFTR: the tables of one worker.
pub struct Aftr {
    pub(super) settings: Settings,
    pub(super) share: Share,
    pub(super) softwires: Softwires,
    pub(super) subscribers: Subscribers,
    pub(super) mappings: Mappings,
    pub(super) sessions: Sessions,
    pub(super) pool: Pool,
    pub(super) ports: Ports,
    pub(super) pass_through: PassThrough,
    pub(super) held_syns: HeldSyns,
    pub(super) limiter: Limiter,
    pub(super) random: Random,
    pub(super) flow_label_key: HashKey,
    pub(super) identifications: Identifications,
    pub(super) ip_identifications: IpIdentifications,
    pub(super) reassembly: Reassembly,
    /// Of homes, and of the Internet: neither can use up the other's room.
    pub(super) fragments_from_b4: Fragments,
    pub(super) fragments_from_internet: Fragments,
    pub(super) counters: Counters,
    pub(super) events: Events,
    pub(super) notices: Notices,
    pub(super) limit_notices: LimitNotices,
    pub(super) table_notices: TableNotices,
    /// Whether port sets may be granted.
    pub(super) may_grant: bool,
    pub(super) outbox: VecDeque<(Packet, Side)>,
    pub(super) handed_over: VecDeque<(Packet, WorkerNumber)>,
    /// What the first pass over a batch found for the packet that is judged now.
    pub(super) guess: Guess,
}

/// Timers that one call of [`Aftr::handle_timeout`] looks at, at most: about a millisecond's work.
pub(super) const MOST_TIMERS: usize = 8192;

impl Aftr {
    /// An engine without state but the static mappings of `config`. All big tables are made here.
    #[must_use]
    pub fn new(config: &Config, ttl: TtlBy, seed: &Seed, now: Instant) -> Aftr {
        Aftr::of_worker(config, Share::whole(config), ttl, seed, now)
    }

    /// The engine of one of several workers. It is given the packets that are its own ([`Owners::of`]), and
    /// those that the engines of the others hand over.
    ///
    /// [`Owners::of`]: super::owners::Owners::of
    #[must_use]
    pub fn of_worker(config: &Config, share: Share, ttl: TtlBy, seed: &Seed, now: Instant) -> Aftr {
        let tables = &config.nat.tables;
        let mut random = Random::new(seed);
        let mut aftr = Aftr {
            settings: Settings::new(config, ttl),
            softwires: Softwires::new(tables.limit_softwires, random.hash_key()),
            subscribers: Subscribers::new(tables.limit_subscribers, random.hash_key()),
            mappings: Mappings::new(tables.limit_port_mappings, random.hash_key(), now),
            sessions: Sessions::new(tables.limit_sessions, random.hash_key(), now),
            pool: Pool::new(config, &share),
            ports: Ports::new(addresses_of(config)),
            pass_through: PassThrough::new(tables.limit_pass_through_sessions, random.hash_key(), now),
            held_syns: HeldSyns::new(config.nat.syn_held_max, random.hash_key(), now),
            limiter: Limiter::new(&mut random),
            flow_label_key: random.hash_key(),
            identifications: Identifications::new(&mut random),
            ip_identifications: IpIdentifications::new(&mut random, now),
            reassembly: Reassembly::new(&config.softwire.reassembly, random.hash_key(), now),
            fragments_from_b4: Fragments::new(&config.nat.fragments, random.hash_key(), now),
            fragments_from_internet: Fragments::new(&config.nat.fragments, random.hash_key(), now),
            random,
            counters: Counters::default(),
            events: Events::default(),
            notices: Notices::default(),
            limit_notices: LimitNotices::default(),
            table_notices: TableNotices::default(),
            may_grant: true,
            outbox: VecDeque::new(),
            handed_over: VecDeque::new(),
            guess: Guess::NOTHING,
            share,
        };
        aftr.enter_statics(now);
        aftr
    }

    /// Bytes that [`Aftr::new`] will take for the tables of `config`, when all of them are full.
    #[must_use]
    pub fn memory(config: &Config) -> u64 {
        let tables = &config.nat.tables;
        Softwires::memory(tables.limit_softwires)
            + Subscribers::memory(tables.limit_subscribers)
            + Mappings::memory(tables.limit_port_mappings)
            + Sessions::memory(tables.limit_sessions)
            + Pool::memory(config)
            + Ports::memory(addresses_of(config))
            + PassThrough::memory(tables.limit_pass_through_sessions)
            + HeldSyns::memory(config.nat.syn_held_max)
            + Limiter::memory()
            + Identifications::memory()
            + IpIdentifications::memory()
            + Reassembly::memory(&config.softwire.reassembly)
            + 2 * Fragments::memory(&config.nat.fragments)
    }

    /// Judges a batch: `verdicts[i]` says what to do with `batch[i]`, which was edited in place.
    pub fn process(&mut self, batch: &mut [Packet], verdicts: &mut [Verdict], now: Instant) {
        for (packets, verdicts) in batch.chunks_mut(BATCH).zip(verdicts.chunks_mut(BATCH)) {
            let guesses = self.warm(packets);
            for ((packet, verdict), guess) in packets.iter_mut().zip(verdicts).zip(guesses) {
                self.guess = guess;
                *verdict = self.packet(packet, now);
            }
        }
        self.guess = Guess::NOTHING;
    }

    /// Judges one packet.
    #[inline]
    pub fn packet(&mut self, packet: &mut Packet, now: Instant) -> Verdict {
        if packet.is_from_worker() {
            return self.packet_from_worker(packet, now);
        }
        debug_assert!(self.share.owns(packet), "a packet of another worker");
        let verdict = match packet.side {
            Side::B4 => {
                self.counters.from_b4.count(packet.len());
                packet_from_b4(self, packet, now)
            }
            Side::Internet => {
                self.counters.from_internet.count(packet.len());
                packet_from_internet(self, packet, now)
            }
        };
        self.count(packet, verdict);
        verdict
    }

    #[inline(never)]
    fn packet_from_worker(&mut self, packet: &mut Packet, now: Instant) -> Verdict {
        self.counters.from_workers.count(packet.len());
        let verdict = match packet.side {
            Side::B4 => packet_from_b4(self, packet, now),
            Side::Internet => packet_from_internet(self, packet, now),
        };
        self.count(packet, verdict);
        self.answer_worker(packet, verdict)
    }

    /// Sends, or drops, a fragment that was held. Its place in the outbox is `at`: in front of what was cut
    /// off it.
    pub(super) fn resume(&mut self, mut packet: Packet, outcome: Result<Verdict, Refusal>, at: usize) {
        let side = packet.side;
        self.counters.fragments_resumed += 1;
        match outcome {
            Err(refusal) => self.counters.drop(refusal.reason),
            Ok(verdict) => {
                self.count(&packet, verdict);
                let verdict =
                    if packet.is_from_worker() { self.answer_worker(&mut packet, verdict) } else { verdict };
                if let Verdict::ToWorker(worker) = verdict {
                    self.handed_over.push_back((packet, worker));
                } else if let Some(to) = verdict.leaves_to(side) {
                    self.outbox.insert(at, (packet, to));
                }
            }
        }
    }

    fn count(&mut self, packet: &Packet, verdict: Verdict) {
        match verdict {
            Verdict::ToInternet => self.counters.to_internet.count(packet.len()),
            Verdict::ToB4 => self.counters.to_b4.count(packet.len()),
            Verdict::Reply => self.counters.replies.count(packet.len()),
            // Counted where it was decided.
            Verdict::ToWorker(_) | Verdict::Hold | Verdict::Drop(_) | Verdict::Reject(_) => {}
        }
    }

    /// Does what time asks for: expiry, hold-down, held SYNs. Works a bounded amount; when more is
    /// due, [`Aftr::poll_timeout`] answers a time that is not later than `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.release_held_ports(now);
        for _ in 0..MOST_TIMERS {
            let Some(id) = self.sessions.timers.pop_due(now) else { break };
            self.expire_session(id, now);
        }
        for _ in 0..MOST_TIMERS {
            let Some(id) = self.mappings.timers.pop_due(now) else { break };
            self.expire_mapping(id, now);
        }
        self.expire_passed_through(now);
        self.reject_held_syns(now);
        self.expire_reassembly(now);
        self.expire_fragments(Side::B4, now);
        self.expire_fragments(Side::Internet, now);
        self.release_port_sets(now);
        self.pool.end_quarantine(now);
        self.tell_refusals(now);
        self.tell_pools(now);
        self.watch_tables(now);
        self.tell_ecn_anomalies(now);
        self.counters.events_lost = self.events.lost;
    }

    /// When [`Aftr::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        [
            self.sessions.timers.next_look(),
            self.mappings.timers.next_look(),
            self.pass_through.next_look(),
            self.held_syns.next_look(),
            self.reassembly.next_look(),
            self.fragments_from_b4.next_look(),
            self.fragments_from_internet.next_look(),
            self.ports.next_due(),
            self.pool.next_emptied(),
            self.pool.next_quarantine(),
            self.next_refusal(),
            self.next_pool_notice(),
            self.next_table_notice(),
            self.next_ecn_notice(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Grants none of these ports before their time: whoever held them last may still be believed to.
    pub fn quarantine(&mut self, blocks: impl IntoIterator<Item = (Ipv4Addr, RangeInclusive<u16>, Instant)>) {
        for (external, ports, until) in blocks {
            if let Toward::Address(address) = self.toward(external) {
                self.pool.quarantine(address, &ports, until);
            }
        }
    }

    /// Says whether port sets may be granted from now on; who has one keeps it. At first they may.
    pub fn allow_grants(&mut self, may_grant: bool) {
        self.may_grant = may_grant;
    }

    /// A packet that time brought about, and the side to send it to.
    pub fn poll_packet(&mut self) -> Option<(Packet, Side)> {
        self.outbox.pop_front()
    }

    /// A packet that time, or another packet, brought about and that goes to another worker.
    pub fn poll_handover(&mut self) -> Option<(Packet, WorkerNumber)> {
        self.handed_over.pop_front()
    }

    /// The oldest event not yet fetched.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// Everything counted since the start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The subscriber that an admission names, when it exists.
    #[inline]
    pub(super) fn subscriber_of(&self, admission: Admission) -> Option<u32> {
        match admission {
            Admission::Known(softwire) | Admission::Move(softwire) => {
                Some(self.softwires.slab[softwire].subscriber)
            }
            Admission::Open(subscriber) => subscriber,
        }
    }
}
