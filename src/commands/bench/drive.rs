//! Another AFTR, by two interfaces of this host: the bench is its B4s and its Internet.
//!
//! ```text
//!   --b4-interface ── AFTR ── --internet-interface
//! ```
//!
//! The AFTR must have routes to the B4s' prefix by this host's address on the first interface, and to the
//! servers' prefix by its address on the second. Forwarding should be off here, so that the kernel drops what
//! arrives.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use ipnet::{Ipv4Net, Ipv6Net};
use socket2::SockRef;

use super::bed::{Port, Ports};
use super::figures::{self, NewFlows};
use super::frames::Hop;
use super::links::Links;
use super::plan::{Access, Plan};
use super::results::Results;
use super::rounds::{self, Candidate, NEW_PER_B4, Order};
use super::stand::Stand;

/// What the figures are called after.
const NAME: &str = "the AFTR";
/// Where nobody listens (RFC 863).
const DISCARD: u16 = 9;

/// Where the AFTR is.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Target {
    /// Drive another AFTR: this interface is where its B4s are
    #[arg(
        long,
        value_name = "INTERFACE",
        requires = "internet_interface",
        requires = "aftr",
        requires = "internet_via",
        conflicts_with = "device"
    )]
    b4_interface: Option<String>,
    /// … and this is where its Internet is
    #[arg(long, value_name = "INTERFACE", requires = "b4_interface")]
    internet_interface: Option<String>,
    /// The softwires' end
    #[arg(long, value_name = "ADDRESS", requires = "b4_interface")]
    aftr: Option<Ipv6Addr>,
    /// The next hop towards the AFTR [default: the AFTR]
    #[arg(long, value_name = "ADDRESS", requires = "b4_interface")]
    b4_via: Option<Ipv6Addr>,
    /// The next hop towards the pools
    #[arg(long, value_name = "ADDRESS", requires = "b4_interface")]
    internet_via: Option<Ipv4Addr>,
    /// B4s have a /64 each from here; the AFTR routes it to this host
    #[arg(long, value_name = "PREFIX", default_value = "2001:db8:b4::/48")]
    b4_prefix: Ipv6Net,
    /// Servers have their addresses from here; the AFTR routes it to this host
    #[arg(long, value_name = "PREFIX", default_value = "192.0.2.0/24")]
    server_prefix: Ipv4Net,
}

impl Target {
    /// Whether there is one.
    pub(super) fn is_given(&self) -> bool {
        self.b4_interface.is_some()
    }

    /// In one line.
    pub(super) fn describe(&self) -> String {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let aftr = self.aftr.map(|aftr| aftr.to_string()).unwrap_or_default();
        format!(
            "{NAME}: {aftr}, B4s at {}, Internet at {}; its CPU time is not known here",
            text(&self.b4_interface),
            text(&self.internet_interface)
        )
    }
}

/// Measures it. `say` is told what is going on.
pub(super) fn play(order: &Order, target: &Target, say: impl Fn(&str)) -> anyhow::Result<Results> {
    let (Some(b4s), Some(internet), Some(aftr), Some(internet_via)) =
        (&target.b4_interface, &target.internet_interface, target.aftr, target.internet_via)
    else {
        bail!("two interfaces, --aftr and --internet-via are needed");
    };
    let opened_per_round = order.new_flows.div_ceil(NEW_PER_B4);
    let all = order.b4s + order.rounds * opened_per_round;
    let room = 1u128.checked_shl(64 - u32::from(target.b4_prefix.prefix_len().min(64))).unwrap_or(0);
    ensure!(u128::from(all) <= room, "{} has {room} B4s, and {all} are needed", target.b4_prefix);
    let access = Access::Softwires { aftr, b4s: target.b4_prefix };
    let servers = target.server_prefix;
    let plan = Plan { access, servers, first_b4: 0, b4s: order.b4s, flows: order.flows };
    let ports = Ports {
        b4s: port(b4s, target.b4_via.unwrap_or(aftr).into())?,
        internet: port(internet, internet_via.into())?,
    };
    let mut candidates =
        [Candidate { name: NAME, stand: Stand::new(ports, plan, &order.cpus), forwarder: None }];
    let mut results = rounds::empty_results(order, &[NAME]);
    for round in 1..=order.rounds {
        let say = |what: &str| say(&format!("round {round} of {}: {what}", order.rounds));
        candidates[0].learn()?;
        say("throughput");
        rounds::throughput(order, &candidates, &mut results.throughput)?;
        say("loss and latency");
        rounds::quality(order, &candidates, &mut results)?;
        say("new flows");
        // Homes that have not been seen before.
        let first_b4 = order.b4s + (round - 1) * opened_per_round;
        let fresh = Plan { first_b4, b4s: opened_per_round, flows: order.new_flows, ..plan };
        let opened: NewFlows = {
            let stand = &mut candidates[0].stand;
            stand.turn_to(fresh);
            let opened = figures::new_flows(stand, &[], order.new_pace)?;
            stand.turn_to(plan);
            opened
        };
        // The sender's time is not the AFTR's.
        results.new_flows[0].rounds.push(NewFlows { ns: 0.0, ..opened });
    }
    Ok(results)
}

/// An interface of this host, with the Ethernet address of the neighbour behind it.
fn port(name: &str, via: IpAddr) -> anyhow::Result<Port> {
    let links = Links::open()?;
    let link = links.find(name)?;
    for _ in 0..30 {
        if let Some(mac) = links.neighbour(&link, via)? {
            let hop = Hop { from: link.mac, to: mac };
            return Ok(Port { node: None, name: name.to_owned(), index: link.index, hop });
        }
        ask_for(name, link.index, via).with_context(|| format!("cannot reach {via} by {name}"))?;
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("{via} does not answer on {name}")
}

/// Lets the kernel look for a neighbour.
fn ask_for(name: &str, index: u32, via: IpAddr) -> std::io::Result<()> {
    let (here, there) = match via {
        IpAddr::V4(_) => (IpAddr::from(Ipv4Addr::UNSPECIFIED), SocketAddr::new(via, DISCARD)),
        IpAddr::V6(address) => (
            IpAddr::from(Ipv6Addr::UNSPECIFIED),
            std::net::SocketAddrV6::new(address, DISCARD, 0, index).into(),
        ),
    };
    let socket = UdpSocket::bind((here, 0))?;
    SockRef::from(&socket).bind_device(Some(name.as_bytes()))?;
    // A port that is closed there has answered, too.
    match socket.send_to(b"", there) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
        result => result.map(|_| ()),
    }
}
