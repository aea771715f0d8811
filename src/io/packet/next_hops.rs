//! Where packets go from here: routes and neighbours of the kernel, as a worker reads them.
//!
//! A thread that listens to the kernel publishes a new [`NextHops`] when something has changed, and from time
//! to time when nothing has. The worker looks at a number, and takes the new one when it differs: it never
//! waits for the kernel.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;

/// A link-layer address of Ethernet.
pub type Mac = [u8; 6];

/// A way that a route names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Via {
    /// Number of the interface.
    pub interface: u32,
    /// The neighbour; none when the destination is one itself.
    pub gateway: Option<IpAddr>,
}

/// What a route does with packets: nothing when there is no way.
pub type Ways = Vec<Via>;

/// The routes of both families, for longest-prefix matches.
#[derive(Debug, Default)]
pub struct Routes {
    /// For each prefix length, prefixes in order and the place of their ways.
    v4: Vec<Vec<(u128, u32)>>,
    v6: Vec<Vec<(u128, u32)>>,
    ways: Vec<Ways>,
}

impl Routes {
    /// The routes that are given; of two to the same prefix, the first.
    #[must_use]
    pub fn new(routes: &[(IpNet, Ways)]) -> Routes {
        let mut built = Routes { v4: vec![Vec::new(); 33], v6: vec![Vec::new(); 129], ways: Vec::new() };
        let mut places = BTreeMap::new();
        for (prefix, ways) in routes {
            let place = *places.entry(ways).or_insert_with(|| {
                built.ways.push(ways.clone());
                built.ways.len() as u32 - 1
            });
            let table = if prefix.addr().is_ipv4() { &mut built.v4 } else { &mut built.v6 };
            table[usize::from(prefix.prefix_len())].push((bits(prefix.network()), place));
        }
        for prefixes in built.v4.iter_mut().chain(&mut built.v6) {
            // Stable: the first of equal ones stays first.
            prefixes.sort_by_key(|&(prefix, _)| prefix);
            prefixes.dedup_by_key(|&mut (prefix, _)| prefix);
        }
        built
    }

    /// The ways of the longest prefix that has `destination`.
    fn find(&self, destination: IpAddr) -> Option<&Ways> {
        let (table, width) = if destination.is_ipv4() { (&self.v4, 32u32) } else { (&self.v6, 128) };
        let address = bits(destination);
        table.iter().enumerate().rev().find_map(|(length, prefixes)| {
            let rest = width - length as u32;
            let masked = address.checked_shr(rest).map_or(0, |bits| bits << rest);
            let at = prefixes.binary_search_by_key(&masked, |&(prefix, _)| prefix).ok()?;
            self.ways.get(prefixes[at].1 as usize)
        })
    }

    /// Every gateway, once.
    pub fn gateways(&self) -> impl Iterator<Item = (u32, IpAddr)> {
        let mut gateways: Vec<_> =
            self.ways.iter().flatten().filter_map(|via| Some((via.interface, via.gateway?))).collect();
        gateways.sort_unstable();
        gateways.dedup();
        gateways.into_iter()
    }
}

/// Somebody on a link, by interface and address.
pub type Neighbour = (u32, IpAddr);

/// Routes and neighbours at one moment.
#[derive(Debug, Default)]
pub struct NextHops {
    /// The routes.
    pub routes: Arc<Routes>,
    /// Neighbours whose link-layer address is known, and whether packets went to them meanwhile.
    pub neighbours: BTreeMap<Neighbour, (Mac, AtomicBool)>,
    /// Our own link-layer address at each interface that is there.
    pub own: BTreeMap<u32, Mac>,
    /// How often neighbours that are used were asked for: every few seconds.
    pub round: u64,
}

/// What there is to know about the way to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hop {
    /// The neighbour that takes it.
    Known(Mac),
    /// That neighbour's link-layer address is not known.
    Unresolved(Neighbour),
    /// No route leads there by the interface.
    None,
}

