//! The bytes of what a step tells.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use aftr_config::Config;

use crate::ip::{Ip, set_word, sum};
use crate::model::Model;
use crate::story::{Datagram, Kind, Outer, Way};
use crate::whole::{Fragment6, Outer6};

/// Router alert, one that nobody knows, security behind a NOP, and a source route.
const OPTIONS: [&[u8]; 5] =
    [&[], &[148, 4, 0, 0], &[30, 4, 1, 2], &[1, 130, 3, 7, 0, 0, 0, 0], &[131, 4, 0, 0]];
/// Destination options that carry a Tunnel Encapsulation Limit (RFC 2473 section 4.1.1).
pub(crate) const LIMIT: [u8; 8] = [4, 0, 4, 1, 4, 1, 1, 0];

pub(crate) fn b4_address(home: u8, variant: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, (u16::from(home) + 1) << 8, 0, 0, 0, u16::from(variant) + 1)
}

pub(crate) fn host_address(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 2 + host)
}

pub(crate) fn remote_address(remote: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, 1 + remote)
}

fn pool_address(config: &Config, nth: u8) -> Ipv4Addr {
    let nets = &config.nat.external_ip_address_pool[0].external_ip_pool;
    let net = nets[usize::from(nth) % nets.len()];
    (net.network().to_bits() + u32::from(nth) % (net.broadcast().to_bits() - net.network().to_bits() + 1))
        .into()
}

/// The B4 that a datagram enters its softwire at; none for one from the Internet.
pub(crate) fn b4_of(way: Way) -> Option<Ipv6Addr> {
    match way {
        Way::Up { home, b4, .. } | Way::Call { home, b4, .. } => Some(b4_address(home, b4)),
        Way::Down { .. } | Way::Blind { .. } => None,
    }
}

/// The whole datagram; none when it is to a mapping and there is none.
pub(crate) fn datagram(told: &Datagram, model: &Model) -> Option<Ip> {
    let host = |host: u8, port: u8| SocketAddrV4::new(host_address(host), 5000 + u16::from(port));
    let remote = |at: u8, port: u8| SocketAddrV4::new(remote_address(at), 80 + u16::from(port));
    let mapping = |nth: u8| {
        let count = model.mappings.len();
        (count > 0).then(|| &model.mappings[usize::from(nth) % count])
    };
    let (kind, source, destination) = match told.way {
        Way::Up { host: at, port, remote: to, remote_port, .. } => {
            (told.kind, host(at, port), remote(to, remote_port))
        }
        Way::Call { host: at, port, nth, .. } => {
            let called = mapping(nth)?;
            (called.kind, host(at, port), called.external)
        }
        Way::Down { nth, remote: from, remote_port } => {
            // What is known as it is hears from its peer, or from another.
            let all = model.mappings.len() + model.passed.len();
            if let Some(at) = (usize::from(nth) % all.max(1)).checked_sub(model.mappings.len())
                && let Some(to) = model.passed.get(at)
            {
                let from = if from == 0 { remote(1, remote_port) } else { to.remote };
                return build_from(told, to.kind, from, to.internal);
            }
            let to = mapping(nth)?;
            (to.kind, remote(from, remote_port), to.external)
        }
        Way::Blind { address, port } => {
            (told.kind, remote(0, 0), SocketAddrV4::new(pool_address(&model.config, address), port))
        }
    };
    build_from(told, kind, source, destination)
}

fn build_from(told: &Datagram, kind: Kind, source: SocketAddrV4, destination: SocketAddrV4) -> Option<Ip> {
    let packet = packet(told, kind, source, destination, b4_of(told.way).is_some());
    (packet.len() <= 65_535).then_some(packet)
}

/// A packet between these ends; a reply has its identifier from its destination.
fn packet(
    told: &Datagram,
    kind: Kind,
    source: SocketAddrV4,
    destination: SocketAddrV4,
    is_request: bool,
) -> Ip {
    let payload = match kind {
        Kind::Tcp => tcp(told, source, destination),
        Kind::Udp => udp(told, source, destination),
        Kind::Icmp => icmp(told, if is_request { source.port() } else { destination.port() }, is_request),
    };
    ipv4(told, kind, *source.ip(), *destination.ip(), payload)
}

