//! From the engine's events to records. Who holds what is remembered, because a B4 that changes its address
//! ends a grant under the old one and begins it under the new (RFC 8158 knows a host by its address).

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::Ipv6Net;

use super::fields::number_of;
use super::instance::Instance;
use super::record::{Change, Host, Record, Threshold, What};
use crate::engine::{Event, EventKind, Grant, MappingRecord, Table};

/// An event of the engine with the time of the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamped {
    /// When it happened, in milliseconds since 1970 (UTC).
    pub unix_millis: u64,
    /// What happened.
    pub event: Event,
}

/// Who holds what, as far as records told it.
pub(super) struct Ledger {
    pub(super) instance: Instance,
    /// Whether anybody is told of mappings.
    log_mappings: bool,
    port_sets: HashMap<Ipv6Net, Vec<Grant>>,
    mappings: HashMap<Ipv6Addr, Vec<MappingRecord>>,
}

impl Ledger {
    pub(super) fn new(instance: Instance, log_mappings: bool) -> Ledger {
        Ledger { instance, log_mappings, port_sets: HashMap::new(), mappings: HashMap::new() }
    }

    /// Appends the records of an event.
    pub(super) fn enter(&mut self, stamped: &Stamped, records: &mut Vec<Record>) {
        let at = stamped.unix_millis;
        let mut tell = |what| records.push(Record { at, what });
        match stamped.event.kind {
            EventKind::PortSetGranted(grant) => {
                self.port_sets.entry(grant.subscriber).or_default().push(grant);
                tell(port_set(Change::Begin, &grant));
            }
            EventKind::PortSetReleased(grant) => tell(port_set(Change::End, &self.close(&grant))),
            EventKind::MappingCreated(mapping) if self.log_mappings => {
                self.mappings.entry(mapping.b4).or_default().push(mapping);
                tell(mapping_of(Change::Begin, &mapping));
            }
            EventKind::MappingRemoved(mapping) if self.log_mappings => {
                self.close_mapping(&mapping);
                tell(mapping_of(Change::End, &mapping));
            }
            EventKind::MappingCreated(_) | EventKind::MappingRemoved(_) => {}
            EventKind::SoftwireMoved { subscriber, from, to } => self.move_b4(subscriber, from, to, tell),
            EventKind::PoolHigh { pool_id, .. } => {
                if let Some((value, _)) = self.instance.pool_thresholds(pool_id) {
                    tell(What::Threshold { threshold: Threshold::PoolHigh, value, pool_id });
                }
            }
            EventKind::PoolLow { pool_id, .. } => {
                if let Some((_, value)) = self.instance.pool_thresholds(pool_id) {
                    tell(What::Threshold { threshold: Threshold::PoolLow, value, pool_id });
                }
            }
            EventKind::TableHigh { table, percent } => {
                let threshold = match table {
                    Table::Subscribers => Threshold::AddressMappingsHigh,
                    Table::Mappings
                    | Table::Softwires
                    | Table::Sessions
                    | Table::Reassembly
                    | Table::Fragments => Threshold::MappingsHigh,
                };
                if let Some(value) = self.instance.table_threshold(table, percent) {
                    tell(What::Threshold { threshold, value, pool_id: 0 });
                }
            }
            EventKind::LimitReached(limit) => tell(What::Limit { limit, most: self.instance.most(&limit) }),
            // RFC 8158 has no event for these; the log and the counters tell of them.
            EventKind::TableLow { .. } | EventKind::EcnAnomalies { .. } | EventKind::Refused { .. } => {}
        }
    }

    /// Everything that is held ends.
    pub(super) fn end_all(&mut self, at: u64, records: &mut Vec<Record>) {
        let mappings = self.mappings.drain().flat_map(|(_, mappings)| mappings);
        records.extend(mappings.map(|mapping| Record { at, what: mapping_of(Change::End, &mapping) }));
        let grants = self.port_sets.drain().flat_map(|(_, grants)| grants);
        records.extend(grants.map(|grant| Record { at, what: port_set(Change::End, &grant) }));
    }

