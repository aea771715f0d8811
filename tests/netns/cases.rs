//! The cases.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::time::Duration;

use aftr::commands::lab::hosts::{self, INTERNET, Services};
use aftr::commands::lab::topology::{Node, Topology};
use aftr::engine::{DropReason, Protocol};
use anyhow::{Context, ensure};

pub(crate) type Case = fn(&mut Topology) -> anyhow::Result<()>;

/// Every case, in the order they are played: the last one changes a B4's address.
pub(crate) const ALL: &[(&str, Case)] = &[
    ("ping_from_both_homes", ping_from_both_homes),
    ("tcp_carries_100_mb_down_intact", tcp_carries_100_mb_down_intact),
    ("tcp_carries_100_mb_up_intact", tcp_carries_100_mb_up_intact),
    ("a_thousand_connections_at_once", a_thousand_connections_at_once),
    ("udp_goes_up_whole_and_comes_down_in_pieces", udp_up_whole_and_down_in_pieces),
    ("tcp_calls_from_home_to_home_by_the_external_address", tcp_hairpin),
    ("an_unknown_port_is_silent", an_unknown_port_is_silent),
    ("a_b4_that_changes_its_address_keeps_its_mappings", b4_changes_its_address),
];

/// What moves in large packets elsewhere.
pub(crate) const WITHOUT_OFFLOAD: &[(&str, Case)] = &[
    ("without_offload_tcp_carries_100_mb_down_intact", tcp_carries_100_mb_down_intact),
    ("without_offload_tcp_carries_100_mb_up_intact", tcp_carries_100_mb_up_intact),
];

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const LARGE: usize = 100 << 20;

/// Both ends of a thousand connections are in this process.
pub(crate) fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

fn ping_from_both_homes(lab: &mut Topology) -> anyhow::Result<()> {
    for (identifier, home) in (900..).zip(&lab.homes) {
        let echo = hosts::ping(&home.host, INTERNET, identifier, 64)?;
        ensure!(echo.from == INTERNET, "{} answered", echo.from);
    }
    Ok(())
}

fn tcp_carries_100_mb_down_intact(lab: &mut Topology) -> anyhow::Result<()> {
    let _services = Services::start(&lab.internet, LARGE)?;
    for home in &lab.homes {
        let (bytes, time) = hosts::download(&home.host)?;
        ensure!(bytes == LARGE, "{bytes} bytes came");
        println!("    {:.0} Mbit/s down", bytes as f64 * 8.0 / time.as_secs_f64() / 1e6);
    }
    Ok(())
}

fn tcp_carries_100_mb_up_intact(lab: &mut Topology) -> anyhow::Result<()> {
    let listener = listen(&lab.internet, 8080)?;
    for home in &lab.homes {
        let mut sender = connect(&home.host, SocketAddrV4::new(INTERNET, 8080))?;
        let (mut receiver, _) = listener.accept()?;
        let sum = std::thread::scope(|scope| {
            let sending = scope.spawn(move || {
                let pieces = (0..LARGE >> 16).map(piece);
                pieces.into_iter().try_for_each(|piece| sender.write_all(&piece))
            });
            let mut buffer = vec![0; 1 << 16];
            for number in 0..LARGE >> 16 {
                receiver.read_exact(&mut buffer)?;
                ensure!(buffer == piece(number), "piece {number} is wrong");
            }
            sending.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
            ensure!(receiver.read(&mut buffer)? == 0, "more came than was sent");
            Ok(())
        });
        sum?;
    }
    Ok(())
}

/// 64 KiB that differ from every other piece.
fn piece(number: usize) -> Vec<u8> {
    (0..1 << 16)
        .map(|at: usize| (at.wrapping_mul(31) ^ number.wrapping_mul(7919) >> (at % 3)) as u8)
        .collect()
}

fn a_thousand_connections_at_once(lab: &mut Topology) -> anyhow::Result<()> {
    const EACH: usize = 500;
    let listener = listen(&lab.internet, 8081)?;
    let server = std::thread::spawn(move || -> std::io::Result<()> {
        let mut open = Vec::new();
        for _ in 0..2 * EACH {
            open.push(listener.accept()?.0);
        }
        // All are open: now each says who it is and hears it back.
        for stream in &mut open {
            let mut who = [0; 4];
            stream.read_exact(&mut who)?;
            stream.write_all(&who)?;
        }
        Ok(())
    });
    let mut open = Vec::new();
    for home in &lab.homes {
        let streams = home.host.run(|| {
            (0..EACH).map(|_| TcpStream::connect((INTERNET, 8081))).collect::<std::io::Result<Vec<_>>>()
        })??;
        open.extend(streams);
    }
    for (number, stream) in (0u32..).zip(&mut open) {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(&number.to_be_bytes())?;
    }
    for (number, stream) in (0u32..).zip(&mut open) {
        let mut who = [0; 4];
        stream.read_exact(&mut who).with_context(|| format!("connection {number}"))?;
        ensure!(who == number.to_be_bytes(), "connection {number} hears another's answer");
    }
    server.join().map_err(|_| anyhow::anyhow!("the server panicked"))??;
    let tcp = lab.gateway.mappings()?.iter().filter(|mapping| mapping.protocol == Protocol::Tcp).count();
    ensure!(tcp >= 2 * EACH, "{tcp} TCP mappings");
    Ok(())
}

