//! The scenes: each shows one thing that a DS-Lite AFTR owes its users, on real packets, and says whether
//! it held.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use socket2::{Domain, Protocol, Socket, Type};
use zerocopy::IntoBytes;

use super::collector::Collector;
use super::evidence;
use super::hosts::{self, INTERNET, Services};
use super::report::{Outcome, Report};
use super::topology::{AFTR, Topology};
use crate::engine::DropReason;
use crate::wire::icmpv4::kind;
use crate::wire::ipv4::{Ipv4, protocol};

/// Bytes of one download.
const DOWNLOAD: usize = 64 << 20;
/// Packets that the stranger sends.
const STRANGER: u64 = 5;

/// Plays all scenes.
///
/// # Errors
/// When the lab itself fails; a scene that does not hold is in the report.
pub(super) fn play(lab: &Topology, report: &mut Report) -> anyhow::Result<()> {
    let services = Services::start(&lab.internet, DOWNLOAD)?;
    let collector = Collector::start(lab.gateway.node())?;
    report.scene("ping", "each home reaches the Internet", || ping(lab));
    report.scene("traceroute", "the AFTR shows itself as 192.0.0.1", || second_hop(lab));
    report.scene("download", "TCP, every byte checked", || download(lab));
    report.scene("mirror", "both homes from outside: one address, different ports", || mirror(lab));
    report
        .scene("pairing", "one home, one external address for UDP, TCP and ICMP", || pairing(lab, &services));
    report.scene("hairpin", "home 1 calls home 2 by its external address", || hairpin(lab));
    report.scene("stranger", "an unknown B4 meets silence", || stranger(lab));
    report.scene("mappings", "whose port is whose", || mappings(lab));
    let mut seen = Vec::new();
    report.scene("collector", "a collector is told who got which ports", || {
        seen = evidence::seen_outside(lab)?;
        evidence::what_collectors_are_told(lab, &seen, &collector)
    });
    report
        .scene("attribution", "who was that, a moment ago?", || evidence::who_was_it(lab, &seen, &collector));
    Ok(())
}

fn ping(lab: &Topology) -> anyhow::Result<Outcome> {
    let mut times = Vec::new();
    for (number, home) in (1..).zip(&lab.homes) {
        let echo = hosts::ping(&home.host, INTERNET, 100 + number, 64)?;
        anyhow::ensure!(echo.from == INTERNET && echo.kind == kind::ECHO_REPLY, "{} answered", echo.from);
        times.push(echo.time.as_secs_f64() * 1e3);
    }
    let text =
        format!("192.168.1.10 and 192.168.1.10 → {INTERNET}: {:.2} ms and {:.2} ms", times[0], times[1]);
    Ok(Outcome::new(text, json!({ "milliseconds": times })))
}

/// The first hop is the home's own router, the second the AFTR (RFC 6333 section 6.5).
fn second_hop(lab: &Topology) -> anyhow::Result<Outcome> {
    let expected = Ipv4Addr::new(192, 0, 0, 1);
    let hop = hosts::ping(&lab.homes[0].host, INTERNET, 200, 2)?;
    anyhow::ensure!(
        hop.from == expected && hop.kind == kind::TIME_EXCEEDED,
        "{} answered type {}",
        hop.from,
        hop.kind
    );
    let echo = hosts::ping(&lab.homes[0].host, expected, 201, 64)?;
    let text = format!("second hop {expected}; it answers ping in {:.2} ms", echo.time.as_secs_f64() * 1e3);
    Ok(Outcome::new(text, json!({ "hop": expected })))
}

fn download(lab: &Topology) -> anyhow::Result<Outcome> {
    let mut rates = Vec::new();
    for home in &lab.homes {
        let (bytes, time) = hosts::download(&home.host)?;
        anyhow::ensure!(bytes == DOWNLOAD, "{bytes} bytes came of {DOWNLOAD}");
        rates.push(bytes as f64 * 8.0 / time.as_secs_f64() / 1e6);
    }
    let text =
        format!("{} MB to each home: {:.0} Mbit/s and {:.0} Mbit/s", DOWNLOAD >> 20, rates[0], rates[1]);
    Ok(Outcome::new(text, json!({ "bytes": DOWNLOAD, "megabits_per_second": rates })))
}

