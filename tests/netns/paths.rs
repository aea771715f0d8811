//! Paths that do not take every packet whole: fragments, path MTU and traceroute between real kernels.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use aftr::commands::lab::hosts::{self, INTERNET, Services, Size};
use aftr::commands::lab::topology::{AFTR, Access, Home, Topology};
use aftr::wire::fragment::Fragment;
use aftr::wire::icmpv4::kind;
use aftr::wire::ipv6::{Ipv6, next_header};
use anyhow::{Context, ensure};
use socket2::{Domain, Socket, Type};
use zerocopy::IntoBytes;

use crate::cases::Case;

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const AFTR_INSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 1);

/// The first home has an access link of 1500 bytes, the second one of 1280.
pub(crate) const NARROW: [Access; 2] =
    [Access { mtu: 1500, beyond: None }, Access { mtu: 1280, beyond: None }];
/// Behind a link of 1500 bytes and a router, the first home has one of 1400.
pub(crate) const MIDDLE: [Access; 2] =
    [Access { mtu: 1500, beyond: Some(1400) }, Access { mtu: 1500, beyond: None }];

pub(crate) const NARROW_CASES: &[(&str, Case)] = &[
    ("a_ping_of_1500_bytes_crosses_an_access_link_of_1500", ping_of_1500),
    ("udp_of_8_kb_crosses_both_ways", udp_of_8_kb),
    ("tcp_crosses_an_access_link_of_1280", tcp_over_1280),
    ("traceroute_shows_the_aftr_and_what_is_behind_it", traceroute),
    ("a_flood_of_fragments_hurts_no_other_home", flood),
];

pub(crate) const MIDDLE_CASES: &[(&str, Case)] = &[("a_path_of_1400_in_the_middle_is_learnt", path_of_1400)];

fn ping_of_1500(lab: &mut Topology) -> anyhow::Result<()> {
    for (identifier, dont_fragment) in [(700, false), (701, true)] {
        let size = Size { data: 1500 - 28, dont_fragment };
        let echo = hosts::ping_with(&lab.homes[0].host, INTERNET, identifier, 64, size)
            .with_context(|| format!("DF {dont_fragment}"))?;
        ensure!((echo.from, echo.kind) == (INTERNET, kind::ECHO_REPLY), "{echo:?}");
    }
    let counters = lab.gateway.snapshot()?.counters;
    ensure!(counters.fragments_held >= 2 && counters.fragments_to_b4.packets >= 2, "{counters:?}");
    Ok(())
}

fn udp_of_8_kb(lab: &mut Topology) -> anyhow::Result<()> {
    let server = hosts::bind_udp(&lab.internet, SocketAddrV4::new(INTERNET, 9300))?;
    for (number, home) in lab.homes.iter().enumerate() {
        let client = hosts::bind_udp(&home.host, SocketAddrV4::new(ANY, 9301))?;
        if number == 1 {
            // What leads to a link of 1280 is lost until the path is learnt (RFC 8201).
            client.send_to(b"hello", (INTERNET, 9300))?;
            let (_, seen) = server.recv_from(&mut [0; 16])?;
            server.send_to(&[0; 1400], seen)?;
            client.set_read_timeout(Some(Duration::from_millis(200)))?;
            ensure!(client.recv_from(&mut [0; 2048]).is_err(), "1440 bytes came through a link of 1280");
            client.set_read_timeout(Some(Duration::from_secs(3)))?;
        }
        exchange(&client, &server, 8192, 3)?;
    }
    // IPv4 fragments of the hosts, in IPv6 fragments of the B4s.
    let counters = lab.gateway.snapshot()?.counters;
    ensure!(counters.fragments_held >= 10, "{counters:?}");
    Ok(())
}

/// Sends a datagram up and its mirror image down, and compares both.
fn exchange(client: &UdpSocket, server: &UdpSocket, length: usize, mark: u8) -> anyhow::Result<()> {
    let sent: Vec<u8> = (0..length).map(|at| (at % 251) as u8 ^ mark).collect();
    let mut buffer = [0; 16_384];
    let port = server.local_addr()?.port();
    client.send_to(&sent, (INTERNET, port))?;
    let (count, from) = server.recv_from(&mut buffer).context("nothing comes up")?;
    ensure!(buffer[..count] == sent[..], "changed on the way up");
    let back: Vec<u8> = sent.iter().rev().copied().collect();
    server.send_to(&back, from)?;
    let (count, _) = client.recv_from(&mut buffer).context("nothing comes down")?;
    ensure!(buffer[..count] == back[..], "changed on the way down");
    Ok(())
}

/// The kernel behind the AFTR says that 1500 do not fit; the AFTR learns it.
fn tcp_over_1280(lab: &mut Topology) -> anyhow::Result<()> {
    const LENGTH: usize = 8 << 20;
    let _services = Services::start(&lab.internet, LENGTH)?;
    let home = &lab.homes[1];
    let (bytes, time) = hosts::download(&home.host)?;
    ensure!(bytes == LENGTH, "{bytes} bytes came");
    println!("    {:.0} Mbit/s down over 1280", bytes as f64 * 8.0 / time.as_secs_f64() / 1e6);
    ensure!(lab.gateway.snapshot()?.counters.tunnel_errors > 0, "no packet-too-big was taken");
    Ok(())
}