/// A packet for an error to quote.
pub(crate) fn small(
    kind: Kind,
    source: SocketAddrV4,
    destination: SocketAddrV4,
    is_request: bool,
    has_route: bool,
) -> Ip {
    let told = Datagram {
        number: 0,
        way: Way::Blind { address: 0, port: 0 },
        kind,
        flags: 16,
        ttl: 64,
        tos: 0,
        length: 8,
        ip_flags: 2,
        id: 0,
        options: if has_route { 4 } else { 0 },
        is_damaged: false,
    };
    packet(&told, kind, source, destination, is_request)
}

/// Octets that tell one datagram's places, and one datagram, from others.
fn filler(told: &Datagram) -> impl Iterator<Item = u8> {
    let start = told.number.wrapping_mul(31);
    (0..u32::from(told.length)).map(move |at| (start.wrapping_add(at * 7) ^ (at >> 8)) as u8)
}

fn tcp(told: &Datagram, source: SocketAddrV4, destination: SocketAddrV4) -> Vec<u8> {
    let mut segment = vec![0; 20];
    set_word(&mut segment, 0, source.port());
    set_word(&mut segment, 2, destination.port());
    set_word(&mut segment, 6, 1000);
    (segment[12], segment[13]) = (5 << 4, told.flags);
    if told.flags & 2 != 0 && told.number.is_multiple_of(2) {
        segment[12] = 6 << 4;
        let mss: u16 = [1460, 8960, 536, 1300][told.number as usize / 2 % 4];
        segment.extend([&[2, 4][..], &mss.to_be_bytes()].concat());
    }
    segment.extend(filler(told));
    segment
}

fn udp(told: &Datagram, source: SocketAddrV4, destination: SocketAddrV4) -> Vec<u8> {
    let mut segment = vec![0; 8];
    set_word(&mut segment, 0, source.port());
    set_word(&mut segment, 2, destination.port());
    set_word(&mut segment, 4, 8u16.saturating_add(told.length));
    segment.extend(filler(told));
    segment
}

fn icmp(told: &Datagram, identifier: u16, is_request: bool) -> Vec<u8> {
    let mut message = vec![if is_request { 8 } else { 0 }, 0, 0, 0, 0, 0, 0, 1];
    set_word(&mut message, 4, identifier);
    message.extend(filler(told));
    message
}

fn ipv4(told: &Datagram, kind: Kind, source: Ipv4Addr, destination: Ipv4Addr, payload: Vec<u8>) -> Ip {
    let options = OPTIONS[usize::from(told.options)];
    let (protocol, checksum_at) = match kind {
        Kind::Tcp => (6, 16),
        Kind::Udp => (17, 6),
        Kind::Icmp => (1, 2),
    };
    let mut ip = header(protocol, source, destination, options, &payload);
    ip.number = told.number;
    ip.bytes[1] = told.tos;
    ip.bytes[8] = told.ttl;
    set_word(&mut ip.bytes, 4, told.id);
    ip.bytes[6] = told.ip_flags << 5;
    let at = 20 + options.len();
    let pseudo = [&ip.bytes[12..20], &[0, protocol], &(payload.len() as u16).to_be_bytes()].concat();
    let covered = if kind == Kind::Icmp { payload } else { [pseudo, payload].concat() };
    let checksum = match (kind, !sum(&covered)) {
        (Kind::Udp, 0) => 0xffff,
        (_, checksum) => checksum,
    };
    // A UDP checksum of 0 would say that there is none.
    let checksum = if told.is_damaged { (checksum ^ 0x0810).max(1) } else { checksum };
    set_word(&mut ip.bytes, at + checksum_at, checksum);
    ip.sealed()
}

