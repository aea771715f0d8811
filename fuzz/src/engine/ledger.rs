//! What the events say, kept as a journal would: it must tell the same as the tables.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::time::Duration;

use aftr::engine::{
    DropReason, Event, EventKind, Gauges, Grant, Instant, Limit, MappingRecord, Protocol, Team,
};
use aftr_config::Config;

use super::packet;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    mappings: BTreeMap<(u8, SocketAddrV4), MappingRecord>,
    grants: BTreeMap<(Ipv4Addr, u16), Grant>,
    latest: Instant,
    /// When a port that was freed may be somebody's again (RFC 6888 REQ-8).
    held: BTreeMap<(u8, SocketAddrV4), Instant>,
    /// Whose untranslated flows are, the latest of each: protocol, inner end, remote end.
    passed: BTreeMap<(u8, SocketAddrV4, SocketAddrV4), Ipv6Addr>,
    /// What is told to be nearly full.
    alarms: BTreeSet<String>,
    /// What was told to be used up, and when.
    limits: BTreeMap<Limit, Instant>,
}

impl Ledger {
    pub(super) fn note(&mut self, event: Event, now: Instant, config: &Config) {
        assert!(event.at >= self.latest && event.at <= now, "an event out of time: {event:?} at {now:?}");
        self.latest = event.at;
        // Each of them has alarms of its own.
        let has_several_workers = config.dataplane.workers > 1;
        match event.kind {
            EventKind::MappingCreated(record) => {
                let before = self.mappings.insert((record.protocol as u8, record.external), record);
                assert_eq!(before, None, "created twice");
                let held = self.held.get(&(record.protocol as u8, record.external));
                assert!(held.is_none_or(|&until| event.at >= until), "held down: {record:?}");
            }
            EventKind::MappingRemoved(record) => {
                let made = self.mappings.remove(&(record.protocol as u8, record.external));
                assert_eq!(made, Some(record), "removed as something else than it was made");
                // The ports of an own range are its subscriber's before and after; TCP's may be used again at once
                // when TCP itself ended the last session (REQ-8a, 8b).
                if record.protocol != Protocol::Tcp
                    && config.nat.deterministic.is_none()
                    && config.nat.hold_down_max.is_none()
                {
                    let seconds = config.nat.timers.hold_down_timeout.into();
                    let until = event.at + Duration::from_secs(seconds);
                    self.held.insert((record.protocol as u8, record.external), until);
                }
            }
            EventKind::PortSetGranted(grant) => {
                let before = self.grants.insert((grant.external, grant.first_port), grant);
                assert_eq!(before, None, "granted twice");
            }
            EventKind::PortSetReleased(grant) => {
                let made = self.grants.remove(&(grant.external, grant.first_port));
                assert_eq!(made, Some(grant), "released as something else than it was granted");
            }
            EventKind::SoftwireMoved { from, to, .. } => {
                self.mappings
                    .values_mut()
                    .filter(|record| record.b4 == from)
                    .for_each(|record| record.b4 = to);
                self.passed.values_mut().filter(|b4| **b4 == from).for_each(|b4| *b4 = to);
            }
            EventKind::PoolHigh { percent, pool_id } => {
                assert!(percent <= 100);
                self.alarms.insert(format!("pool {pool_id}"));
            }
            EventKind::PoolLow { percent, pool_id } => {
                let ends = self.alarms.remove(&format!("pool {pool_id}"));
                assert!(percent <= 100 && (ends || has_several_workers), "pool {pool_id}");
            }
            EventKind::TableHigh { percent, table } => {
                assert!((80..=100).contains(&percent));
                self.alarms.insert(format!("{table:?}"));
            }
            EventKind::TableLow { percent, table } => {
                let ends = self.alarms.remove(&format!("{table:?}"));
                assert!(percent < 70 && (ends || has_several_workers), "{table:?} at {percent} %");
            }
            EventKind::LimitReached(limit) => {
                let before = self.limits.insert(limit, event.at);
                let is_due = before.is_none_or(|at| event.at >= at + Duration::from_secs(10));
                assert!(is_due || has_several_workers, "{limit} told again so soon");
            }
            EventKind::Refused { count, .. } | EventKind::EcnAnomalies { count } => assert!(count > 0),
        }
    }

    /// The mapping at an external end; `number` is the protocol's.
    pub(super) fn mapping(&self, number: u8, external: SocketAddrV4) -> Option<&MappingRecord> {
        self.mappings.get(&(protocol(number) as u8, external))
    }

