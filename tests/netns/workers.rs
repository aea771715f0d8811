//! Two workers: homes of different ones, what crosses between them, and whether the kernel brings each packet to
//! its owner.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use aftr::commands::lab::hosts::{self, INTERNET};
use aftr::commands::lab::topology::{AFTR, Node, Topology};
use aftr::daemon::Snapshot;
use aftr::engine::Config;
use aftr::io::Steering;
use anyhow::{Context, ensure};
use ipnet::Ipv4Net;

use crate::cases::Case;

pub(crate) const CASES: &[(&str, Case)] = &[
    ("homes_of_two_workers_call_each_other_by_udp", udp_calls),
    ("an_error_about_a_call_comes_back_from_the_other_worker", error_about_a_call),
    ("both_homes_exchange_at_once_and_lose_nothing", exchange_at_once),
];

pub(crate) const RELOAD_CASES: &[(&str, Case)] = &[("a_reload_reaches_both_workers", reload)];

/// Where the kernel knows the owners.
pub(crate) const STEERED_CASES: &[(&str, Case)] =
    &[("flows_keep_their_order", order_is_kept), ("the_kernel_gives_each_packet_to_its_owner", all_steered)];

/// Where it does not: after many flows some have come to a wrong worker.
pub(crate) const STRAY_CASES: &[(&str, Case)] =
    &[("strays_are_handed_over_and_none_is_lost", strays_not_lost)];
pub(crate) const WHOLE_CASES: &[(&str, Case)] = &[("nothing_is_lost_between_workers", not_lost)];

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

/// The configuration with two workers, and with addresses for both.
pub(crate) fn two(config: &Config) -> Config {
    let mut config = config.clone();
    config.dataplane.workers = 2;
    config.nat.external_ip_address_pool[0].external_ip_pool = vec![net("198.51.100.0/28")];
    config
}

fn net(text: &str) -> Ipv4Net {
    text.parse().expect("a prefix")
}

/// Whether this process may do what steers a tun.
pub(crate) fn kernel_loads_programs() -> std::io::Result<()> {
    aftr::io::sys::bpf::load(&Steering { key: 1, mask: 64, workers: 2 }.extended()).map(|_| ())
}

/// Whether each worker has a home.
pub(crate) fn homes_are_apart(lab: &Topology) -> anyhow::Result<bool> {
    for (identifier, home) in (600..).zip(&lab.homes) {
        hosts::ping(&home.host, INTERNET, identifier, 64)?;
    }
    Ok(lab.gateway.snapshots()?.iter().all(|worker| worker.gauges.subscribers == 1))
}

/// Whether what the router before the first home says comes to another worker than the home's own.
pub(crate) fn router_is_apart(lab: &Topology) -> anyhow::Result<bool> {
    let router = lab.homes[0].between.as_ref().context("no router")?;
    hosts::ping(&lab.homes[0].host, INTERNET, 610, 64)?;
    let workers = lab.gateway.snapshots()?;
    let of_home = workers.iter().position(|worker| worker.gauges.subscribers == 1);
    let before = from_b4(lab)?;
    let socket = router.run(|| UdpSocket::bind("[::]:0"))??;
    socket.send_to(b"whose am I?", (AFTR, 9))?;
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(10));
        let now = from_b4(lab)?;
        if let Some(of_router) = (0..now.len()).find(|&worker| now[worker] > before[worker]) {
            return Ok(Some(of_router) != of_home);
        }
    }
    anyhow::bail!("the router's packet did not come")
}

fn from_b4(lab: &Topology) -> anyhow::Result<Vec<u64>> {
    Ok(lab.gateway.snapshots()?.iter().map(|worker| worker.counters.from_b4.packets).collect())
}