/// RFC 6333 section 6.5: the home's router, the AFTR as 192.0.0.1, the router outside, the host.
fn traceroute(lab: &mut Topology) -> anyhow::Result<()> {
    let _far = lab.add_far_host()?;
    let host = &lab.homes[0].host;
    let mut seen = Vec::new();
    for ttl in 1..8 {
        let echo = hosts::trace(host, FAR, 33_434 + ttl as u16, ttl)?;
        seen.push(echo.from);
        if echo.kind == kind::UNREACHABLE {
            break;
        }
    }
    println!("    {seen:?}");
    let outside = seen.iter().position(|&hop| hop == INTERNET);
    let inside = seen.iter().position(|&hop| hop == AFTR_INSIDE);
    ensure!(seen.first() == Some(&Ipv4Addr::new(192, 168, 1, 1)), "the first hop is {:?}", seen.first());
    ensure!(inside == Some(1) && outside > inside && seen.last() == Some(&FAR), "{seen:?}");
    Ok(())
}

/// One home sends first fragments that nothing follows; the other's datagrams, whole and in pieces, all get
/// through (RFC 4787 REQ-14a).
fn flood(lab: &mut Topology) -> anyhow::Result<()> {
    let server = hosts::bind_udp(&lab.internet, SocketAddrV4::new(INTERNET, 9400))?;
    let client = hosts::bind_udp(&lab.homes[1].host, SocketAddrV4::new(ANY, 9401))?;
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let flooder = &lab.homes[0];
    std::thread::scope(|scope| {
        let flooding = scope.spawn(|| send_first_fragments(flooder, &stop, &sent));
        let exchanged = (0..2000u32).try_for_each(|number| {
            let mark = number as u8;
            exchange(&client, &server, 1000, mark).with_context(|| format!("datagram {mark}, whole"))?;
            exchange(&client, &server, 4000, mark).with_context(|| format!("datagram {mark}, in pieces"))
        });
        stop.store(true, Ordering::Relaxed);
        flooding.join().map_err(|_| anyhow::anyhow!("the flooder panicked"))??;
        exchanged
    })?;
    let (sent, snapshot) = (sent.load(Ordering::Relaxed), lab.gateway.snapshot()?);
    println!("    {sent} fragments of the flood, {} packets wait", snapshot.gauges.reassembling);
    ensure!(sent > 4000, "{sent} fragments are no flood");
    ensure!(snapshot.gauges.reassembling <= 2 * 32, "more wait than may");
    Ok(())
}

/// Up to 64 at a time, so that the queue of the tun is not what overflows.
fn send_first_fragments(home: &Home, stop: &AtomicBool, sent: &AtomicU64) -> anyhow::Result<()> {
    // A raw socket of this kind takes the IPv6 header from us.
    let raw = home.router.run(|| Socket::new(Domain::IPV6, Type::RAW, Some(libc::IPPROTO_RAW.into())))??;
    let to = std::net::SocketAddrV6::new(AFTR, 0, 0, 0).into();
    let data = [0x45; 1024];
    while !stop.load(Ordering::Relaxed) && sent.load(Ordering::Relaxed) < 400_000 {
        for _ in 0..64 {
            let number = sent.fetch_add(1, Ordering::Relaxed) as u32;
            let header = Ipv6::new(home.b4, AFTR, next_header::FRAGMENT, 8 + data.len() as u16, 64, 0, 0);
            let fragment = Fragment::new(next_header::IPV4, 0, true, number);
            let packet = [header.as_bytes(), fragment.as_bytes(), &data].concat();
            let _ = raw.send_to(&packet, &to);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// RFC 8201: the first packet is lost, and the router says why.
fn path_of_1400(lab: &mut Topology) -> anyhow::Result<()> {
    let server = hosts::bind_udp(&lab.internet, SocketAddrV4::new(INTERNET, 9500))?;
    let client = hosts::bind_udp(&lab.homes[0].host, SocketAddrV4::new(ANY, 9501))?;
    client.set_read_timeout(Some(Duration::from_millis(300)))?;
    let mut buffer = [0; 2048];
    client.send_to(b"hello", (INTERNET, 9500))?;
    let (_, home) = server.recv_from(&mut buffer)?;
    // A router whose own address is still being tried out says nothing.
    let learnt = |lab: &Topology| lab.gateway.snapshot().map(|now| now.counters.tunnel_errors);
    for _ in 0..20 {
        server.send_to(&[1; 1400], home)?;
        ensure!(client.recv_from(&mut buffer).is_err(), "1440 bytes came through a link of 1400");
        if learnt(lab)? > 0 {
            break;
        }
    }
    ensure!(learnt(lab)? > 0, "the router was not heard");
    for length in [1400, 1472] {
        server.send_to(&vec![2; length], home)?;
        let (count, _) = client.recv_from(&mut buffer).with_context(|| format!("{length} bytes are lost"))?;
        ensure!(buffer[..count] == vec![2; length][..], "changed on the way");
    }
    // The other home's path is as wide as ever.
    let pieces = lab.gateway.snapshot()?.counters.fragments_to_b4.packets;
    let other = hosts::bind_udp(&lab.homes[1].host, SocketAddrV4::new(ANY, 9502))?;
    exchange(&other, &server, 1400, 7)?;
    ensure!(lab.gateway.snapshot()?.counters.fragments_to_b4.packets == pieces, "B's packet was cut");
    // TCP both ways over the same path, large datagrams too.
    exchange(&client, &server, 8000, 9)?;
    let _services = Services::start(&lab.internet, 4 << 20)?;
    let (bytes, _) = hosts::download(&lab.homes[0].host)?;
    ensure!(bytes == 4 << 20, "{bytes} bytes came");
    Ok(())
}