    /// A grant that ends, under the B4 address that was told last.
    fn close(&mut self, grant: &Grant) -> Grant {
        let Some(open) = self.port_sets.get_mut(&grant.subscriber) else { return *grant };
        let place = |grant: &Grant| (grant.external, grant.first_port);
        let Some(at) = open.iter().position(|other| place(other) == place(grant)) else { return *grant };
        let told = open.swap_remove(at);
        if open.is_empty() {
            self.port_sets.remove(&grant.subscriber);
        }
        told
    }

    fn close_mapping(&mut self, mapping: &MappingRecord) {
        let Some(open) = self.mappings.get_mut(&mapping.b4) else { return };
        if let Some(at) = open.iter().position(|other| other == mapping) {
            open.swap_remove(at);
        }
        if open.is_empty() {
            self.mappings.remove(&mapping.b4);
        }
    }

    fn move_b4(&mut self, subscriber: Ipv6Net, from: Ipv6Addr, to: Ipv6Addr, mut tell: impl FnMut(What)) {
        let grants = self.port_sets.get_mut(&subscriber).into_iter().flatten();
        for grant in grants.filter(|grant| grant.b4 == from) {
            tell(port_set(Change::End, grant));
            grant.b4 = to;
            tell(port_set(Change::Begin, grant));
        }
        let Some(mut mappings) = self.mappings.remove(&from) else { return };
        for mapping in &mut mappings {
            tell(mapping_of(Change::End, mapping));
            mapping.b4 = to;
            tell(mapping_of(Change::Begin, mapping));
        }
        self.mappings.entry(to).or_default().append(&mut mappings);
    }
}

fn port_set(change: Change, grant: &Grant) -> What {
    What::PortSet {
        change,
        host: host(grant.b4, grant.internal),
        external: grant.external,
        first_port: grant.first_port,
        last_port: grant.last_port,
        pool_id: grant.pool_id,
    }
}

fn mapping_of(change: Change, mapping: &MappingRecord) -> What {
    What::Mapping {
        change,
        host: host(mapping.b4, *mapping.internal.ip()),
        protocol: number_of(mapping.protocol),
        internal_port: mapping.internal.port(),
        external: *mapping.external.ip(),
        external_port: mapping.external.port(),
        pool_id: mapping.pool_id,
    }
}

