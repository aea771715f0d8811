//! External addresses: who is paired with which (RFC 4787 REQ-2), and which port sets are granted.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use aftr_config::Config;
use ipnet::Ipv6Net;

use super::layout::Layout;
use crate::engine::owners::{Share, WorkerNumber};
use crate::engine::seed::Random;
use crate::engine::table::NONE;
use crate::engine::time::Instant;
use aftr_config::Protocol;

/// One external address.
#[derive(Debug)]
pub(in crate::engine) struct Address {
    pub(in crate::engine) ip: Ipv4Addr,
    /// Its place in [`Pool::groups`].
    pub(in crate::engine) group: usize,
    /// Its pool; of a retired address, the last one.
    pool_id: u32,
    /// Subscribers paired with it.
    pub(super) subscribers: u32,
    /// Sets that may be granted, own ranges not among them.
    pub(super) free_sets: Vec<u32>,
    /// Gives nothing new (RFC 6908 section 2.4).
    pub(in crate::engine) drained: bool,
    /// No longer in the configuration.
    pub(in crate::engine) retired: bool,
    /// The worker that it belongs to, when it is not this one: it gives nothing here.
    pub(in crate::engine) other_worker: Option<WorkerNumber>,
    /// Its port sets; none of another worker's.
    port_sets: Box<[PortSet]>,
    /// Its place in the group's list of addresses with the same load.
    pub(super) listed_at: Option<usize>,
}

/// A set of ports of one address.
#[derive(Debug, Clone)]
pub(in crate::engine) struct PortSet {
    /// Who holds it, or [`NONE`].
    pub(in crate::engine) subscriber: u32,
    /// The subscriber's next set.
    pub(in crate::engine) next: u32,
    /// The B4 whose packet asked for it.
    pub(in crate::engine) b4: Ipv6Addr,
    /// The host behind it that sent the packet.
    pub(in crate::engine) internal: Ipv4Addr,
    /// The address's pool then: a reload may move the address to another.
    pub(in crate::engine) pool_id: u32,
    /// Ports in use or in hold-down, by protocol.
    pub(in crate::engine) taken: [u16; 3],
    /// Mappings.
    pub(in crate::engine) mappings: u32,
    /// Since when it has had no mapping.
    empty_since: Instant,
}

impl PortSet {
    const FREE: PortSet = PortSet {
        subscriber: NONE,
        next: NONE,
        b4: Ipv6Addr::UNSPECIFIED,
        internal: Ipv4Addr::UNSPECIFIED,
        pool_id: 0,
        taken: [0; 3],
        mappings: 0,
        empty_since: Instant::ZERO,
    };
}

/// What a `[[nat.external-ip-address-pool]]` serves.
#[derive(Debug)]
pub(in crate::engine) struct Group {
    pub(in crate::engine) pool_id: u32,
    pub(super) b4_prefixes: Vec<Ipv6Net>,
    pub(super) most_subscribers: u32,
    /// Addresses that take another subscriber, by how many they have.
    pub(super) by_load: Vec<Vec<u32>>,
    /// Sets that exist, and that are granted: for the thresholds.
    pub(in crate::engine) sets: u64,
    pub(in crate::engine) granted: u64,
}

pub(in crate::engine) struct Pool {
    pub(in crate::engine) layout: Layout,
    pub(in crate::engine) addresses: Vec<Address>,
    pub(in crate::engine) groups: Vec<Group>,
    /// First address of a run, its last, and the number of the first; sorted.
    ranges: Vec<(u32, u32, u32)>,
    /// Sets that nobody may have before a time, in the order of the times.
    quarantined: VecDeque<(Instant, u32)>,
    /// Sets that became empty: when they come due, since when, and which.
    emptied: VecDeque<(Instant, Instant, u32)>,
}

impl Pool {
    pub(in crate::engine) fn new(config: &Config, share: &Share) -> Pool {
        let mut pool = Pool {
            layout: Layout::new(&config.nat),
            addresses: Vec::new(),
            groups: Vec::new(),
            ranges: Vec::new(),
            quarantined: VecDeque::new(),
            emptied: VecDeque::new(),
        };
        pool.update(config, share);
        pool
    }

