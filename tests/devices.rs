//! A tun interface in a network namespace of its own, with the kernel's real sockets on the other side.

use std::net::UdpSocket;
use std::process::Command;

use aftr::io::sys::namespace::NetNamespace;
use aftr::io::{Device, Granted, Tun};
use aftr::wire::ipv4::Ipv4;
use aftr::wire::udp::Udp;
use aftr::wire::{Packet, Side};

/// With offload the kernel leaves the checksum of the datagram to us, and drops the answer when it is wrong.
#[test]
fn a_datagram_from_a_socket_reaches_the_device_and_its_answer_the_socket() {
    datagram_and_answer(true);
    datagram_and_answer(false);
}

fn datagram_and_answer(offload: bool) {
    let namespace = match NetNamespace::new() {
        Ok(namespace) if has_ip() => namespace,
        Ok(_) => return skip("`ip` is missing"),
        Err(error) => return skip(&format!("no network namespace: {error}")),
    };
    let worked = namespace.run(|| {
        let mut tun = match Tun::open("test0", offload) {
            Ok(tun) => tun,
            Err(error) => return skip(&format!("/dev/net/tun cannot be used: {error}")),
        };
        assert_eq!(tun.granted() == Granted::SinglePackets, !offload);
        for arguments in ["addr add 192.0.2.1/24 dev test0", "link set test0 up"] {
            let status = Command::new("ip").args(arguments.split(' ')).status().expect("iproute2");
            assert!(status.success(), "ip {arguments}");
        }
        let socket = UdpSocket::bind("192.0.2.1:5000").expect("bind");
        socket.set_read_timeout(Some(std::time::Duration::from_secs(5))).expect("timeout");
        socket.send_to(b"ping", "192.0.2.2:7").expect("send");
        answer(&mut tun);
        let mut buffer = [0; 16];
        let (length, from) = socket.recv_from(&mut buffer).expect("the answer");
        assert_eq!((&buffer[..length], from.to_string().as_str()), (&b"ping"[..], "192.0.2.2:7"));
    });
    worked.expect("the namespace");
}

fn has_ip() -> bool {
    Command::new("ip").arg("-V").output().is_ok()
}

fn skip(why: &str) {
    println!("SKIPPED: devices: {why}");
    assert!(std::env::var_os("AFTR_NOTHING_SKIPPED").is_none(), "nothing may be skipped here");
}

/// Sends the first UDP datagram back to where it came from.
fn answer(tun: &mut Tun) {
    let mut batch: Vec<Packet> = (0..8).map(|_| Packet::with_capacity(2048)).collect();
    for _ in 0..1000 {
        let count = tun.receive(&mut batch).expect("receive");
        for packet in &mut batch[..count] {
            let is_udp = packet.side == Side::Internet
                && Ipv4::view(packet.bytes()).is_some_and(|ip| ip.protocol() == 17);
            if !is_udp {
                continue;
            }
            let bytes = packet.bytes_mut();
            let header = Ipv4::view_mut(bytes).expect("a header");
            let (source, destination) = (header.source(), header.destination());
            header.set_source(destination);
            header.set_destination(source);
            let udp = Udp::view_mut(&mut bytes[20..]).expect("a header");
            std::mem::swap(&mut udp.source, &mut udp.destination);
            tun.send(packet, Side::Internet).expect("send");
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("no datagram came");
}