impl NextHops {
    /// The way to `destination` by `interface`. Of several ways, a destination has always the same one.
    #[must_use]
    pub fn find(&self, interface: u32, destination: IpAddr) -> Hop {
        let Some(ways) = self.routes.find(destination) else { return Hop::None };
        let ours = ways.iter().filter(|via| via.interface == interface);
        let count = ours.clone().count();
        let turn = if count > 1 { mix(bits(destination)) as usize % count } else { 0 };
        let Some(via) = ours.clone().nth(turn) else { return Hop::None };
        let neighbour = (interface, via.gateway.unwrap_or(destination));
        match self.neighbours.get(&neighbour) {
            Some((mac, used)) => {
                used.store(true, Ordering::Relaxed);
                Hop::Known(*mac)
            }
            None => Hop::Unresolved(neighbour),
        }
    }
}

/// The current [`NextHops`], between the thread that publishes and the workers.
#[derive(Debug, Default)]
pub struct Published {
    number: AtomicU64,
    current: Mutex<Arc<NextHops>>,
}

impl Published {
    /// Replaces it.
    pub fn publish(&self, next_hops: Arc<NextHops>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = next_hops;
        self.number.fetch_add(1, Ordering::Release);
    }

    /// Changes with each publication.
    #[inline]
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// The current one.
    #[must_use]
    pub fn current(&self) -> Arc<NextHops> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Ways that were found before, by destination.
pub(super) struct Cache {
    entries: Vec<(u128, Option<Mac>)>,
}

impl Cache {
    /// Destinations that are remembered.
    const SIZE: usize = 4096;
    /// No destination: a multicast address of IPv6 that nobody uses.
    const EMPTY: u128 = u128::MAX;

    pub(super) fn new() -> Cache {
        Cache { entries: vec![(Cache::EMPTY, None); Cache::SIZE] }
    }

    pub(super) fn clear(&mut self) {
        self.entries.fill((Cache::EMPTY, None));
    }

    /// What was found for `destination`: none when it was not looked up; inside, none when there was no way.
    #[inline]
    pub(super) fn get(&self, destination: u128) -> Option<Option<Mac>> {
        let (key, mac) = self.entries[Cache::place(destination)];
        (key == destination).then_some(mac)
    }

    pub(super) fn put(&mut self, destination: u128, mac: Option<Mac>) {
        self.entries[Cache::place(destination)] = (destination, mac);
    }

    #[inline]
    fn place(destination: u128) -> usize {
        mix(destination) as usize % Cache::SIZE
    }
}

/// An address as a number; IPv4 stands in its own width.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => Ipv4Addr::to_bits(address).into(),
        IpAddr::V6(address) => Ipv6Addr::to_bits(address),
    }
}

