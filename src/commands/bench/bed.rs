//! What a forwarder stands in: B4s on one side, the Internet on the other, each a network namespace.
//!
//! ```text
//!   b4s ──access── router ──internet── servers
//! ```
//!
//! The two ends have no addresses: the bench writes and counts frames there. The router takes them for
//! neighbours whose Ethernet address is nobody's, so that the kernel behind drops what arrives at once and
//! costs the forwarder's CPU as little as it can.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Context as _;
use ipnet::Ipv4Net;

use super::frames::Hop;
use super::links::{Links, Received};
use super::plan::PLAIN_HOMES;
use crate::commands::lab::topology::{Node, link};
use crate::io::packet::Mac;

/// Largest packet of the access network: an IPv4 packet of 1500 octets in IPv6.
const ACCESS_MTU: u32 = 1540;
pub(super) const NOBODY: Mac = [0x02, 0, 0, 0, 0, 0xee];
/// Where everything behind the access network is reached by.
const ACCESS_GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 2);
const ACCESS_GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 2);
const INTERNET_GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// Where the servers are (RFC 5737).
pub(super) const SERVERS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 2, 0), 24);
/// The prefix that B4s have their addresses from.
pub(super) const B4S: &str = "2001:db8:b4::/48";

/// One interface that the bench sends and counts on.
pub(super) struct Port {
    /// Where it is; none for the namespace that the command was started in.
    pub(super) node: Option<Node>,
    pub(super) name: String,
    pub(super) index: u32,
    pub(super) hop: Hop,
}

impl Port {
    /// Runs `work` where the interface is.
    pub(super) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        match &self.node {
            Some(node) => node.run(work),
            None => Ok(work()),
        }
    }

    /// Its counter of received packets.
    pub(super) fn received(&self) -> anyhow::Result<Received> {
        self.run(|| Received::open(&self.name))?
    }
}

/// The two ends between which something forwards.
pub(super) struct Ports {
    pub(super) b4s: Port,
    pub(super) internet: Port,
}

/// Builds the three namespaces. The router forwards IPv4 and IPv6 between its interfaces `access` and
/// `internet` and knows the way to all homes and servers; the forwarder does the rest.
pub(super) fn build() -> anyhow::Result<(Ports, Node)> {
    let (b4s, router, servers) = (Node::new("b4s")?, Node::new("router")?, Node::new("servers")?);
    for end in [&b4s, &servers] {
        // A silent end: no router solicitations, no multicast reports among what is counted.
        end.run(|| std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"))?
            .context("cannot switch IPv6 off on an end")?;
    }
    router.run(|| {
        let all = ["all", "default"].map(|name| format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"));
        all.iter().try_for_each(|path| std::fs::write(path, "0"))
    })??;
    link(&b4s, "wire", &router, "access", ACCESS_MTU)?;
    link(&servers, "wire", &router, "internet", 1500)?;
    router.configure(
        &[("access", "2001:db8:c::1/64"), ("access", "100.64.0.1/24"), ("internet", "203.0.113.254/24")],
        &[
            (B4S, "access", &ACCESS_GATEWAY_V6.to_string()),
            (&PLAIN_HOMES.to_string(), "access", &ACCESS_GATEWAY_V4.to_string()),
            (&SERVERS.to_string(), "internet", &INTERNET_GATEWAY.to_string()),
        ],
        true,
    )?;
    let (access, internet) = router.run(|| {
        let links = Links::open()?;
        let (access, internet) = (links.find("access")?, links.find("internet")?);
        for gateway in [IpAddr::V6(ACCESS_GATEWAY_V6), IpAddr::V4(ACCESS_GATEWAY_V4)] {
            links.set_neighbour(&access, gateway, NOBODY)?;
        }
        links.set_neighbour(&internet, INTERNET_GATEWAY.into(), NOBODY)?;
        anyhow::Ok((access, internet))
    })??;
    let ports = Ports { b4s: port(b4s, access.mac)?, internet: port(servers, internet.mac)? };
    Ok((ports, router))
}

fn port(node: Node, router: Mac) -> anyhow::Result<Port> {
    let link = node.run(|| Links::open()?.find("wire"))??;
    let hop = Hop { from: link.mac, to: router };
    Ok(Port { node: Some(node), name: "wire".into(), index: link.index, hop })
}
