//! The device `packet`: neighbours and interfaces that change, and a kernel that keeps out of it.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Command;
use std::time::Duration;

use aftr::commands::lab::hosts::{self, INTERNET};
use aftr::commands::lab::topology::{AFTR, Node, Topology};
use aftr::daemon::Netlink;
use anyhow::{Context, ensure};

use crate::cases::Case;

const POOL: &str = "198.51.100.0/24";

pub(crate) const CASES: &[(&str, Case)] = &[
    ("the_kernel_does_not_see_what_is_ours", kernel_keeps_out),
    ("a_neighbour_that_moves_in_silence_is_found_again", neighbour_moves),
    ("an_interface_that_goes_down_and_up_again_is_used_again", interface_goes_down),
];

pub(crate) const PROXY_CASES: &[(&str, Case)] =
    &[("addresses_of_ours_are_answered_for_by_arp_and_nd", answered_for)];

/// Neither does it route our packets, nor tell their senders that it does not.
fn kernel_keeps_out(lab: &mut Topology) -> anyhow::Result<()> {
    const COUNT: u64 = 500;
    let server = hosts::bind_udp(&lab.internet, SocketAddrV4::new(INTERNET, 9600))?;
    let client = hosts::bind_udp(&lab.homes[0].host, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 9601))?;
    let mut buffer = [0; 16];
    let received = |family: &str| ip_received(lab.gateway.node(), family);
    let before = (received("snmp")?, received("snmp6")?);
    for _ in 0..COUNT {
        client.send_to(b"up", (INTERNET, 9600))?;
        let (_, from) = server.recv_from(&mut buffer).context("nothing comes up")?;
        server.send_to(b"down", from)?;
        client.recv_from(&mut buffer).context("nothing comes down")?;
    }
    let rise = (received("snmp")? - before.0, received("snmp6")? - before.1);
    ensure!(rise.0 < COUNT / 10 && rise.1 < COUNT / 10, "the kernel received {rise:?} packets");
    // Protocols that we do not know, and ports that nobody has: a router would say something.
    let outsider = hosts::bind_udp(&lab.internet, SocketAddrV4::new(INTERNET, 9602))?;
    outsider.connect("198.51.100.1:1")?;
    outsider.set_read_timeout(Some(Duration::from_millis(300)))?;
    outsider.send(b"anybody?")?;
    let error = outsider.recv(&mut buffer).err().map(|error| error.kind());
    ensure!(error == Some(std::io::ErrorKind::WouldBlock), "{error:?}");
    Ok(())
}

/// Packets that the IP layer of a host received.
fn ip_received(node: &Node, file: &str) -> anyhow::Result<u64> {
    let text = node.run(|| std::fs::read_to_string(format!("/proc/thread-self/net/{file}")))??;
    let number = if file == "snmp6" {
        text.lines().find_map(|line| line.strip_prefix("Ip6InReceives")).map(str::trim)
    } else {
        text.lines().filter(|line| line.starts_with("Ip:")).nth(1).and_then(|line| line.split(' ').nth(3))
    };
    Ok(number.context("no counter")?.parse()?)
}

