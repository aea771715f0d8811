//! Packets written byte by byte: nothing here is shared with what is tested.

use std::net::{Ipv4Addr, Ipv6Addr};

pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

/// An IPv4 packet before its checksums are written.
#[derive(Debug, Clone)]
pub(super) struct Ip {
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) protocol: u8,
    pub(super) ttl: u8,
    pub(super) tos: u8,
    pub(super) number: u8,
    pub(super) options: &'static [u8],
    pub(super) payload: Vec<u8>,
}

impl Ip {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let header = 20 + self.options.len();
        let length = (header + self.payload.len()) as u16;
        let [high, low] = length.to_be_bytes();
        let flags = if self.number & 0x80 == 0 { 0x40 } else { 0 };
        let mut bytes = vec![0x40 | (header / 4) as u8, self.tos, high, low, 0, self.number, flags, 0];
        bytes.extend([self.ttl, self.protocol, 0, 0]);
        bytes.extend(self.source.octets());
        bytes.extend(self.destination.octets());
        bytes.extend(self.options);
        bytes.extend(&self.payload);
        bytes
    }
}

pub(super) fn udp(source: u16, destination: u16, data: usize) -> Vec<u8> {
    let mut bytes = words(&[source, destination, (8 + data) as u16, 0]);
    bytes.extend((0..data).map(|at| (at * 7) as u8));
    bytes
}

/// A SYN has an MSS option.
pub(super) fn tcp(source: u16, destination: u16, flags: u8, data: usize) -> Vec<u8> {
    let mut bytes = words(&[source, destination, 0, 1000, 0, 2000]);
    let options: &[u8] = match flags & 0x22 {
        0x02 => &[2, 4, 0x05, 0xb4],
        // At an odd place.
        0x22 => &[1, 2, 4, 0x05, 0xb4, 1, 1, 0],
        _ => &[],
    };
    bytes.extend([((20 + options.len()) * 4) as u8, flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.extend(options);
    bytes.extend((0..data).map(|at| (at * 5) as u8));
    bytes
}

/// Type, code, and what stands behind the checksum.
pub(super) fn icmp(kind: u8, code: u8, rest: [u16; 2], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, code, 0, 0];
    bytes.extend(words(&rest));
    bytes.extend(body);
    bytes
}

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// Writes the checksums of an IPv4 packet, as far as its headers can be read.
pub(super) fn seal(bytes: &mut [u8]) {
    if bytes.len() < 20 {
        return;
    }
    let header = usize::from(bytes[0] & 15) * 4;
    if (20..=bytes.len()).contains(&header) {
        bytes[10..12].fill(0);
        let sum = checksum(&[&bytes[..header]]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        seal_transport(bytes, header);
    }
}

fn seal_transport(bytes: &mut [u8], header: usize) {
    let at = match bytes[9] {
        ICMP => 2,
        UDP => 6,
        TCP => 16,
        _ => return,
    };
    let length = bytes.len() - header;
    if length < at + 2 {
        return;
    }
    bytes[header + at..header + at + 2].fill(0);
    let sum = match (transport_sum(bytes, header), bytes[9]) {
        (0, UDP) => 0xffff,
        (sum, _) => sum,
    };
    bytes[header + at..header + at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// The checksum over the transport layer of an IPv4 packet; 0 when it contains a right one.
pub(super) fn transport_sum(bytes: &[u8], header: usize) -> u16 {
    let payload = &bytes[header..];
    if bytes[9] == ICMP {
        return checksum(&[payload]);
    }
    let [high, low] = (payload.len() as u16).to_be_bytes();
    checksum(&[&bytes[12..20], &[0, bytes[9], high, low], payload])
}

/// RFC 1071 over parts of which all but the last have an even length.
pub(super) fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        let (pairs, rest) = part.as_chunks::<2>();
        sum += pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum::<u64>();
        sum += rest.first().map_or(0, |&byte| u64::from(byte) << 8);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The sum over an ICMPv6 message; 0 when it contains a right one.
pub(super) fn icmp6_sum(outer: &[u8], message: &[u8]) -> u16 {
    checksum(&[&outer[8..40], &(message.len() as u32).to_be_bytes(), &[0, 0, 0, 58], message])
}

pub(super) fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, class: u8, next: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = (payload.len() as u16).to_be_bytes();
    let mut bytes = vec![0x60 | class >> 4, class << 4, 0, 0, high, low, next, 64];
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    bytes.extend(payload);
    bytes
}

/// One piece of an IPv4 packet whose checksums are written: `unit` octets, a multiple of eight, are counted.
pub(super) fn cut_ipv4(bytes: &mut Vec<u8>, unit: usize, from: usize, count: usize) {
    let header = usize::from(bytes[0] & 15) * 4;
    let payload = bytes.len() - header;
    let (start, end) = (from * unit, ((from + count) * unit).min(payload));
    if start >= end {
        return;
    }
    let more = if end < payload { 0x2000 } else { 0 };
    let field = more | (start / 8) as u16;
    let piece = bytes[header + start..header + end].to_vec();
    bytes.truncate(header);
    bytes.extend(piece);
    let length = bytes.len() as u16;
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    bytes[6..8].copy_from_slice(&field.to_be_bytes());
    bytes[10..12].fill(0);
    let sum = checksum(&[&bytes[..header]]);
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// One piece of what an IPv6 packet carries.
pub(super) fn cut_ipv6(
    next: u8,
    payload: &[u8],
    unit: usize,
    from: usize,
    count: usize,
    number: u8,
) -> (u8, Vec<u8>) {
    let (start, end) = (from * unit, ((from + count) * unit).min(payload.len()));
    if start >= end {
        return (next, payload.to_vec());
    }
    let field = start as u16 | u16::from(end < payload.len());
    let mut piece = vec![next, 0];
    piece.extend(field.to_be_bytes());
    piece.extend([0, 0, 0, number]);
    piece.extend(&payload[start..end]);
    (44, piece)
}