    pub(in crate::engine) fn memory(config: &Config) -> u64 {
        let sets = u64::from(Layout::new(&config.nat).sets());
        addresses_of(config) as u64 * (sets * (size_of::<PortSet>() + 4) as u64 + size_of::<Address>() as u64)
    }

    /// Takes over the pools of a configuration: new addresses are added, missing ones retired, numbers
    /// never change.
    pub(in crate::engine) fn update(&mut self, config: &Config, share: &Share) {
        self.addresses.iter_mut().for_each(|address| address.retired = true);
        self.groups.clear();
        for pool in &config.nat.external_ip_address_pool {
            let group = self.groups.len();
            self.groups.push(Group {
                pool_id: pool.pool_id,
                b4_prefixes: pool.b4_prefixes.clone(),
                most_subscribers: u32::from(pool.max_subscribers_per_address),
                by_load: Vec::new(),
                sets: 0,
                granted: 0,
            });
            for ip in pool.external_ip_pool.iter().flat_map(every_address) {
                let number = self.number_of(ip, share);
                let address = &mut self.addresses[number as usize];
                address.group = group;
                address.pool_id = pool.pool_id;
                address.retired = false;
                address.drained = pool.drain.contains(&ip);
            }
        }
        self.ranges = ranges_of(&self.addresses);
        for number in 0..self.addresses.len() as u32 {
            self.addresses[number as usize].listed_at = None;
            self.list(number);
            self.count_sets(number);
        }
    }

    fn number_of(&mut self, ip: Ipv4Addr, share: &Share) -> u32 {
        // The ranges are those of before the update, which is what is asked here.
        if let Some(number) = self.find_any(ip) {
            return number;
        }
        let other_worker = share.other_owner(ip);
        let sets = if other_worker.is_none() { self.layout.sets() } else { 0 };
        self.addresses.push(Address {
            ip,
            group: 0,
            pool_id: 0,
            subscribers: 0,
            free_sets: (self.layout.own_ranges()..sets).collect(),
            drained: false,
            retired: false,
            other_worker,
            port_sets: vec![PortSet::FREE; sets as usize].into(),
            listed_at: None,
        });
        self.addresses.len() as u32 - 1
    }

    fn count_sets(&mut self, number: u32) {
        let address = &self.addresses[number as usize];
        if address.retired {
            return;
        }
        let granted = address.port_sets.iter().filter(|set| set.subscriber != NONE).count();
        let group = &mut self.groups[address.group];
        group.sets += address.port_sets.len() as u64;
        group.granted += granted as u64;
    }

    /// The number of an address that is in a pool, or was.
    #[inline(always)]
    fn find_any(&self, ip: Ipv4Addr) -> Option<u32> {
        let ip = ip.to_bits();
        let after = self.ranges.partition_point(|&(first, ..)| first <= ip);
        let (first, last, number) = *self.ranges.get(after.checked_sub(1)?)?;
        (ip <= last).then(|| number + (ip - first))
    }

    /// The number of a pool address.
    #[inline(always)]
    pub(in crate::engine) fn find(&self, ip: Ipv4Addr) -> Option<u32> {
        self.find_any(ip).filter(|&number| !self.addresses[number as usize].retired)
    }

    #[inline]
    pub(in crate::engine) fn ip(&self, address: u32) -> Ipv4Addr {
        self.addresses[address as usize].ip
    }

    pub(in crate::engine) fn pool_id(&self, address: u32) -> u32 {
        self.addresses[address as usize].pool_id
    }

    /// A set of this address that may be granted, at random (RFC 6888 REQ-15).
    pub(in crate::engine) fn free_set(&self, address: u32, random: &mut Random) -> Option<u32> {
        let free = &self.addresses[address as usize];
        if free.drained || free.retired || free.free_sets.is_empty() {
            return None;
        }
        let set = free.free_sets[random.below(free.free_sets.len() as u32) as usize];
        Some(self.set_id(address, set))
    }