/// A server in the second home that the first one calls by its external address, which is another worker's.
fn udp_calls(lab: &mut Topology) -> anyhow::Result<()> {
    let (called, external) = open_to_all(lab, 9810)?;
    let caller = hosts::bind_udp(&lab.homes[0].host, SocketAddrV4::new(ANY, 9811))?;
    let before = lab.gateway.snapshot()?.counters;
    let mut buffer = [0; 9000];
    caller.send_to(b"who am I?", external)?;
    let (_, seen) = called.recv_from(&mut buffer).context("the call does not arrive")?;
    // A tun takes 1500 bytes; what is larger is lost until the B4s have heard of it (RFC 8201).
    for (from, to, at) in [(&caller, external, &called), (&called, seen, &caller)] {
        from.send_to(&[0; 8000], to)?;
        at.set_read_timeout(Some(Duration::from_millis(300)))?;
        let _ = at.recv_from(&mut buffer);
        at.set_read_timeout(Some(Duration::from_secs(3)))?;
    }
    // Whole, and in pieces that cross one by one.
    for length in [40, 1400, 8000] {
        for number in 0..50u8 {
            let sent = vec![number; length];
            caller.send_to(&sent, external)?;
            let (count, from) =
                called.recv_from(&mut buffer).with_context(|| format!("{length} bytes do not arrive"))?;
            ensure!(buffer[..count] == sent[..], "changed on the way there");
            ensure!(from.ip() != external.ip(), "one worker has both homes");
            called.send_to(&sent, from)?;
            let (count, from) = caller.recv_from(&mut buffer).context("the answer does not arrive")?;
            ensure!(buffer[..count] == sent[..] && from == external, "changed on the way back");
        }
    }
    let after = lab.gateway.snapshot()?.counters;
    let crossed = after.from_workers.packets - before.from_workers.packets;
    ensure!(crossed >= 300, "{crossed} packets crossed");
    Ok(())
}

fn error_about_a_call(lab: &mut Topology) -> anyhow::Result<()> {
    let (called, external) = open_to_all(lab, 9820)?;
    let caller = hosts::bind_udp(&lab.homes[0].host, SocketAddrV4::new(ANY, 9821))?;
    caller.connect(external)?;
    drop(called);
    caller.send(b"anybody?")?;
    let error = caller.recv(&mut [0; 16]).err().map(|error| error.kind());
    ensure!(error == Some(ErrorKind::ConnectionRefused), "{error:?}");
    Ok(())
}

/// A socket of the second home, and how everybody can reach it.
fn open_to_all(lab: &Topology, port: u16) -> anyhow::Result<(UdpSocket, SocketAddr)> {
    let server = hosts::bind_udp(&lab.internet, SocketAddrV4::new(INTERNET, port))?;
    let called = hosts::bind_udp(&lab.homes[1].host, SocketAddrV4::new(ANY, port))?;
    called.send_to(b"here I am", (INTERNET, port))?;
    let (_, external) = server.recv_from(&mut [0; 16]).context("nothing comes up")?;
    Ok((called, external))
}

fn exchange_at_once(lab: &mut Topology) -> anyhow::Result<()> {
    in_both_homes(lab, 9830, Order::Any)
}

fn order_is_kept(lab: &mut Topology) -> anyhow::Result<()> {
    in_both_homes(lab, 9840, Order::AsSent)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Any,
    AsSent,
}

fn in_both_homes(lab: &Topology, port: u16, order: Order) -> anyhow::Result<()> {
    std::thread::scope(|scope| {
        let homes = (port..).zip(&lab.homes);
        let running: Vec<_> = homes
            .map(|(port, home)| scope.spawn(move || bursts(&home.host, &lab.internet, port, order)))
            .collect();
        running
            .into_iter()
            .try_for_each(|home| home.join().map_err(|_| anyhow::anyhow!("a home panicked"))?)
    })
}

/// Numbered datagrams, so many at a time that the queues on the way hold them, there and back.
fn bursts(home: &Node, internet: &Node, port: u16, order: Order) -> anyhow::Result<()> {
    const BURST: u32 = 32;
    let server = hosts::bind_udp(internet, SocketAddrV4::new(INTERNET, port))?;
    let client = hosts::bind_udp(home, SocketAddrV4::new(ANY, port))?;
    let mut buffer = [0; 16];
    for burst in 0..200u32 {
        let numbers = burst * BURST..(burst + 1) * BURST;
        for number in numbers.clone() {
            client.send_to(&number.to_be_bytes(), (INTERNET, port))?;
        }
        let mut seen = None;
        take(&server, numbers.clone(), order, &mut |from| seen = Some(from)).context("on the way up")?;
        let seen = seen.context("nobody was seen")?;
        for number in numbers.clone() {
            server.send_to(&number.to_be_bytes(), seen)?;
        }
        take(&client, numbers, order, &mut |_| {}).context("on the way down")?;
    }
    client.set_read_timeout(Some(Duration::from_millis(50)))?;
    ensure!(client.recv_from(&mut buffer).is_err(), "more came than was sent");
    Ok(())
}