/// The host on the Internet gets another link-layer address and says nothing.
fn neighbour_moves(lab: &mut Topology) -> anyhow::Result<()> {
    hosts::ping(&lab.homes[0].host, INTERNET, 800, 64)?;
    // The kernel believes in a neighbour for half a minute; here, for a second.
    lab.gateway.node().run(|| -> std::io::Result<()> {
        let neighbours = "/proc/sys/net/ipv4/neigh/internet";
        std::fs::write(format!("{neighbours}/base_reachable_time_ms"), "500")?;
        std::fs::write(format!("{neighbours}/delay_first_probe_time"), "1")
    })??;
    // What was known before keeps its old time.
    ip(lab.gateway.node(), "neighbour flush dev internet")?;
    hosts::ping(&lab.homes[0].host, INTERNET, 802, 64)?;
    ip(&lab.internet, "link set aftr address 02:00:00:00:77:01")?;
    let mut found = None;
    for attempt in 0..40 {
        let socket =
            hosts::bind_udp(&lab.homes[0].host, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 9700 + attempt))?;
        let server = hosts::bind_udp(&lab.internet, SocketAddrV4::new(INTERNET, 9700 + attempt))?;
        server.set_read_timeout(Some(Duration::from_millis(500)))?;
        socket.send_to(b"?", (INTERNET, 9700 + attempt))?;
        if server.recv_from(&mut [0; 8]).is_ok() {
            found = Some(attempt);
            break;
        }
    }
    let attempt = found.context("the neighbour was not found again within 20 seconds")?;
    println!("    found again after {} ms", attempt * 500);
    hosts::ping(&lab.homes[1].host, INTERNET, 801, 64)?;
    Ok(())
}

fn interface_goes_down(lab: &mut Topology) -> anyhow::Result<()> {
    hosts::ping(&lab.homes[0].host, INTERNET, 810, 64)?;
    let aftr = lab.gateway.node();
    ip(aftr, "link set internet down")?;
    let before = cpu_time();
    let silent = hosts::bind_udp(&lab.homes[0].host, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 9800))?;
    silent.set_read_timeout(Some(Duration::from_millis(500)))?;
    silent.send_to(b"?", (INTERNET, 9800))?;
    ensure!(silent.recv_from(&mut [0; 8]).is_err(), "an answer through an interface that is down");
    let spent = cpu_time() - before;
    ensure!(spent < Duration::from_millis(300), "the worker spins: {spent:?} in half a second");
    ip(aftr, "link set internet up")?;
    let came_back = (0..20).any(|number| {
        std::thread::sleep(Duration::from_millis(100));
        hosts::ping(&lab.homes[0].host, INTERNET, 811 + number, 64).is_ok()
    });
    ensure!(came_back, "no ping gets through any more");
    Ok(())
}

/// What this process has used.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Both neighbours take our addresses for those of their own link.
fn answered_for(lab: &mut Topology) -> anyhow::Result<()> {
    let access = lab.access.as_ref().context("no router in the access network")?;
    let on_link = |node: &Node, prefix: &str| -> anyhow::Result<()> {
        let prefix = prefix.parse()?;
        node.run(|| {
            let netlink = Netlink::open()?;
            netlink.delete_route(prefix, "aftr")?;
            netlink.add_route(prefix, "aftr", None)
        })??;
        Ok(())
    };
    on_link(&lab.internet, POOL)?;
    on_link(access, &format!("{AFTR}/128"))?;
    for (identifier, home) in (820..).zip(&lab.homes) {
        let echo = hosts::ping(&home.host, INTERNET, identifier, 64)?;
        ensure!(echo.from == INTERNET, "{} answered", echo.from);
    }
    let known = neighbour(&lab.internet, "198.51.100.1")?;
    ensure!(known.contains("lladdr"), "{known:?}");
    // Only what is ours is answered for.
    let other = hosts::bind_udp(&lab.internet, SocketAddrV4::new(INTERNET, 9900))?;
    other.connect("198.51.100.2:1")?;
    other.set_read_timeout(Some(Duration::from_secs(1)))?;
    other.send(b"?")?;
    ensure!(other.recv(&mut [0; 8]).is_err(), "198.51.100.2 is nobody's");
    ensure!(!neighbour(&lab.internet, "198.51.100.2")?.contains("lladdr"), "somebody answered for it");
    Ok(())
}

fn neighbour(node: &Node, address: &str) -> anyhow::Result<String> {
    let output = node.run(|| Command::new("ip").args(["neighbour", "show", address]).output())??;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn ip(node: &Node, arguments: &str) -> anyhow::Result<()> {
    let status = node.run(|| Command::new("ip").args(arguments.split(' ')).status())??;
    ensure!(status.success(), "ip {arguments}");
    Ok(())
}