    /// The mapping of an end behind a B4.
    pub(super) fn mapping_of(
        &self,
        number: u8,
        b4: Ipv6Addr,
        internal: SocketAddrV4,
    ) -> Option<&MappingRecord> {
        let is_it = |record: &&MappingRecord| {
            record.protocol == protocol(number) && record.b4 == b4 && record.internal == internal
        };
        self.mappings.values().find(is_it)
    }

    /// A packet of this flow left as it was.
    pub(super) fn passes(&mut self, number: u8, internal: SocketAddrV4, remote: SocketAddrV4, b4: Ipv6Addr) {
        self.passed.insert((number, internal, remote), b4);
    }

    /// Whose an untranslated flow is.
    pub(super) fn passed(
        &self,
        number: u8,
        internal: SocketAddrV4,
        remote: SocketAddrV4,
    ) -> Option<Ipv6Addr> {
        self.passed.get(&(number, internal, remote)).copied()
    }

    /// Nothing is nearly full any more, and that was told.
    pub(super) fn at_the_end(&self) {
        assert!(self.alarms.is_empty(), "never said to have room again: {:?}", self.alarms);
    }

    /// Nobody is refused for want of ports whose own range is not in use (RFC 7422 section 2).
    pub(super) fn refused(&self, aftr: &Team, config: &Config, b4: Ipv6Addr, reason: DropReason) {
        if config.nat.deterministic.is_none() || !matches!(reason, DropReason::NatQuota | DropReason::NatPool)
        {
            return;
        }
        let Some(view) = aftr.subscribers().find(|view| view.prefix.contains(&b4)) else { return };
        let quota = &config.nat.port_quota;
        let has_quota =
            view.mappings[0] < quota.tcp && view.mappings[1] < quota.udp && view.mappings[2] < quota.icmp;
        let granted = self.grants.values().filter(|grant| grant.subscriber == view.prefix).count();
        assert!(
            !has_quota || view.port_sets.len() > granted,
            "{reason:?} with an own range that is free: {view:?}"
        );
    }

    /// A limit on held ports may have come, which frees them early; pools may have gone.
    pub(super) fn reconfigured(&mut self, config: &Config) {
        self.held.clear();
        let pools = &config.nat.external_ip_address_pool;
        let lives = |alarm: &String| pools.iter().any(|pool| *alarm == format!("pool {}", pool.pool_id));
        self.alarms.retain(|alarm| !alarm.starts_with("pool") || lives(alarm));
    }

    /// Every table against every other, and against the ledger.
    pub(super) fn compare(&self, aftr: &Team, config: &Config, now: Instant) {
        let gauges = aftr.gauges();
        let counted = [self.count_mappings(aftr, config, now), self.count_subscribers(aftr, config)];
        let [(mappings, sessions), (softwires, subscriber_sessions)] = counted;
        let subscribers = aftr.subscribers().count();
        assert_eq!(gauges, Gauges { subscribers, softwires, mappings, sessions, ..gauges });
        assert_eq!(subscriber_sessions, sessions, "sessions of subscribers and of mappings");
        let tables = &config.nat.tables;
        let limits = [
            tables.limit_subscribers,
            tables.limit_softwires,
            tables.limit_port_mappings,
            tables.limit_sessions,
        ];
        let used = [subscribers, softwires, mappings, sessions];
        let workers = usize::from(config.dataplane.workers);
        let fits = |used: usize, limit: u32| used <= limit as usize * workers;
        assert!(used.iter().zip(limits).all(|(&used, limit)| fits(used, limit)), "{gauges:?}");
        assert!(fits(gauges.reassembling, config.softwire.reassembly.limit), "{gauges:?}");
        assert!(fits(gauges.fragmented, 2 * config.nat.fragments.limit), "{gauges:?}");
        assert_eq!(aftr.counters().events_lost, 0);
    }