fn header(protocol: u8, source: Ipv4Addr, destination: Ipv4Addr, options: &[u8], payload: &[u8]) -> Ip {
    let length = 20 + options.len();
    let mut bytes = vec![0x40 | (length / 4) as u8, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
    bytes.extend([source.octets(), destination.octets()].concat());
    bytes.extend_from_slice(options);
    bytes.extend_from_slice(payload);
    let total = bytes.len() as u16;
    set_word(&mut bytes, 2, total);
    Ip { bytes, number: 0 }
}

/// An ICMP message with its checksum, in a packet with DF.
pub(crate) fn message(source: Ipv4Addr, destination: Ipv4Addr, start: [u8; 8], body: &[u8]) -> Ip {
    let mut payload = [&start[..], body].concat();
    let checksum = !sum(&payload);
    set_word(&mut payload, 2, checksum);
    header(1, source, destination, &[], &payload).sealed()
}

/// An IPv6 packet.
pub(crate) fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, class: u8, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60 | class >> 4, class << 4, 0, 0, 0, 0, next, 64];
    set_word(&mut bytes, 4, payload.len() as u16);
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    bytes.extend_from_slice(payload);
    bytes
}

/// An inner packet in its softwire, or a fragment of that; none when there is nothing where it would be.
pub(crate) fn encapsulated(inner: &Ip, b4: Ipv6Addr, told: &Outer, config: &Config) -> Option<Outer6> {
    let own = usize::from(told.to_second);
    let to = config.softwire.aftr_ipv6_addr[own];
    let has_limit_inside = told.limit == 2 || (told.limit == 1 && told.fragment.is_none());
    let next = if has_limit_inside { 60 } else { 4 };
    let whole = if has_limit_inside { [&LIMIT[..], &inner.bytes].concat() } else { inner.bytes.clone() };
    if whole.len() > 65_535 {
        return None;
    }
    let Some(cut) = told.fragment else {
        let bytes = ipv6(b4, to, told.class, next, &whole);
        let (class, number) = (told.class, inner.number);
        return Some(Outer6 { b4, own, class, next, fragment: None, data: whole, bytes, number });
    };
    let (start, end) = (usize::from(cut.part.0) & !7, usize::from(cut.part.1).min(whole.len()));
    if start >= end {
        return None;
    }
    let mut data = whole[start..end].to_vec();
    if cut.is_forged {
        // What tells the options' length stays.
        let from = if start == 0 { 8.min(data.len()) } else { 0 };
        data[from..].iter_mut().for_each(|byte| *byte ^= 0x55);
    }
    let more = end < whole.len();
    let mut fragment = vec![next, 0, 0, 0];
    set_word(&mut fragment, 2, start as u16 | u16::from(more));
    fragment.extend(cut.id.to_be_bytes());
    let in_front = if told.limit == 1 { [&[44], &LIMIT[1..]].concat() } else { Vec::new() };
    let payload = [&in_front[..], &fragment, &data].concat();
    if payload.len() > 65_535 {
        return None;
    }
    let bytes = ipv6(b4, to, told.class, if told.limit == 1 { 60 } else { 44 }, &payload);
    let number = if cut.is_forged { 0 } else { inner.number };
    let fragment = Some(Fragment6 { id: cut.id, offset: start, more });
    Some(Outer6 { b4, own, class: told.class, next, fragment, data, bytes, number })
}

pub(crate) fn address6(packet: &[u8], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&packet[at..at + 16]);
    octets.into()
}

/// An ICMPv6 message with its checksum (RFC 4443 section 2.3).
pub(crate) fn icmpv6(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    kind: [u8; 2],
    parameter: u32,
    body: &[u8],
) -> Vec<u8> {
    let mut message = [&kind[..], &[0, 0], &parameter.to_be_bytes(), body].concat();
    let length = (message.len() as u32).to_be_bytes();
    let pseudo = [&source.octets()[..], &destination.octets(), &length, &[0, 0, 0, 58]].concat();
    let checksum = !sum(&[pseudo, message.clone()].concat());
    set_word(&mut message, 2, checksum);
    ipv6(source, destination, 0, 58, &message)
}
