//! The public face of the engine.

use std::collections::VecDeque;
use std::time::Duration;

use aftr_config::Config;
use ipnet::Ipv6Net;

use super::counters::Counters;
use super::event::Event;
use super::fragment::Fragments;
use super::from_b4::packet_from_b4;
use super::from_internet::packet_from_internet;
use super::held_syn::HeldSyns;
use super::identification::IpIdentifications;
use super::limiter::Limiter;
use super::mapping::{Layout, Mappings, Pool, Ports, addresses_of};
use super::notice::{Events, Notices};
use super::pass_through::PassThrough;
use super::refusal::Refusal;
use super::seed::{HashKey, Random, Seed};
use super::session::Sessions;
use super::settings::Settings;
use super::softwire::{Identifications, Reassembly, Softwires};
use super::subscriber::{Admission, Subscribers};
use super::table::NONE;
use super::time::Instant;
use super::verdict::Verdict;
use super::view::{Gauges, MappingView, SubscriberView};
use super::warm::BATCH;
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
    pub(super) fragments: Fragments,
    pub(super) counters: Counters,
    pub(super) events: Events,
    pub(super) notices: Notices,
    pub(super) outbox: VecDeque<(Packet, Side)>,
}

/// Timers that one call of [`Aftr::handle_timeout`] looks at, at most: about a millisecond's work.
const MOST_TIMERS: usize = 8192;

