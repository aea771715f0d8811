//! Static mappings: configured, never timed out, found by both directions like any other.

use aftr_config::StaticMapping;

use super::table::Mapping;
use crate::engine::aftr::Aftr;
use crate::engine::table::{NONE, Record};
use crate::engine::time::Instant;
use crate::engine::toward::Toward;

impl Aftr {
    /// Enters the static mappings of the configuration. Its checks say that they fit.
    pub(in crate::engine) fn enter_statics(&mut self, now: Instant) {
        for entry in self.settings.config.nat.mapping_table.clone() {
            self.enter_static(&entry, now);
        }
    }

    fn enter_static(&mut self, entry: &StaticMapping, now: Instant) {
        // Those of other workers' addresses are entered there.
        let Toward::Address(address) = self.toward(entry.external_src_address) else { return };
        let subscriber = self.subscriber_of_static(entry, address);
        let softwire = match self.softwires.find(entry.b4_ipv6_address) {
            Some(softwire) => softwire,
            None => self.open_softwire(subscriber, entry.b4_ipv6_address, 0),
        };
        // RFC 6056 section 3.2: the port is never given out by chance, and its set to nobody else.
        if let Some(set) = self.pool.set_at(address, entry.external_src_port)
            && self.pool.layout.own_ranges() == 0
        {
            self.pool.reserve(set);
        }
        let mapping = Mapping {
            softwire,
            internal: entry.internal_src_address,
            internal_port: entry.internal_src_port,
            external: entry.external_src_address,
            external_port: entry.external_src_port,
            address,
            protocol: entry.transport_protocol,
            is_static: true,
            port_set: NONE,
            ..Mapping::VACANT
        };
        self.enter_mapping(mapping, now);
    }

    /// Its subscriber is paired with the static mapping's address, so that all it does is seen from one
    /// (RFC 6888 REQ-2).
    fn subscriber_of_static(&mut self, entry: &StaticMapping, address: u32) -> u32 {
        let prefix = self.settings.subscriber_prefix(entry.b4_ipv6_address);
        if let Some(id) = self.subscribers.find(prefix) {
            return id;
        }
        let id = self.subscribers.enter(prefix);
        if self.pool.layout.own_ranges() == 0 {
            self.subscribers.slab[id].address = address;
            self.pool.pair(address);
        }
        id
    }
}
