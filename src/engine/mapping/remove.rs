//! The end of a mapping, of its port's hold-down, and of a port set that stayed empty.

use ipnet::Ipv6Net;

use super::table::Mapping;
use crate::engine::aftr::Aftr;
use crate::engine::event::{EventKind, MappingRecord};
use crate::engine::table::NONE;
use crate::engine::time::Instant;
use aftr_config::Protocol;

impl Aftr {
    /// Seconds that a mapping without sessions, or an untracked session, lives after its last packet.
    pub(in crate::engine) fn idle_timeout(&self, protocol: Protocol) -> u32 {
        let timers = &self.settings.config.nat.timers;
        match protocol {
            Protocol::Tcp => timers.tcp_idle_timeout,
            Protocol::Udp => timers.udp_timeout,
            Protocol::Icmp => timers.icmp_timeout,
        }
    }

    /// Ends one mapping whose timer came due, or arms the timer again when it was used since.
    pub(in crate::engine) fn expire_mapping(&mut self, id: u32, now: Instant) {
        let mapping = &self.mappings.slab[id];
        let deadline = mapping.last_seen.plus_secs(mapping.lifetime, now);
        if deadline > now {
            self.mappings.timers.arm(id, deadline);
        } else {
            self.remove_mapping(id, true, now);
        }
    }

    /// Ends a mapping and its sessions. `hold` keeps its port from everybody for a while.
    pub(in crate::engine) fn remove_mapping(&mut self, id: u32, hold: bool, now: Instant) {
        self.drop_sessions_of(id);
        let mapping = self.mappings.remove(id);
        let subscriber = self.softwires.slab[mapping.softwire].subscriber;
        let record = &mut self.subscribers.slab[subscriber];
        record.mappings[mapping.protocol as usize] -= 1;
        self.events.push(now, EventKind::MappingRemoved(self.mapping_record(&mapping)));
        self.free_port(&mapping, hold, now);
        self.forget_if_empty(subscriber);
    }

    pub(in crate::engine) fn mapping_record(&self, mapping: &Mapping) -> MappingRecord {
        MappingRecord {
            b4: self.softwires.slab[mapping.softwire].b4,
            protocol: mapping.protocol,
            internal: mapping.internal(),
            external: mapping.external(),
            pool_id: mapping.pool_id,
        }
    }

    fn free_port(&mut self, mapping: &Mapping, hold: bool, now: Instant) {
        let timers = &self.settings.config.nat.timers;
        let place = mapping.place();
        if mapping.port_set == NONE {
            return self.ports.free(place);
        }
        // RFC 6888 REQ-8b: an own range is its subscriber's before and after.
        let hold = hold && timers.hold_down_timeout > 0 && !self.pool.is_own_range(mapping.port_set);
        let wait = self.settings.config.nat.port_set.port_set_timeout.max(timers.hold_down_timeout);
        if hold {
            self.ports.hold(place, now.plus_secs(timers.hold_down_timeout));
        } else {
            self.ports.free(place);
            self.pool.uncount_port(mapping.port_set, mapping.protocol);
        }
        self.pool.uncount_mapping(mapping.port_set, now, wait);
        self.release_held_ports(now);
    }

    /// Frees the ports whose hold-down is over, and the oldest ones beyond `hold-down-max`.
    pub(in crate::engine) fn release_held_ports(&mut self, now: Instant) {
        let most = self.settings.config.nat.hold_down_max;
        while let Some((place, is_early)) = self.ports.release_held(now, most) {
            self.counters.hold_down_early += u64::from(is_early);
            if let Some(set) = self.pool.set_at(place.address, place.port) {
                self.pool.uncount_port(set, place.protocol);
            }
        }
    }

    /// Takes back the port sets that stayed empty for long enough (RFC 6888 REQ-13).
    pub(in crate::engine) fn release_port_sets(&mut self, now: Instant) {
        while let Some(set) = self.pool.pop_emptied(now) {
            let grant = self.grant_record(set);
            let subscriber = self.pool.port_set(set).subscriber;
            self.unlink_port_set(subscriber, set);
            let logged = !self.pool.is_own_range(set);
            self.pool.release(set);
            if logged {
                self.events.push(now, EventKind::PortSetReleased(grant));
            }
            self.watch_pool(self.pool.extent(set).0, now);
            self.forget_if_empty(subscriber);
        }
    }

    fn unlink_port_set(&mut self, subscriber: u32, set: u32) {
        let next = self.pool.port_set(set).next;
        let record = &mut self.subscribers.slab[subscriber];
        record.port_sets -= 1;
        if record.first_port_set == set {
            record.first_port_set = next;
            return;
        }
        let mut before = record.first_port_set;
        while self.pool.port_set(before).next != set {
            before = self.pool.port_set(before).next;
        }
        self.pool.set_next(before, next);
    }

    /// Ends every mapping whose B4 address is inside `prefix`, static ones too; says how many.
    pub(in crate::engine) fn purge_mappings(&mut self, prefix: Ipv6Net, now: Instant) -> usize {
        let inside = |mapping: &Mapping| prefix.contains(&self.softwires.slab[mapping.softwire].b4);
        let ids: Vec<u32> =
            self.mappings.slab.iter().filter(|(_, mapping)| inside(mapping)).map(|(id, _)| id).collect();
        ids.iter().for_each(|&id| self.remove_mapping(id, true, now));
        ids.len()
    }

    /// Ends every mapping of external addresses that left the configuration. Whoever was paired with one of
    /// them is paired anew with its next mapping.
    pub(in crate::engine) fn end_retired_mappings(&mut self, now: Instant) {
        let is_retired = |mapping: &Mapping| self.pool.addresses[mapping.address as usize].retired;
        let ids: Vec<u32> =
            self.mappings.slab.iter().filter(|(_, mapping)| is_retired(mapping)).map(|(id, _)| id).collect();
        ids.iter().for_each(|&id| self.remove_mapping(id, true, now));
        let is_paired = |address| address != NONE && self.pool.addresses[address as usize].retired;
        let paired: Vec<u32> = self
            .subscribers
            .slab
            .iter()
            .filter(|(_, home)| is_paired(home.address))
            .map(|(id, _)| id)
            .collect();
        for id in paired {
            let address = std::mem::replace(&mut self.subscribers.slab[id].address, NONE);
            self.pool.unpair(address);
        }
    }
}
