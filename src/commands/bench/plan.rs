//! Who speaks with whom: B4s, the flows behind them, and the servers they call. Pure, so that a flow is the
//! same in every run and for every forwarder.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use ipnet::{Ipv4Net, Ipv6Net};

/// The one private address of every home: a softwire tells them apart.
const HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);
/// Homes without a softwire need addresses of their own.
pub(super) const PLAIN_HOMES: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8);
/// Servers that are called.
const SERVER_COUNT: u32 = 16;
const SERVER_PORT: u16 = 443;
const FIRST_PORT: u32 = 1024;
/// Flows of one home: what four port sets of 512 hold.
pub(super) const MOST_PER_B4: u32 = 2048;

/// How homes reach the forwarder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// IPv4 in IPv6 to this address, from a /64 of the prefix for each B4.
    Softwires { aftr: Ipv6Addr, b4s: Ipv6Net },
    /// IPv4 as it is: for forwarders that know no tunnel.
    Plain,
}

/// All flows of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) access: Access,
    /// Where the servers are.
    pub(super) servers: Ipv4Net,
    /// The number of the first home.
    pub(super) first_b4: u32,
    /// Homes: at least 1.
    pub(super) b4s: u32,
    /// Flows of all homes together: at least 1.
    pub(super) flows: u32,
}

/// One flow, as its home sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flow {
    /// None without softwires.
    pub(super) b4: Option<Ipv6Addr>,
    pub(super) inside: SocketAddrV4,
    pub(super) server: SocketAddrV4,
}

impl Plan {
    /// Flow `number` of [`Plan::flows`]. Flows are dealt to the homes one by one, as cards are.
    pub(super) fn flow(&self, number: u32) -> Flow {
        let (home, port) = (self.first_b4 + number % self.b4s, (FIRST_PORT + number / self.b4s) as u16);
        let (b4, host) = match self.access {
            Access::Softwires { b4s, .. } => {
                let net = b4s.network().to_bits() | u128::from(home) << 64;
                (Some(Ipv6Addr::from_bits(net | 2)), HOST)
            }
            Access::Plain => (None, Ipv4Addr::from_bits(PLAIN_HOMES.network().to_bits() + 256 + home)),
        };
        let server = Ipv4Addr::from_bits(self.servers.network().to_bits() + 1 + number % SERVER_COUNT);
        Flow { b4, inside: SocketAddrV4::new(host, port), server: SocketAddrV4::new(server, SERVER_PORT) }
    }

    /// The flows in random order, the same in every run: a home's packets do not come one after the other.
    pub(super) fn order(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.flows).collect();
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        for last in (1..order.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            order.swap(last, ((state >> 33) as usize) % (last + 1));
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::commands::bench::bed::SERVERS;

    fn key(flow: &Flow) -> (Option<Ipv6Addr>, SocketAddrV4) {
        (flow.b4, flow.inside)
    }

    #[test]
    fn no_two_flows_are_the_same_and_every_home_has_some() {
        let b4s = "2001:db8:b4::/48".parse().unwrap();
        for access in [Access::Softwires { aftr: Ipv6Addr::LOCALHOST, b4s }, Access::Plain] {
            let plan = Plan { access, servers: SERVERS, first_b4: 0, b4s: 300, flows: 1000 };
            let flows: Vec<Flow> = (0..plan.flows).map(|number| plan.flow(number)).collect();
            let different: BTreeSet<_> = flows.iter().map(key).collect();
            assert_eq!(different.len(), 1000);
            let homes: BTreeSet<_> = flows.iter().map(|flow| (flow.b4, *flow.inside.ip())).collect();
            assert_eq!(homes.len(), 300);
            assert!(flows.iter().all(|flow| SERVERS.contains(flow.server.ip())));
            assert!(flows.iter().all(|flow| flow.b4.is_none_or(|b4| b4s.contains(&b4))));
        }
    }

    #[test]
    fn the_order_has_every_flow_once() {
        let plan = Plan { access: Access::Plain, servers: SERVERS, first_b4: 0, b4s: 1, flows: 500 };
        let order = plan.order();
        assert_ne!(order, (0..500).collect::<Vec<_>>());
        assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 500);
    }
}