fn host(b4: Ipv6Addr, internal: Ipv4Addr) -> Host {
    Host { b4, internal }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Config, Instant, Protocol};

    const TEXT: &str = "[softwire]\naftr-ipv6-addr = ['2001:db8:aaaa::1']\nb4-prefixes = ['2001:db8:b4::/48']\n\
        [[nat.external-ip-address-pool]]\npool-id = 7\nexternal-ip-pool = ['198.51.100.0/28', '203.0.113.7']";

    fn ledger(log_mappings: bool) -> Ledger {
        Ledger::new(Instance::of(&Config::parse(TEXT).unwrap(), "aftr"), log_mappings)
    }

    fn grant(first_port: u16, b4: &str) -> Grant {
        Grant {
            subscriber: "2001:db8:b4::/56".parse().unwrap(),
            b4: b4.parse().unwrap(),
            internal: Ipv4Addr::new(10, 0, 0, 2),
            pool_id: 7,
            external: Ipv4Addr::new(198, 51, 100, 3),
            first_port,
            last_port: first_port + 511,
        }
    }

    fn mapping(external_port: u16, b4: &str) -> MappingRecord {
        MappingRecord {
            b4: b4.parse().unwrap(),
            protocol: Protocol::Udp,
            internal: "10.0.0.2:5000".parse().unwrap(),
            external: std::net::SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 3), external_port),
            pool_id: 7,
        }
    }

    fn told(ledger: &mut Ledger, kinds: &[EventKind]) -> Vec<What> {
        let mut records = Vec::new();
        for (at, &kind) in (1..).zip(kinds) {
            let event = Event { at: Instant::ZERO, kind };
            ledger.enter(&Stamped { unix_millis: at, event }, &mut records);
        }
        records.into_iter().map(|record| record.what).collect()
    }

    const OLD: &str = "2001:db8:b4::1";
    const NEW: &str = "2001:db8:b4::2";

    /// IPX-28
    #[test]
    fn a_moved_b4_ends_its_grants_and_begins_them_again() {
        let subscriber = "2001:db8:b4::/56".parse().unwrap();
        let moved =
            EventKind::SoftwireMoved { subscriber, from: OLD.parse().unwrap(), to: NEW.parse().unwrap() };
        let other = "2001:db8:b4::3";
        let (granted, released) = (EventKind::PortSetGranted, EventKind::PortSetReleased);
        let events =
            [granted(grant(1024, OLD)), granted(grant(2048, other)), moved, released(grant(1024, OLD))];
        assert_eq!(
            told(&mut ledger(false), &events),
            [
                port_set(Change::Begin, &grant(1024, OLD)),
                port_set(Change::Begin, &grant(2048, other)),
                port_set(Change::End, &grant(1024, OLD)),
                port_set(Change::Begin, &grant(1024, NEW)),
                port_set(Change::End, &grant(1024, NEW)),
            ]
        );
    }

    /// IPX-28
    #[test]
    fn a_moved_b4_takes_its_mappings_along() {
        let subscriber = "2001:db8:b4::/56".parse().unwrap();
        let moved =
            EventKind::SoftwireMoved { subscriber, from: OLD.parse().unwrap(), to: NEW.parse().unwrap() };
        let events = [
            EventKind::MappingCreated(mapping(5000, OLD)),
            moved,
            EventKind::MappingRemoved(mapping(5000, NEW)),
        ];
        let mut ledger = ledger(true);
        assert_eq!(
            told(&mut ledger, &events),
            [
                mapping_of(Change::Begin, &mapping(5000, OLD)),
                mapping_of(Change::End, &mapping(5000, OLD)),
                mapping_of(Change::Begin, &mapping(5000, NEW)),
                mapping_of(Change::End, &mapping(5000, NEW)),
            ]
        );
        assert!(ledger.mappings.is_empty());
    }

    /// IPX-22: one end for each begin, under the B4 that was told.
    #[test]
    fn what_is_held_at_the_end_ends() {
        let mut ledger = ledger(true);
        let subscriber = "2001:db8:b4::/56".parse().unwrap();
        let moved =
            EventKind::SoftwireMoved { subscriber, from: OLD.parse().unwrap(), to: NEW.parse().unwrap() };
        let (granted, created) = (EventKind::PortSetGranted, EventKind::MappingCreated);
        told(&mut ledger, &[granted(grant(1024, OLD)), created(mapping(1030, OLD)), moved]);
        let mut ended = Vec::new();
        ledger.end_all(9, &mut ended);
        let expected =
            [mapping_of(Change::End, &mapping(1030, NEW)), port_set(Change::End, &grant(1024, NEW))];
        assert_eq!(ended, expected.map(|what| Record { at: 9, what }));
        ended.clear();
        ledger.end_all(10, &mut ended);
        assert_eq!(ended, []);
    }

    /// IPX-23
    #[test]
    fn mappings_are_told_of_when_asked_only() {
        let events =
            [EventKind::MappingCreated(mapping(5000, OLD)), EventKind::MappingRemoved(mapping(5000, OLD))];
        assert_eq!(told(&mut ledger(false), &events), []);
        assert_eq!(told(&mut ledger(true), &events).len(), 2);
    }

    /// IPX-27
    #[test]
    fn thresholds_are_numbers_and_not_percentages() {
        let events = [
            EventKind::PoolHigh { pool_id: 7, percent: 93 },
            EventKind::PoolLow { pool_id: 7, percent: 69 },
            EventKind::PoolHigh { pool_id: 8, percent: 93 },
            EventKind::TableHigh { table: Table::Mappings, percent: 81 },
            EventKind::TableHigh { table: Table::Subscribers, percent: 96 },
            EventKind::TableHigh { table: Table::Sessions, percent: 96 },
        ];
        let threshold = |threshold, value, pool_id| What::Threshold { threshold, value, pool_id };
        assert_eq!(
            told(&mut ledger(false), &events),
            [
                threshold(Threshold::PoolHigh, 16, 7),
                threshold(Threshold::PoolLow, 11, 7),
                threshold(Threshold::MappingsHigh, 838_861, 0),
                threshold(Threshold::AddressMappingsHigh, 62_260, 0),
            ]
        );
    }
}