    /// The number over all addresses of a set of one address.
    pub(in crate::engine) fn set_id(&self, address: u32, set: u32) -> u32 {
        address * self.layout.sets() + set
    }

    /// The set that holds a port.
    pub(in crate::engine) fn set_at(&self, address: u32, port: u16) -> Option<u32> {
        self.layout.set_of(port).map(|set| self.set_id(address, set))
    }

    pub(in crate::engine) fn port_set(&self, id: u32) -> &PortSet {
        let (address, set) = self.place(id);
        &self.addresses[address as usize].port_sets[set as usize]
    }

    fn port_set_mut(&mut self, id: u32) -> &mut PortSet {
        let (address, set) = self.place(id);
        &mut self.addresses[address as usize].port_sets[set as usize]
    }

    /// The number of its address, and its own among the sets of this address.
    fn place(&self, id: u32) -> (u32, u32) {
        let sets = self.layout.sets();
        (id / sets, id % sets)
    }

    /// Address and ports of a set.
    pub(in crate::engine) fn extent(&self, id: u32) -> (u32, RangeInclusive<u16>) {
        let (address, set) = self.place(id);
        (address, self.layout.ports(set))
    }

    /// Whether a set is a subscriber's by computation (RFC 7422), not by grant.
    pub(in crate::engine) fn is_own_range(&self, id: u32) -> bool {
        self.place(id).1 < self.layout.own_ranges()
    }

    /// Gives a set to a subscriber, in front of the sets that it has. `b4` and `internal` asked for it.
    pub(in crate::engine) fn grant(
        &mut self,
        id: u32,
        subscriber: u32,
        next: u32,
        b4: Ipv6Addr,
        internal: Ipv4Addr,
    ) {
        let pool_id = self.pool_id(self.place(id).0);
        let set = self.port_set_mut(id);
        debug_assert_eq!(set.subscriber, NONE);
        set.subscriber = subscriber;
        set.next = next;
        set.b4 = b4;
        set.internal = internal;
        set.pool_id = pool_id;
        self.take_from_free(id);
    }

    /// Keeps a set from everybody: it holds the port of a static mapping.
    pub(in crate::engine) fn reserve(&mut self, id: u32) {
        self.take_from_free(id);
    }

    /// Keeps the free sets of an address that touch `ports` from everybody until `until`.
    pub(in crate::engine) fn quarantine(
        &mut self,
        address: u32,
        ports: &RangeInclusive<u16>,
        until: Instant,
    ) {
        let touches = |set: &u32| {
            let own = self.layout.ports(*set);
            own.start() <= ports.end() && ports.start() <= own.end()
        };
        let free = &self.addresses[address as usize].free_sets;
        for set in free.iter().copied().filter(touches).collect::<Vec<_>>() {
            let id = self.set_id(address, set);
            self.take_from_free(id);
            let at = self.quarantined.partition_point(|&(other, _)| other <= until);
            self.quarantined.insert(at, (until, id));
        }
    }

    /// Frees the sets whose time has come.
    pub(in crate::engine) fn end_quarantine(&mut self, now: Instant) {
        while let Some(&(_, id)) = self.quarantined.front().filter(|&&(until, _)| until <= now) {
            self.quarantined.pop_front();
            self.release(id);
        }
    }

    /// When [`Pool::end_quarantine`] finds one.
    pub(in crate::engine) fn next_quarantine(&self) -> Option<Instant> {
        self.quarantined.front().map(|&(until, _)| until)
    }

    fn take_from_free(&mut self, id: u32) {
        let (address, set) = self.place(id);
        self.unlist(address);
        let record = &mut self.addresses[address as usize];
        if let Some(at) = record.free_sets.iter().position(|&free| free == set) {
            record.free_sets.swap_remove(at);
        }
        self.list(address);
        if let Some(group) = self.group_of(address) {
            group.granted += 1;
        }
    }