/// 1400 bytes up; down a full Ethernet frame, which comes in two pieces that the kernel of the B4 puts
/// together (RFC 6333 section 6.3).
fn udp_up_whole_and_down_in_pieces(lab: &mut Topology) -> anyhow::Result<()> {
    let server = hosts::bind_udp(&lab.internet, SocketAddrV4::new(INTERNET, 9000))?;
    let bytes = |length: usize| (0..length).map(|at| (at % 251) as u8).collect::<Vec<_>>();
    for home in &lab.homes {
        let client = hosts::bind_udp(&home.host, SocketAddrV4::new(ANY, 9001))?;
        let mut buffer = [0; 2048];
        client.send_to(&bytes(1400), (INTERNET, 9000))?;
        let (length, from) = server.recv_from(&mut buffer).context("nothing comes up")?;
        ensure!(buffer[..length] == bytes(1400)[..], "changed on the way up");
        server.send_to(&bytes(1472), from)?;
        let (length, _) = client.recv_from(&mut buffer).context("nothing comes down")?;
        ensure!(buffer[..length] == bytes(1472)[..], "changed on the way down");
    }
    let pieces = lab.gateway.snapshot()?.counters.fragments_to_b4.packets;
    ensure!(pieces >= 2, "{pieces} pieces");
    Ok(())
}

/// RFC 5382 REQ-8: home 2 serves behind a port that it opened by calling out from it.
fn tcp_hairpin(lab: &mut Topology) -> anyhow::Result<()> {
    use socket2::{Domain, Socket, Type};
    let _services = Services::start(&lab.internet, 1)?;
    let local = SocketAddrV4::new(ANY, 7777);
    let (opener, listener) = lab.homes[1].host.run(|| -> std::io::Result<_> {
        let bound = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.set_reuse_port(true)?;
            socket.bind(&local.into())?;
            Ok::<_, std::io::Error>(socket)
        };
        let (opener, listener) = (bound()?, bound()?);
        opener.connect(&SocketAddrV4::new(INTERNET, 3478).into())?;
        listener.listen(4)?;
        Ok((TcpStream::from(opener), TcpListener::from(listener)))
    })??;
    let mut text = String::new();
    (&opener).read_to_string(&mut text)?;
    let outside: SocketAddrV4 = text.parse()?;
    let mut caller = connect(&lab.homes[0].host, outside)?;
    let (mut called, peer) = listener.accept()?;
    ensure!(peer.to_string().starts_with("198.51.100."), "the caller is seen as {peer}");
    caller.write_all(b"from home to home")?;
    let mut buffer = [0; 17];
    called.read_exact(&mut buffer)?;
    called.write_all(&buffer)?;
    caller.read_exact(&mut buffer)?;
    ensure!(&buffer == b"from home to home");
    Ok(())
}

fn an_unknown_port_is_silent(lab: &mut Topology) -> anyhow::Result<()> {
    let before = lab.gateway.dropped(DropReason::NatNoMapping)?;
    let outsider = hosts::bind_udp(&lab.internet, SocketAddrV4::new(INTERNET, 9100))?;
    outsider.set_read_timeout(Some(Duration::from_millis(300)))?;
    outsider.send_to(b"anybody?", "198.51.100.1:60000")?;
    ensure!(outsider.recv_from(&mut [0; 16]).is_err(), "somebody answered");
    ensure!(lab.gateway.dropped(DropReason::NatNoMapping)? == before + 1, "the counter is silent, too");
    Ok(())
}

/// RFC 7785 section 4.3.
fn b4_changes_its_address(lab: &mut Topology) -> anyhow::Result<()> {
    let server = hosts::bind_udp(&lab.internet, SocketAddrV4::new(INTERNET, 9200))?;
    let client = hosts::bind_udp(&lab.homes[0].host, SocketAddrV4::new(ANY, 9201))?;
    let mut buffer = [0; 64];
    client.send_to(b"before", (INTERNET, 9200))?;
    let (_, before) = server.recv_from(&mut buffer)?;
    let new = "2001:db8:b4:1::3".parse()?;
    lab.homes[0].renumber(new)?;
    client.send_to(b"after", (INTERNET, 9200))?;
    let (_, after) = server.recv_from(&mut buffer)?;
    ensure!(before == after, "seen as {before} before and as {after} after");
    server.send_to(b"still there?", before)?;
    let (length, _) = client.recv_from(&mut buffer).context("answers go to the old address")?;
    ensure!(&buffer[..length] == b"still there?");
    ensure!(lab.gateway.mappings()?.iter().any(|mapping| mapping.b4 == new), "no mapping at the new address");
    Ok(())
}

fn listen(host: &Node, port: u16) -> anyhow::Result<TcpListener> {
    Ok(host.run(|| TcpListener::bind((ANY, port)))??)
}

fn connect(host: &Node, to: SocketAddrV4) -> anyhow::Result<TcpStream> {
    let stream = host.run(|| TcpStream::connect_timeout(&to.into(), Duration::from_secs(5)))??;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}