fn mirror(lab: &Topology) -> anyhow::Result<Outcome> {
    let mut seen = Vec::new();
    for home in &lab.homes {
        let socket = hosts::bind_udp(&home.host, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 5000))?;
        seen.push(hosts::seen_by_mirror(&socket)?);
    }
    anyhow::ensure!(seen[0].ip() == seen[1].ip(), "different addresses: {seen:?}");
    anyhow::ensure!(seen[0].port() != seen[1].port(), "the same port twice: {seen:?}");
    let text = format!("192.168.1.10:5000 is {} for home 1 and {} for home 2", seen[0], seen[1]);
    Ok(Outcome::new(text, json!({ "seen": seen })))
}

fn pairing(lab: &Topology, services: &Services) -> anyhow::Result<Outcome> {
    let host = &lab.homes[0].host;
    let socket = hosts::bind_udp(host, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 5002))?;
    let udp = *hosts::seen_by_mirror(&socket)?.ip();
    let tcp = *hosts::tcp_seen_by_mirror(host)?.ip();
    services.forget_pings()?;
    hosts::ping(host, INTERNET, 300, 64)?;
    let icmp = services.who_pings()?;
    anyhow::ensure!(udp == tcp && tcp == icmp, "UDP {udp}, TCP {tcp}, ICMP {icmp}");
    Ok(Outcome::new(
        format!("UDP {udp}, TCP {tcp}, ICMP {icmp}"),
        json!({ "udp": udp, "tcp": tcp, "icmp": icmp }),
    ))
}

fn hairpin(lab: &Topology) -> anyhow::Result<Outcome> {
    let bind = |home: usize, port| {
        hosts::bind_udp(&lab.homes[home].host, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))
    };
    let (caller, called) = (bind(0, 5003)?, bind(1, 5003)?);
    let caller_outside = hosts::seen_by_mirror(&caller)?;
    let called_outside = hosts::seen_by_mirror(&called)?;
    caller.send_to(b"hello", called_outside)?;
    let mut buffer = [0; 64];
    let (length, from) = called.recv_from(&mut buffer).context("home 2 hears nothing")?;
    anyhow::ensure!(
        &buffer[..length] == b"hello" && from == caller_outside.into(),
        "home 2 is called by {from}"
    );
    called.send_to(b"hello yourself", from)?;
    let (_, from) = caller.recv_from(&mut buffer).context("home 1 hears no answer")?;
    anyhow::ensure!(from == called_outside.into(), "home 1 is answered by {from}");
    let text = format!("{caller_outside} called {called_outside}, and was answered");
    Ok(Outcome::new(text, json!({ "caller": caller_outside, "called": called_outside })))
}

/// A host of the access network whose address is in no `b4-prefixes` sends what a B4 would.
fn stranger(lab: &Topology) -> anyhow::Result<Outcome> {
    let before = lab.gateway.dropped(DropReason::V6Acl)?;
    let socket = lab.stranger.run(|| Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(4))))??;
    let errors = lab.stranger.run(|| Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)))??;
    let destination = std::net::SocketAddrV6::new(AFTR, 0, 0, 0).into();
    errors.connect(&destination)?;
    for _ in 0..STRANGER {
        let source = Ipv4Addr::new(192, 168, 1, 10);
        let mut inner = Ipv4::new(protocol::UDP, source, INTERNET, 28, 64, 0).as_bytes().to_vec();
        inner.extend_from_slice(&[0x13, 0x88, 0x0d, 0x96, 0, 8, 0, 0]);
        socket.send_to(&inner, &destination)?;
    }
    errors.set_read_timeout(Some(Duration::from_millis(300)))?;
    let answer = std::io::Read::read(&mut &errors, &mut [0; 64]);
    anyhow::ensure!(answer.is_err(), "the stranger was answered");
    let counted = lab.gateway.dropped(DropReason::V6Acl)? - before;
    anyhow::ensure!(counted == STRANGER, "drop.v6.acl counted {counted} of {STRANGER}");
    let text = format!("{STRANGER} packets, no answer; drop.v6.acl rose by {counted}");
    Ok(Outcome::new(text, json!({ "sent": STRANGER, "drop.v6.acl": counted })))
}

fn mappings(lab: &Topology) -> anyhow::Result<Outcome> {
    let mappings = lab.gateway.mappings()?;
    for home in &lab.homes {
        anyhow::ensure!(mappings.iter().any(|mapping| mapping.b4 == home.b4), "{} has no mapping", home.b4);
    }
    let mut outside: Vec<_> = mappings.iter().map(|mapping| (mapping.protocol, mapping.external)).collect();
    outside.sort_unstable();
    outside.dedup();
    anyhow::ensure!(outside.len() == mappings.len(), "an external port is used twice");
    let rows = super::report::mapping_rows(&mappings);
    Ok(Outcome::new(format!("{} mappings, no external port twice", mappings.len()), json!(rows))
        .with_table(rows))
}