    /// Takes a set back; gives its successor in the subscriber's list.
    pub(in crate::engine) fn release(&mut self, id: u32) {
        let (address, set) = self.place(id);
        self.port_set_mut(id).subscriber = NONE;
        self.unlist(address);
        let own = self.is_own_range(id);
        let record = &mut self.addresses[address as usize];
        if !own {
            record.free_sets.push(set);
        }
        self.list(address);
        if let Some(group) = self.group_of(address) {
            group.granted -= 1;
        }
    }

    fn group_of(&mut self, address: u32) -> Option<&mut Group> {
        let address = &self.addresses[address as usize];
        if address.retired { None } else { self.groups.get_mut(address.group) }
    }

    pub(in crate::engine) fn set_next(&mut self, id: u32, next: u32) {
        self.port_set_mut(id).next = next;
    }

    /// A mapping took a port of a set.
    pub(in crate::engine) fn count_mapping(&mut self, id: u32, protocol: Protocol) {
        let set = self.port_set_mut(id);
        set.taken[protocol as usize] += 1;
        set.mappings += 1;
    }

    /// A mapping ended; its port may still be held. An empty set comes due after `wait` seconds.
    pub(in crate::engine) fn uncount_mapping(&mut self, id: u32, now: Instant, wait: u32) {
        let set = self.port_set_mut(id);
        set.mappings -= 1;
        if set.mappings == 0 {
            set.empty_since = now;
            self.emptied.push_back((now.plus_secs(wait), now, id));
        }
    }

    /// A port of a set is free again.
    pub(in crate::engine) fn uncount_port(&mut self, id: u32, protocol: Protocol) {
        self.port_set_mut(id).taken[protocol as usize] -= 1;
    }

    /// A set that stayed empty until it came due and has no held port, when there is one.
    pub(in crate::engine) fn pop_emptied(&mut self, now: Instant) -> Option<u32> {
        while let Some(&(due, since, id)) = self.emptied.front() {
            if due > now {
                return None;
            }
            self.emptied.pop_front();
            let set = self.port_set(id);
            let stayed_empty = set.subscriber != NONE && set.mappings == 0 && set.empty_since == since;
            if stayed_empty && set.taken == [0; 3] {
                return Some(id);
            }
            if stayed_empty {
                self.emptied.push_back((now.plus_secs(1), since, id));
                return None;
            }
        }
        None
    }

    /// When [`Pool::pop_emptied`] may find one.
    pub(in crate::engine) fn next_emptied(&self) -> Option<Instant> {
        self.emptied.front().map(|&(due, ..)| due)
    }
}

/// Every address of a prefix: on the external side none is special (RFC 6888 REQ-3).
pub(in crate::engine) fn every_address(net: &ipnet::Ipv4Net) -> impl Iterator<Item = Ipv4Addr> + use<> {
    (net.network().to_bits()..=net.broadcast().to_bits()).map(Ipv4Addr::from)
}

/// How many addresses the pools of a configuration have.
pub(in crate::engine) fn addresses_of(config: &Config) -> usize {
    let nets = config.nat.external_ip_address_pool.iter().flat_map(|pool| &pool.external_ip_pool);
    nets.map(|net| 1usize << (32 - net.prefix_len())).sum()
}

/// Runs of addresses that are neighbours and have neighbouring numbers.
fn ranges_of(addresses: &[Address]) -> Vec<(u32, u32, u32)> {
    let mut all: Vec<(u32, u32)> =
        (0..).zip(addresses).map(|(number, address)| (address.ip.to_bits(), number)).collect();
    all.sort_unstable();
    let mut ranges: Vec<(u32, u32, u32)> = Vec::new();
    for (ip, number) in all {
        match ranges.last_mut() {
            Some((first, last, start)) if *last + 1 == ip && *start + (ip - *first) == number => *last = ip,
            _ => ranges.push((ip, ip, number)),
        }
    }
    ranges
}
