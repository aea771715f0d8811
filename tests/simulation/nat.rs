//! Mappings and their ports: RFC 4787 REQ-1 and REQ-2, RFC 6888 REQ-4 and REQ-13.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use aftr::engine::DropReason;

use crate::model::{Home, Mapping, Model, PortSet};
use crate::story::Kind;

impl Model {
    pub(crate) fn find(&self, softwire: u64, kind: Kind, internal: SocketAddrV4) -> Option<usize> {
        let is_it = |m: &Mapping| m.softwire == softwire && m.kind == kind && m.internal == internal;
        self.mappings.iter().position(is_it)
    }

    pub(crate) fn at(&self, kind: Kind, external: SocketAddrV4) -> Option<usize> {
        self.mappings.iter().position(|m| m.kind == kind && m.external == external)
    }

    /// Whether a new mapping is within the limits; ports are looked at by [`Model::may_find_port`].
    pub(crate) fn may_create(&self, prefix: u128, kind: Kind) -> Result<(), DropReason> {
        let quota = self.config.nat.port_quota;
        let limit = match kind {
            Kind::Tcp => quota.tcp,
            Kind::Udp => quota.udp,
            Kind::Icmp => quota.icmp,
        };
        let used = self.mappings.iter().filter(|m| m.home == prefix && m.kind == kind).count();
        if used >= limit as usize {
            return Err(DropReason::NatQuota);
        }
        if self.missing(prefix) + 1000 > u64::from(quota.new_mappings_burst) * 1000 {
            return Err(DropReason::NatRate);
        }
        self.may_find_port(prefix, kind)
    }

    pub(crate) fn missing(&self, prefix: u128) -> u64 {
        let (missing, at) = self.homes.get(&prefix).map_or((0, 0), |home| home.bucket);
        missing
            .saturating_sub((self.now - at) * u64::from(self.config.nat.port_quota.new_mappings_per_second))
    }

    pub(crate) fn may_find_port(&self, prefix: u128, kind: Kind) -> Result<(), DropReason> {
        let none = Home::default();
        let home = self.homes.get(&prefix).unwrap_or(&none);
        let has_free = |set: &PortSet| {
            let address = home.address.expect("an address");
            (set.first..=set.last).any(|port| self.is_free(SocketAddrV4::new(address, port), kind))
        };
        if home.sets.iter().any(has_free) {
            return Ok(());
        }
        if home.sets.len() >= usize::from(self.config.nat.port_set.max_port_sets) {
            return Err(DropReason::NatQuota);
        }
        let possible = match home.address {
            Some(address) => self.free_sets(address) > 0,
            None => !self.least_loaded().is_empty(),
        };
        if possible { Ok(()) } else { Err(DropReason::NatPool) }
    }

    pub(crate) fn is_free(&self, external: SocketAddrV4, kind: Kind) -> bool {
        self.at(kind, external).is_none()
            && !self.held.iter().any(|(held, k, _)| *held == external && *k == kind)
    }

    pub(crate) fn addresses(&self) -> Vec<Ipv4Addr> {
        let nets = self.config.nat.external_ip_address_pool.iter().flat_map(|pool| &pool.external_ip_pool);
        nets.flat_map(|net| (net.network().to_bits()..=net.broadcast().to_bits()).map(Ipv4Addr::from))
            .collect()
    }

    pub(crate) fn free_sets(&self, address: Ipv4Addr) -> usize {
        let range = &self.config.nat.external_port_range;
        let sets = (usize::from(*range.end()) + 1 - usize::from(*range.start()))
            / usize::from(self.config.nat.port_set.port_set_size);
        let granted: usize = self
            .homes
            .values()
            .filter(|home| home.address == Some(address))
            .map(|home| home.sets.len())
            .sum();
        sets - granted
    }

    /// RFC 6888 REQ-13: the addresses with the fewest subscribers that have a set to give.
    pub(crate) fn least_loaded(&self) -> Vec<Ipv4Addr> {
        let most = usize::from(self.config.nat.external_ip_address_pool[0].max_subscribers_per_address);
        let load =
            |address: Ipv4Addr| self.homes.values().filter(|home| home.address == Some(address)).count();
        let open: Vec<_> =
            self.addresses().into_iter().filter(|&a| self.free_sets(a) > 0 && load(a) < most).collect();
        let least = open.iter().map(|&address| load(address)).min();
        open.into_iter().filter(|&address| Some(load(address)) == least).collect()
    }

    /// The engine says which ports it granted: they must be one whole free set of the right address.
    pub(crate) fn granted(
        &mut self,
        b4: Ipv6Addr,
        address: Ipv4Addr,
        first: u16,
        last: u16,
    ) -> Result<(), String> {
        let prefix = self.home_of(b4);
        let (size, start) =
            (u32::from(self.config.nat.port_set.port_set_size), *self.config.nat.external_port_range.start());
        let aligned = u32::from(first - start) % size == 0 && u32::from(last - first) + 1 == size;
        let taken = self.homes.values().any(|home| {
            home.address == Some(address)
                && home.sets.iter().any(|set| set.first <= last && first <= set.last)
        });
        let paired = self.homes.get(&prefix).and_then(|home| home.address);
        let right_address = match paired {
            Some(paired) => paired == address,
            None => self.least_loaded().contains(&address),
        };
        if !aligned || taken || !right_address {
            return Err(format!(
                "grant of {address} {first}-{last}: aligned {aligned}, taken {taken}, paired with {paired:?}"
            ));
        }
        let home = self.homes.entry(prefix).or_default();
        home.address = Some(address);
        home.sets.push(PortSet { first, last, empty_since: None });
        Ok(())
    }

    /// The engine chose this external address and port: INV-1, INV-2, INV-6 and INV-10.
    pub(crate) fn create(
        &mut self,
        softwire: u64,
        b4: Ipv6Addr,
        kind: Kind,
        internal: SocketAddrV4,
        external: SocketAddrV4,
    ) -> Result<usize, String> {
        let prefix = self.home_of(b4);
        if !self.is_free(external, kind) {
            return Err(format!("{external} {kind:?} is taken or held"));
        }
        let missing = self.missing(prefix);
        let now = self.now;
        let home = self.homes.get_mut(&prefix).expect("settled before");
        home.bucket = (missing + 1000, now);
        let set = home.sets.iter_mut().find(|set| (set.first..=set.last).contains(&external.port()));
        let (Some(set), true) = (set, home.address == Some(*external.ip())) else {
            return Err(format!("{external} was never granted to {b4}"));
        };
        set.empty_since = None;
        self.mappings.push(Mapping {
            softwire,
            home: prefix,
            kind,
            internal,
            external,
            seen: now,
            sessions: Vec::new(),
            must_hold: false,
        });
        Ok(self.mappings.len() - 1)
    }
}
