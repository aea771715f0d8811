//! What can be looked at from outside while the engine runs.

use std::iter::Sum;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::time::Duration;

use aftr_config::Protocol;
use ipnet::Ipv6Net;

use super::aftr::Aftr;
use super::event::Grant;
use super::table::NONE;
use super::time::Instant;

/// How many live in each table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Subscribers.
    pub subscribers: usize,
    /// Softwires.
    pub softwires: usize,
    /// Mappings, static ones included.
    pub mappings: usize,
    /// Sessions.
    pub sessions: usize,
    /// Outer packets that are not whole yet.
    pub reassembling: usize,
    /// IPv4 datagrams that cross in pieces.
    pub fragmented: usize,
}

impl Sum for Gauges {
    fn sum<I: Iterator<Item = Gauges>>(all: I) -> Gauges {
        all.fold(Gauges::default(), |sum, one| Gauges {
            subscribers: sum.subscribers + one.subscribers,
            softwires: sum.softwires + one.softwires,
            mappings: sum.mappings + one.mappings,
            sessions: sum.sessions + one.sessions,
            reassembling: sum.reassembling + one.reassembling,
            fragmented: sum.fragmented + one.fragmented,
        })
    }
}

/// A mapping that lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappingView {
    /// The B4 address that its softwire has now.
    pub b4: Ipv6Addr,
    /// Protocol; for ICMP the ports are query identifiers.
    pub protocol: Protocol,
    /// Internal address and port.
    pub internal: SocketAddrV4,
    /// External address and port.
    pub external: SocketAddrV4,
    /// Time since it was made.
    pub age: Duration,
    /// Time since the last packet that kept it alive.
    pub idle: Duration,
    /// Sessions that it carries; always 0 for UDP and ICMP with endpoint-independent filtering.
    pub sessions: u32,
    /// Configured, not made by traffic.
    pub is_static: bool,
}

/// A subscriber that holds something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriberView {
    /// The B4 prefix that names it.
    pub prefix: Ipv6Net,
    /// Its external address, once it has one.
    pub external: Option<Ipv4Addr>,
    /// Its softwires' B4 addresses.
    pub softwires: Vec<Ipv6Addr>,
    /// Its port sets: first and last port.
    pub port_sets: Vec<(u16, u16)>,
    /// Mappings: TCP, UDP, ICMP.
    pub mappings: [u32; 3],
    /// Sessions.
    pub sessions: u32,
    /// Inner packets and octets from its B4s.
    pub from_b4: (u64, u64),
    /// Inner packets and octets to its B4s.
    pub to_b4: (u64, u64),
}

impl Aftr {
    /// How many live in each table; costs nothing, whatever the tables hold.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        Gauges {
            subscribers: self.subscribers.slab.len(),
            softwires: self.softwires.slab.len(),
            mappings: self.mappings.slab.len(),
            sessions: self.sessions.slab.len(),
            reassembling: self.reassembly.len(),
            fragmented: self.fragments_from_b4.len() + self.fragments_from_internet.len(),
        }
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

    /// Every port set that was granted and is held, as if it were granted now: its B4 is one that the subscriber has.
    pub fn grants(&self) -> impl Iterator<Item = Grant> + '_ {
        self.subscribers.slab.iter().flat_map(move |(_, subscriber)| {
            let present = |id: &u32| (*id != NONE).then(|| &self.softwires.slab[*id]);
            let softwires = std::iter::successors(present(&subscriber.first_softwire), move |softwire| {
                present(&softwire.next)
            });
            let first = |id: &u32| (*id != NONE).then_some(*id);
            let sets = std::iter::successors(first(&subscriber.first_port_set), move |&set| {
                first(&self.pool.port_set(set).next)
            });
            sets.filter(|&id| !self.pool.is_own_range(id)).map(move |id| {
                let grant = self.grant_record(id);
                let is_present = softwires.clone().any(|softwire| softwire.b4 == grant.b4);
                let other = softwires.clone().next().filter(|_| !is_present);
                Grant { b4: other.map_or(grant.b4, |softwire| softwire.b4), ..grant }
            })
        })
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
}