    /// Mappings and their sessions.
    fn count_mappings(&self, aftr: &Team, config: &Config, now: Instant) -> (usize, usize) {
        let (mut count, mut sessions) = (0, 0);
        let mut internal = BTreeMap::new();
        for view in aftr.mappings(now) {
            (count, sessions) = (count + 1, sessions + view.sessions as usize);
            let noted = self.mappings.get(&(view.protocol as u8, view.external));
            let record = MappingRecord {
                b4: view.b4,
                protocol: view.protocol,
                internal: view.internal,
                external: view.external,
                pool_id: noted.map_or(0, |noted| noted.pool_id),
            };
            assert_eq!(noted, Some(&record), "no event told of it");
            let twin = internal.insert((view.b4, view.internal, view.protocol as u8), view.external);
            assert_eq!(twin, None, "two mappings of one end: {view:?}");
            assert!(is_external(config, *view.external.ip()), "{view:?} has an address of no pool");
            assert!(
                config.nat.external_port_range.contains(&view.external.port()) || view.is_static,
                "{view:?}"
            );
            assert!(is_allowed(config, view.b4), "{view:?} of a B4 that is not allowed");
        }
        assert_eq!(self.mappings.len(), count, "mappings ended without an event");
        (count, sessions)
    }

    /// Softwires and sessions of all subscribers.
    fn count_subscribers(&self, aftr: &Team, config: &Config) -> (usize, usize) {
        let (mut softwires, mut sessions, mut sets) = (BTreeMap::new(), 0, BTreeMap::new());
        let mut owned = BTreeMap::<Ipv6Addr, [u32; 3]>::new();
        for record in self.mappings.values() {
            owned.entry(record.b4).or_default()[protocol_index(record.protocol)] += 1;
        }
        for view in aftr.subscribers() {
            sessions += view.sessions as usize;
            let mut mappings = [0; 3];
            for b4 in &view.softwires {
                assert!(view.prefix.contains(b4), "{b4} is not in {}", view.prefix);
                assert_eq!(softwires.insert(*b4, view.prefix), None, "two softwires of one B4");
                let own = owned.get(b4).copied().unwrap_or_default();
                (0..3).for_each(|at| mappings[at] += own[at]);
            }
            assert_eq!(mappings, view.mappings, "mappings of {}", view.prefix);
            let told = self.grants.values().filter(|grant| grant.subscriber == view.prefix);
            let mut told: Vec<_> =
                told.map(|grant| (grant.external, grant.first_port, grant.last_port)).collect();
            for (first, last) in view.port_sets {
                assert!(first <= last);
                // A view does not say at which address: some may be at one that left the pool.
                let grant = told.iter().position(|set| (set.1, set.2) == (first, last));
                let address = match grant {
                    Some(at) => told.swap_remove(at).0,
                    None if config.nat.deterministic.is_some() => {
                        view.external.expect("an own range somewhere")
                    }
                    None => panic!("no event told of {first} to {last} of {}", view.prefix),
                };
                assert_eq!(sets.insert((address, first), (last, view.prefix)), None, "a port set of two");
            }
            assert!(told.is_empty(), "{told:?} of {} ended without an event", view.prefix);
        }
        let ends: Vec<_> =
            sets.iter().map(|((address, first), (last, _))| (*address, *first, *last)).collect();
        let apart = ends.windows(2).all(|two| two[0].0 != two[1].0 || two[0].2 < two[1].1);
        assert!(apart, "port sets overlap: {ends:?}");
        assert!(self.grants.keys().all(|key| sets.contains_key(key)), "ports of nobody");
        for view in aftr.mappings(Instant::ZERO).filter(|view| !view.is_static) {
            let prefix = softwires.get(&view.b4).expect("a mapping of no softwire");
            let external = (*view.external.ip(), view.external.port());
            let set = sets.range(..=external).next_back().filter(|(key, _)| key.0 == external.0);
            let is_owned = set.is_some_and(|(_, (last, owner))| external.1 <= *last && owner == prefix);
            assert!(is_owned, "{view:?} has a port that is not its subscriber's");
        }
        (softwires.len(), sessions)
    }
}

fn protocol(number: u8) -> Protocol {
    match number {
        packet::TCP => Protocol::Tcp,
        packet::UDP => Protocol::Udp,
        _ => Protocol::Icmp,
    }
}

fn protocol_index(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Tcp => 0,
        Protocol::Udp => 1,
        Protocol::Icmp => 2,
    }
}

pub(super) fn is_external(config: &Config, address: Ipv4Addr) -> bool {
    config
        .nat
        .external_ip_address_pool
        .iter()
        .any(|pool| pool.external_ip_pool.iter().any(|net| net.contains(&address)))
}

pub(super) fn is_allowed(config: &Config, b4: Ipv6Addr) -> bool {
    config.softwire.b4_prefixes.iter().any(|prefix| prefix.contains(&b4))
}
