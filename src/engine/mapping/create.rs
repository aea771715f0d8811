//! A new mapping: every limit that can refuse it, then the choice of its port, and only then state.
//!
//! Nothing that lives is ever given up for it (RFC 6888 REQ-11d).

use std::net::Ipv6Addr;

use aftr_config::{PortQuota, Protocol};

use super::layout::subscriber_index;
use super::ports::Place;
use super::table::Mapping;
use crate::engine::aftr::Aftr;
use crate::engine::event::{EventKind, Grant};
use crate::engine::softwire::Tunnel;
use crate::engine::subscriber::Admission;
use crate::engine::table::{NONE, Record};
use crate::engine::time::Instant;
use crate::engine::transport::Flow;
use crate::engine::verdict::DropReason;

/// A mapping that can be made: all that was decided about it.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Plan {
    pub(in crate::engine) place: Place,
    port_set: u32,
    /// The set is not the subscriber's yet.
    is_grant: bool,
}

impl Aftr {
    /// Whether a mapping for `flow` may be made, and where. Changes nothing but the random stream.
    pub(in crate::engine) fn plan_mapping(
        &mut self,
        admission: Admission,
        tunnel: &Tunnel,
        flow: &Flow,
        now: Instant,
    ) -> Result<Plan, DropReason> {
        let subscriber = self.subscriber_of(admission);
        let quota = self.settings.config.nat.port_quota;
        let limit = port_limit(&quota, flow.protocol);
        let (used, bucket) = subscriber.map_or((0, crate::engine::bucket::Bucket::FULL), |id| {
            let record = &self.subscribers.slab[id];
            (record.mappings[flow.protocol as usize], record.creation)
        });
        // RFC 6888 REQ-4: the number, then REQ-4c: the rate.
        if used >= limit {
            return Err(DropReason::NatQuota);
        }
        if !bucket.has_one(quota.new_mappings_per_second, quota.new_mappings_burst, now) {
            return Err(DropReason::NatRate);
        }
        let has_room = match admission.softwire() {
            Some(softwire) => {
                let hash = self.mappings.hash(softwire, flow.protocol, flow.source, flow.source_port);
                self.mappings.has_room_at(hash)
            }
            None => self.mappings.has_room(),
        };
        if !has_room {
            return Err(DropReason::NatMem);
        }
        self.plan_port(subscriber, tunnel.b4, flow)
    }

    /// A port of the sets that the subscriber has, or of one that it is granted now.
    fn plan_port(&mut self, subscriber: Option<u32>, b4: Ipv6Addr, flow: &Flow) -> Result<Plan, DropReason> {
        let (address, mut set) = subscriber.map_or((NONE, NONE), |id| {
            let record = &self.subscribers.slab[id];
            (record.address, record.first_port_set)
        });
        // RFC 7422: its own range comes first, also when granted sets outlived it.
        if let Some(own) = self.own_range_set(b4).filter(|&own| self.pool.port_set(own).subscriber == NONE) {
            let place = self.pick_port(own, flow).ok_or(DropReason::NatPool)?;
            return Ok(Plan { place, port_set: own, is_grant: true });
        }
        let mut sets = 0;
        while set != NONE {
            // Sets of an address that left the pool only wait to be given back.
            if self.pool.extent(set).0 == address {
                sets += 1;
                if let Some(place) = self.pick_port(set, flow) {
                    return Ok(Plan { place, port_set: set, is_grant: false });
                }
            }
            set = self.pool.port_set(set).next;
        }
        if sets >= self.settings.config.nat.port_set.max_port_sets {
            return Err(DropReason::NatQuota);
        }
        if !self.may_grant {
            return Err(DropReason::NatJournal);
        }
        let set = self.plan_grant(address, b4).ok_or(DropReason::NatPool)?;
        let place = self.pick_port(set, flow).ok_or(DropReason::NatPool)?;
        Ok(Plan { place, port_set: set, is_grant: true })
    }

    fn pick_port(&mut self, set: u32, flow: &Flow) -> Option<Place> {
        let (address, ports) = self.pool.extent(set);
        let size = u32::from(*ports.end() - *ports.start()) + 1;
        if u32::from(self.pool.port_set(set).taken[flow.protocol as usize]) >= size {
            return None;
        }
        // RFC 7857 section 8: parity on request of the operator only.
        let parity = self.settings.config.nat.port_parity_preservation.then_some(flow.source_port & 1);
        let place = Place { address, protocol: flow.protocol, port: 0 };
        let port = self.ports.pick(place, &ports, parity, &mut self.random)?;
        Some(Place { port, ..place })
    }

    /// The set that the subscriber would be granted next. A paired address that has none left refuses:
    /// the subscriber is not moved to another (RFC 7857 section 4).
    fn plan_grant(&mut self, address: u32, b4: Ipv6Addr) -> Option<u32> {
        let own_ranges = self.pool.layout.own_ranges();
        let address = if own_ranges != 0 {
            self.own_range(b4, own_ranges)?.0
        } else if address == NONE {
            self.pool.least_loaded(b4, &mut self.random)?
        } else {
            address
        };
        self.pool.free_set(address, &mut self.random)
    }

