//! The packets of `tests/explain/capture.pcap`: what no golden case has.

use std::net::{Ipv4Addr, Ipv6Addr};

use aftr::wire::fragment::Fragment;
use aftr::wire::ipv4::{self, Ipv4};
use aftr::wire::ipv6::{Ipv6, next_header};
use aftr::wire::{checksum, icmpv6};
use zerocopy::IntoBytes;

const T: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 1);
const A: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0xa00, 0, 0, 0, 1);
const ROUTER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xcafe, 0, 0, 0, 0, 9);
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const REMOTE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const POOL: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

/// Milliseconds, packet, and the number that tests know it by: its place, from 1.
pub(crate) fn capture() -> Vec<(u64, Vec<u8>)> {
    let whole = udp(HOST, 5001, REMOTE, 80, 1000);
    let datagram = udp(HOST, 5002, REMOTE, 80, 2000);
    let refused = udp(HOST, 5004, Ipv4Addr::new(203, 0, 113, 2), 25, 1000);
    let too_big = |mtu| tunnel_error(icmpv6::kind::PACKET_TOO_BIG, mtu);
    vec![
        // 1, 2: an outer packet in two fragments.
        (0, outer_fragment(&whole, 0, 800, 7)),
        (5, outer_fragment(&whole, 800, whole.len(), 7)),
        // 3, 4: an IPv4 datagram in two pieces, the later one first.
        (20, softwire(&piece(&datagram, 1200, 2008))),
        (30, softwire(&piece(&datagram, 0, 1200))),
        // 5: and one that still follows.
        (31, softwire(&piece(&datagram, 1200, 2008))),
        // 6, 7: errors of a router in the access network.
        (40, too_big(1400)),
        (41, too_big(1000)),
        // 8: what the smaller path does to a large packet.
        (50, udp(REMOTE, 80, POOL, 5000, 1460)),
        // 9: a fragment that contradicts the one before.
        (60, outer_fragment(&whole, 0, 800, 8)),
        (61, outer_fragment(&whole, 792, whole.len(), 8)),
        // 11: a large packet that must not be cut.
        (70, without_fragments(softwire(&udp(HOST, 5003, REMOTE, 80, 1600)))),
        // 12, 13: a datagram in two pieces that policy refuses.
        (80, softwire(&piece(&refused, 0, 800))),
        (81, softwire(&piece(&refused, 800, 1008))),
    ]
}

/// A UDP packet without DF.
fn udp(source: Ipv4Addr, from: u16, destination: Ipv4Addr, to: u16, data: usize) -> Vec<u8> {
    let length = (8 + data) as u16;
    let mut segment = [from, to, length, 0].map(u16::to_be_bytes).concat();
    segment.extend((0..data).map(|at| at as u8));
    let pseudo = checksum::pseudo_header_v4(source, destination, length, ipv4::protocol::UDP);
    let sum = checksum::finish(pseudo + checksum::sum(&segment));
    segment[6..8].copy_from_slice(&sum.to_be_bytes());
    let total = 20 + length;
    let header = Ipv4::new(ipv4::protocol::UDP, source, destination, total, 64, 0);
    let mut packet = [header.as_bytes(), &segment].concat();
    packet[4..8].copy_from_slice(&[0, 77, 0, 0]);
    ipv4::complete_header(&mut packet[..20]);
    packet
}

/// The octets of a datagram's payload from `start` to `end`, as a piece.
fn piece(datagram: &[u8], start: usize, end: usize) -> Vec<u8> {
    let mut packet = [&datagram[..20], &datagram[20 + start..20 + end]].concat();
    let (length, more) = (packet.len() as u16, 20 + end < datagram.len());
    if let Some(header) = Ipv4::view_mut(&mut packet) {
        header.set_total_length(length);
        header.set_fragment(start, more);
    }
    packet
}

fn softwire(inner: &[u8]) -> Vec<u8> {
    let header = Ipv6::new(A, T, next_header::IPV4, inner.len() as u16, 64, 0, 0);
    [header.as_bytes(), inner].concat()
}

fn outer_fragment(inner: &[u8], start: usize, end: usize, identification: u32) -> Vec<u8> {
    let fragment = Fragment::new(next_header::IPV4, start as u16, end < inner.len(), identification);
    let length = (8 + end - start) as u16;
    let header = Ipv6::new(A, T, next_header::FRAGMENT, length, 64, 0, 0);
    [header.as_bytes(), fragment.as_bytes(), &inner[start..end]].concat()
}

/// ICMP 3/4 of a router in the Internet about a packet from the static mapping.
pub(crate) fn fragmentation_needed(mtu: u16) -> Vec<u8> {
    let lost = udp(POOL, 5000, REMOTE, 80, 1400);
    let mut message = [&[3, 4, 0, 0, 0, 0][..], &mtu.to_be_bytes(), &lost[..28]].concat();
    let sum = checksum::of(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let router = Ipv4Addr::new(192, 88, 98, 1);
    let header = Ipv4::new(ipv4::protocol::ICMP, router, POOL, 20 + message.len() as u16, 64, 0);
    let mut packet = [header.as_bytes(), &message].concat();
    ipv4::complete_header(&mut packet[..20]);
    packet
}

/// An ICMPv6 error that quotes so many octets of an IPv4 packet.
pub(crate) fn tunnel_error_about_ipv4(octets: usize) -> Vec<u8> {
    tunnel_error_about(&udp(REMOTE, 80, HOST, 5000, 100)[..octets])
}

/// An ICMPv6 error that quotes this.
pub(crate) fn tunnel_error_about(quotation: &[u8]) -> Vec<u8> {
    let mut message = [&[icmpv6::kind::UNREACHABLE, 0, 0, 0, 0, 0, 0, 0], quotation].concat();
    icmpv6::write_checksum(&mut message, A, T);
    let header = Ipv6::new(A, T, next_header::ICMPV6, message.len() as u16, 64, 0, 0);
    [header.as_bytes(), &message].concat()
}

/// An ICMPv6 error of a router about a packet from the AFTR to its B4.
fn tunnel_error(kind: u8, parameter: u32) -> Vec<u8> {
    const MOST_QUOTED: usize = 1280 - 40 - icmpv6::HEADER;
    let inner = udp(REMOTE, 80, HOST, 5000, 1432);
    let lost = Ipv6::new(T, A, next_header::IPV4, inner.len() as u16, 64, 0, 0);
    let mut message = vec![kind, 0, 0, 0];
    message.extend(parameter.to_be_bytes());
    message.extend(&[lost.as_bytes(), &inner].concat()[..MOST_QUOTED]);
    icmpv6::write_checksum(&mut message, ROUTER, T);
    let header = Ipv6::new(ROUTER, T, next_header::ICMPV6, message.len() as u16, 64, 0, 0);
    [header.as_bytes(), &message].concat()
}

/// The same softwire packet, with DF inside.
fn without_fragments(mut packet: Vec<u8>) -> Vec<u8> {
    packet[46] |= 0x40;
    ipv4::complete_header(&mut packet[40..60]);
    packet
}