#[inline]
fn mix(bits: u128) -> u64 {
    let folded = (bits >> 64) as u64 ^ (bits as u64).rotate_left(32);
    folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETH0: u32 = 2;
    const ETH1: u32 = 3;

    fn via(interface: u32, gateway: &str) -> Via {
        Via { interface, gateway: gateway.parse().ok() }
    }

    fn hops() -> NextHops {
        let routes = [
            ("0.0.0.0/0", vec![via(ETH1, "203.0.113.1")]),
            ("203.0.113.0/24", vec![via(ETH1, "")]),
            ("10.0.0.0/8", vec![via(ETH0, "192.0.2.1")]),
            ("198.18.0.0/15", vec![]),
            ("198.51.100.0/24", vec![via(ETH1, "203.0.113.1"), via(ETH1, "203.0.113.2"), via(ETH0, "")]),
            ("2001:db8:b4::/48", vec![via(ETH0, "fe80::1")]),
            ("2001:db8:b4:7::/64", vec![via(ETH0, "")]),
            ("192.0.2.128/25", vec![via(ETH1, "2001:db8::9")]),
        ];
        let routes: Vec<_> =
            routes.into_iter().map(|(prefix, ways)| (prefix.parse().unwrap(), ways)).collect();
        let neighbours = [
            (ETH1, "203.0.113.1", 1),
            (ETH1, "203.0.113.2", 2),
            (ETH0, "fe80::1", 3),
            (ETH1, "2001:db8::9", 4),
        ];
        let neighbours = neighbours
            .map(|(interface, address, mac)| {
                ((interface, address.parse().unwrap()), ([mac; 6], AtomicBool::new(false)))
            })
            .into();
        NextHops { routes: Arc::new(Routes::new(&routes)), neighbours, own: BTreeMap::new(), round: 0 }
    }

    #[test]
    fn the_longest_prefix_decides_and_only_our_interface_is_used() {
        let hops = hops();
        let find = |interface, address: &str| hops.find(interface, address.parse().unwrap());
        assert_eq!(find(ETH1, "8.8.8.8"), Hop::Known([1; 6]));
        assert_eq!(find(ETH1, "203.0.113.77"), Hop::Unresolved((ETH1, "203.0.113.77".parse().unwrap())));
        assert_eq!(find(ETH1, "203.0.113.2"), Hop::Known([2; 6]));
        assert_eq!((find(ETH1, "10.1.2.3"), find(ETH1, "198.18.0.1")), (Hop::None, Hop::None));
        assert_eq!(find(ETH1, "192.0.2.200"), Hop::Known([4; 6]), "RFC 5549");
        assert_eq!(find(ETH0, "2001:db8:b4:8::2"), Hop::Known([3; 6]));
        assert_eq!(
            find(ETH0, "2001:db8:b4:7::2"),
            Hop::Unresolved((ETH0, "2001:db8:b4:7::2".parse().unwrap()))
        );
        assert_eq!(find(ETH0, "2001:db8:c::1"), Hop::None);
    }

    #[test]
    fn several_ways_are_all_used_and_a_destination_keeps_its_own() {
        let hops = hops();
        let mac = |last: u8| match hops.find(ETH1, [198, 51, 100, last].into()) {
            Hop::Known(mac) => mac[0],
            other @ (Hop::Unresolved(_) | Hop::None) => panic!("{other:?}"),
        };
        let seen: Vec<u8> = (0..=255).map(mac).collect();
        let first = seen.iter().filter(|&&mac| mac == 1).count();
        assert!((64..192).contains(&first) && seen.iter().all(|mac| [1, 2].contains(mac)), "{seen:?}");
        assert_eq!(seen, (0..=255).map(mac).collect::<Vec<_>>());
    }

    #[test]
    fn who_was_used_is_marked() {
        let hops = hops();
        assert_eq!(hops.find(ETH1, [8, 8, 8, 8].into()), Hop::Known([1; 6]));
        let used: Vec<_> =
            hops.neighbours.iter().filter(|(_, (_, used))| used.load(Ordering::Relaxed)).collect();
        assert!(matches!(used[..], [((ETH1, IpAddr::V4(_)), ([1, ..], _))]), "{used:?}");
        assert_eq!(hops.routes.gateways().count(), 5);
    }

    #[test]
    fn a_cache_forgets_when_it_is_told_and_mixes_nothing_up() {
        let mut cache = Cache::new();
        for destination in 0..20_000u128 {
            cache.put(destination << 64, Some([destination as u8; 6]));
            assert_eq!(cache.get(destination << 64), Some(Some([destination as u8; 6])));
        }
        for destination in 0..20_000u128 {
            let found = cache.get(destination << 64);
            assert!(found.is_none_or(|mac| mac == Some([destination as u8; 6])));
        }
        cache.put(7, None);
        assert_eq!(cache.get(7), Some(None));
        cache.clear();
        assert_eq!((cache.get(7), cache.get(19_999 << 64)), (None, None));
    }
}