fn take(
    socket: &UdpSocket,
    expected: std::ops::Range<u32>,
    order: Order,
    from: &mut dyn FnMut(SocketAddr),
) -> anyhow::Result<()> {
    let mut came = Vec::new();
    for _ in expected.clone() {
        let mut number = [0; 4];
        let (_, source) = socket.recv_from(&mut number).with_context(|| format!("lost; came: {came:?}"))?;
        from(source);
        came.push(u32::from_be_bytes(number));
    }
    if order == Order::Any {
        came.sort_unstable();
    }
    ensure!(came.iter().copied().eq(expected), "{came:?}");
    Ok(())
}

/// What lives goes on, what is new is there for both, and what would move a home is refused.
fn reload(lab: &mut Topology) -> anyhow::Result<()> {
    let server = hosts::bind_udp(&lab.internet, SocketAddrV4::new(INTERNET, 9850))?;
    let clients = lab.homes.iter().map(|home| hosts::bind_udp(&home.host, SocketAddrV4::new(ANY, 9851)));
    let clients = clients.collect::<Result<Vec<_>, _>>()?;
    let seen = |clients: &[UdpSocket]| -> anyhow::Result<Vec<SocketAddr>> {
        let mut buffer = [0; 16];
        let ask = |client: &UdpSocket| {
            client.send_to(b"who am I?", (INTERNET, 9850))?;
            let (_, seen) = server.recv_from(&mut buffer).context("nothing comes up")?;
            server.send_to(b"this", seen)?;
            client.recv_from(&mut [0; 16]).context("nothing comes down")?;
            Ok(seen)
        };
        clients.iter().map(ask).collect()
    };
    let before = seen(&clients)?;
    ensure!(before[0].ip() != before[1].ip(), "one worker has both homes");
    let old = lab.gateway.config()?;
    let mut wider = old.clone();
    wider.nat.external_ip_address_pool[0].external_ip_pool = vec![net("198.51.100.0/27")];
    lab.gateway.reconfigure(wider)?;
    ensure!(seen(&clients)? == before, "the homes have other mappings now");
    let mut narrow = old.clone();
    narrow.nat.external_ip_address_pool[0].external_ip_pool = vec![net("198.51.100.1/32")];
    let refused = lab.gateway.reconfigure(narrow).err().context("half of the homes would move")?;
    ensure!(refused.to_string().contains("external-ip-address-pool"), "{refused}");
    ensure!(seen(&clients)? == before, "a refused reload has changed something");
    lab.gateway.reconfigure(old)?;
    ensure!(seen(&clients)? == before, "the homes have other mappings now");
    Ok(())
}

fn all_steered(lab: &mut Topology) -> anyhow::Result<()> {
    let strays = strays_of_whole(lab)?;
    ensure!(strays == 0, "{strays} packets came to a wrong worker");
    Ok(())
}

fn strays_not_lost(lab: &mut Topology) -> anyhow::Result<()> {
    let strays = strays_of_whole(lab)?;
    ensure!(strays > 0 || kernel_loads_programs().is_ok(), "nothing was to be handed over");
    Ok(())
}

fn not_lost(lab: &mut Topology) -> anyhow::Result<()> {
    strays_of_whole(lab).map(|_| ())
}

/// Packets that came to a wrong worker, when each one had something to do and no parcel was missing.
fn strays_of_whole(lab: &Topology) -> anyhow::Result<u64> {
    let all = lab.gateway.snapshots()?;
    for worker in &all {
        ensure!(worker.counters.from_b4.packets > 0, "a worker has done nothing");
        ensure!(worker.losses.between_workers == 0, "{:?}", worker.losses);
    }
    let came = |worker: &Snapshot| worker.counters.from_b4.packets + worker.counters.from_internet.packets;
    let (strays, packets): (u64, u64) =
        (all.iter().map(|worker| worker.strays).sum(), all.iter().map(came).sum());
    println!("    {strays} of {packets} packets came to a wrong worker");
    Ok(strays)
}