    /// The subscriber's own range, where there are any.
    fn own_range_set(&self, b4: Ipv6Addr) -> Option<u32> {
        let own_ranges = self.pool.layout.own_ranges();
        let (address, own) = if own_ranges == 0 { None } else { self.own_range(b4, own_ranges) }?;
        Some(self.pool.set_id(address, own))
    }

    /// RFC 7422 section 2: the address of a subscriber, and which of its own ranges is the subscriber's.
    fn own_range(&self, b4: Ipv6Addr, own_ranges: u32) -> Option<(u32, u32)> {
        let softwire = &self.settings.config.softwire;
        let prefix = self.settings.subscriber_prefix(b4);
        let index = subscriber_index(&softwire.b4_prefixes, softwire.subscriber_mask_v6, prefix)?;
        let index = u32::try_from(index).ok()?;
        Some((index / own_ranges, index % own_ranges))
    }

    /// Makes the mapping. `softwire` is what the packet's admission was settled to.
    pub(in crate::engine) fn create_mapping(
        &mut self,
        plan: Plan,
        softwire: u32,
        flow: &Flow,
        now: Instant,
    ) -> u32 {
        let subscriber = self.softwires.slab[softwire].subscriber;
        let quota = self.settings.config.nat.port_quota;
        let record = &mut self.subscribers.slab[subscriber];
        record.creation.take(quota.new_mappings_per_second, quota.new_mappings_burst, now);
        if plan.is_grant {
            self.grant(plan, softwire, flow, now);
        }
        self.pool.count_mapping(plan.port_set, flow.protocol);
        self.enter_mapping(
            Mapping {
                softwire,
                internal: flow.source,
                internal_port: flow.source_port,
                external: self.pool.ip(plan.place.address),
                external_port: plan.place.port,
                address: plan.place.address,
                protocol: flow.protocol,
                port_set: plan.port_set,
                lifetime: self.lifetime(flow),
                ..Mapping::VACANT
            },
            now,
        )
    }

    /// Enters a mapping in every table that finds it, and arms its timer.
    pub(super) fn enter_mapping(&mut self, mapping: Mapping, now: Instant) -> u32 {
        let (place, protocol, softwire) = (mapping.place(), mapping.protocol, mapping.softwire);
        let lifetime = mapping.lifetime;
        let mapping = Mapping {
            last_seen: now.stamp(),
            made: (now.millis() / 1000) as u32,
            pool_id: self.pool.pool_id(mapping.address),
            ..mapping
        };
        let id = self.mappings.enter(mapping.clone());
        self.ports.take(place, id);
        let subscriber = self.softwires.slab[softwire].subscriber;
        self.subscribers.slab[subscriber].mappings[protocol as usize] += 1;
        if !mapping.is_static && protocol != Protocol::Tcp {
            self.mappings.timers.arm(id, now.plus_secs(lifetime));
        }
        self.events.push(now, EventKind::MappingCreated(self.mapping_record(&mapping)));
        id
    }

    fn grant(&mut self, plan: Plan, softwire: u32, flow: &Flow, now: Instant) {
        let tunnel = &self.softwires.slab[softwire];
        let (b4, subscriber) = (tunnel.b4, tunnel.subscriber);
        let record = &mut self.subscribers.slab[subscriber];
        if record.address == NONE {
            record.address = plan.place.address;
            self.pool.pair(plan.place.address);
        }
        self.pool.grant(plan.port_set, subscriber, record.first_port_set, b4, flow.source);
        record.first_port_set = plan.port_set;
        record.port_sets += 1;
        // RFC 7422: what follows from the configuration is not logged.
        if !self.pool.is_own_range(plan.port_set) {
            self.events.push(now, EventKind::PortSetGranted(self.grant_record(plan.port_set)));
        }
        self.watch_pool(plan.place.address, now);
    }

    pub(in crate::engine) fn grant_record(&self, port_set: u32) -> Grant {
        let set = self.pool.port_set(port_set);
        let (address, ports) = self.pool.extent(port_set);
        Grant {
            subscriber: self.settings.subscriber_net(self.subscribers.slab[set.subscriber].prefix),
            b4: set.b4,
            internal: set.internal,
            pool_id: set.pool_id,
            external: self.pool.ip(address),
            first_port: *ports.start(),
            last_port: *ports.end(),
        }
    }
}

pub(in crate::engine) fn port_limit(quota: &PortQuota, protocol: Protocol) -> u32 {
    match protocol {
        Protocol::Tcp => quota.tcp,
        Protocol::Udp => quota.udp,
        Protocol::Icmp => quota.icmp,
    }
}