impl Aftr {
    /// An engine without state but the static mappings of `config`. All big tables are made here.
    #[must_use]
    pub fn new(config: &Config, ttl: TtlBy, seed: &Seed, now: Instant) -> Aftr {
        let tables = &config.nat.tables;
        let mut random = Random::new(seed);
        let mut aftr = Aftr {
            settings: Settings::new(config, ttl),
            softwires: Softwires::new(tables.limit_softwires, random.hash_key()),
            subscribers: Subscribers::new(tables.limit_subscribers, random.hash_key()),
            mappings: Mappings::new(tables.limit_port_mappings, random.hash_key(), now),
            sessions: Sessions::new(tables.limit_sessions, random.hash_key(), now),
            pool: Pool::new(config),
            ports: Ports::new(addresses_of(config)),
            pass_through: PassThrough::new(tables.limit_pass_through_sessions, random.hash_key(), now),
            held_syns: HeldSyns::new(config.nat.syn_held_max, random.hash_key(), now),
            limiter: Limiter::new(&mut random),
            flow_label_key: random.hash_key(),
            identifications: Identifications::new(&mut random),
            ip_identifications: IpIdentifications::new(&mut random, now),
            reassembly: Reassembly::new(&config.softwire.reassembly, random.hash_key(), now),
            fragments: Fragments::new(&config.nat.fragments, random.hash_key(), now),
            random,
            counters: Counters::default(),
            events: Events::default(),
            notices: Notices::default(),
            outbox: VecDeque::new(),
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
            + Fragments::memory(&config.nat.fragments)
    }

    /// Judges a batch: `verdicts[i]` says what to do with `batch[i]`, which was edited in place.
    pub fn process(&mut self, batch: &mut [Packet], verdicts: &mut [Verdict], now: Instant) {
        for (packets, verdicts) in batch.chunks_mut(BATCH).zip(verdicts.chunks_mut(BATCH)) {
            self.warm(packets);
            for (packet, verdict) in packets.iter_mut().zip(verdicts) {
                *verdict = self.packet(packet, now);
            }
        }
    }

    /// Judges one packet.
    #[inline]
    pub fn packet(&mut self, packet: &mut Packet, now: Instant) -> Verdict {
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

    /// Sends, or drops, a fragment that was held. Its place in the outbox is `at`: in front of what was cut
    /// off it.
    pub(super) fn resume(&mut self, packet: Packet, outcome: Result<Verdict, Refusal>, at: usize) {
        let side = packet.side;
        self.counters.fragments_resumed += 1;
        match outcome {
            Err(refusal) => self.counters.drop(refusal.reason),
            Ok(verdict) => {
                self.count(&packet, verdict);
                if let Some(to) = verdict.leaves_to(side) {
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
            Verdict::Hold | Verdict::Drop(_) | Verdict::Reject(_) => {}
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
        self.expire_fragments(now);
        self.release_port_sets(now);
        self.tell_refusals(now);
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
            self.fragments.next_look(),
            self.ports.next_due(),
            self.pool.next_emptied(),
            self.next_refusal(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// A packet that time brought about, and the side to send it to.
    pub fn poll_packet(&mut self) -> Option<(Packet, Side)> {
        self.outbox.pop_front()
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

    /// How many live in each table; costs nothing, whatever the tables hold.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        Gauges {
            subscribers: self.subscribers.slab.len(),
            softwires: self.softwires.slab.len(),
            mappings: self.mappings.slab.len(),
            sessions: self.sessions.slab.len(),
            reassembling: self.reassembly.len(),
            fragmented: self.fragments.len(),
        }
    }

    /// Takes over a changed configuration; what it still allows lives on.
    ///
    /// # Errors
    /// The keys that cannot change while the engine runs; then nothing has changed.
    pub fn reconfigure(&mut self, config: &Config, now: Instant) -> Result<(), Vec<&'static str>> {
        let fixed = fixed_keys_that_differ(&self.settings.config, config);
        if !fixed.is_empty() {
            return Err(fixed);
        }
        self.settings = Settings::new(config, self.settings.ttl);
        self.reassembly.limit(&config.softwire.reassembly);
        self.fragments.limit(&config.nat.fragments);
        self.pool.update(config);
        self.ports.extend_to(self.pool.addresses.len());
        self.end_retired_mappings(now);
        let refused: Vec<Ipv6Net> = self
            .softwires
            .slab
            .iter()
            .filter(|(_, softwire)| !self.settings.allows_b4(softwire.b4))
            .map(|(_, softwire)| Ipv6Net::from(softwire.b4))
            .collect();
        refused.into_iter().for_each(|b4| {
            self.purge(b4, now);
        });
        Ok(())
    }

    /// Ends every mapping of every subscriber inside `prefix` (RFC 7785 section 4.6); says how many.
    pub fn purge(&mut self, prefix: Ipv6Net, now: Instant) -> usize {
        self.purge_passed_through(prefix);
        self.purge_mappings(prefix, now)
    }

    /// Every mapping that lives, in no particular but a repeatable order.
    pub fn mappings(&self, now: Instant) -> impl Iterator<Item = MappingView> + '_ {
        self.mappings.slab.iter().map(move |(_, mapping)| MappingView {
            b4: self.softwires.slab[mapping.softwire].b4,
            protocol: mapping.protocol,
            internal: mapping.internal(),
            external: mapping.external(),
            age: Duration::from_secs((now.millis() / 1000).saturating_sub(u64::from(mapping.made))),
            idle: Duration::from_millis(u64::from(mapping.last_seen.age(now))),
            sessions: mapping.sessions,
            is_static: mapping.is_static,
        })
    }

    /// Every subscriber that holds something, in no particular but a repeatable order.
    pub fn subscribers(&self) -> impl Iterator<Item = SubscriberView> + '_ {
        self.subscribers.slab.iter().map(|(id, _)| self.subscriber_view(id))
    }

    fn subscriber_view(&self, id: u32) -> SubscriberView {
        let subscriber = &self.subscribers.slab[id];
        let mut view = SubscriberView {
            prefix: self.settings.subscriber_net(subscriber.prefix),
            external: (subscriber.address != NONE).then(|| self.pool.ip(subscriber.address)),
            softwires: Vec::new(),
            port_sets: Vec::new(),
            mappings: subscriber.mappings,
            sessions: subscriber.sessions,
            from_b4: (0, 0),
            to_b4: (0, 0),
        };
        let mut next = subscriber.first_softwire;
        while next != NONE {
            let softwire = &self.softwires.slab[next];
            view.softwires.push(softwire.b4);
            view.from_b4.0 += softwire.from_b4.packets;
            view.from_b4.1 += softwire.from_b4.octets;
            view.to_b4.0 += softwire.to_b4.packets;
            view.to_b4.1 += softwire.to_b4.octets;
            next = softwire.next;
        }
        let mut next = subscriber.first_port_set;
        while next != NONE {
            let (_, ports) = self.pool.extent(next);
            view.port_sets.push((*ports.start(), *ports.end()));
            next = self.pool.port_set(next).next;
        }
        view
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

/// What the tables were shaped by at the start.
fn fixed_keys_that_differ(old: &Config, new: &Config) -> Vec<&'static str> {
    let deterministic_pool = old.nat.deterministic.is_some()
        && old.nat.external_ip_address_pool != new.nat.external_ip_address_pool;
    // RFC 7422: whose ports are whose follows from the order of the prefixes.
    let deterministic_prefixes =
        old.nat.deterministic.is_some() && old.softwire.b4_prefixes != new.softwire.b4_prefixes;
    let differences = [
        ("softwire.aftr-ipv6-addr", old.softwire.aftr_ipv6_addr != new.softwire.aftr_ipv6_addr),
        ("softwire.subscriber-mask-v6", old.softwire.subscriber_mask_v6 != new.softwire.subscriber_mask_v6),
        ("nat.external-port-range", old.nat.external_port_range != new.nat.external_port_range),
        ("nat.port-set.port-set-size", Layout::new(&old.nat) != Layout::new(&new.nat)),
        ("nat.deterministic", old.nat.deterministic != new.nat.deterministic),
        ("nat.external-ip-address-pool (with nat.deterministic)", deterministic_pool),
        ("softwire.b4-prefixes (with nat.deterministic)", deterministic_prefixes),
        ("softwire.reassembly.limit", old.softwire.reassembly.limit != new.softwire.reassembly.limit),
        ("nat.fragments.limit", old.nat.fragments.limit != new.nat.fragments.limit),
        ("nat.mapping-limits", old.nat.tables != new.nat.tables),
        ("nat.syn-held-max", old.nat.syn_held_max != new.nat.syn_held_max),
        ("nat.mapping-table", old.nat.mapping_table != new.nat.mapping_table),
        ("dataplane", old.dataplane != new.dataplane),
    ];
    differences.into_iter().filter(|&(_, differs)| differs).map(|(key, _)| key).collect()
}
