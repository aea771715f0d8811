//! A packet that the path to the B4 does not take whole: it is cut after encapsulation, whatever the
//! inner DF bit says (RFC 6333 section 6.3 and erratum 5847, RFC 2473 section 7.2 b).

use std::net::Ipv6Addr;

use zerocopy::IntoBytes;

use crate::engine::aftr::Aftr;
use crate::engine::seed::{Random, WireKey};
use crate::wire::fragment::{self, Fragment};
use crate::wire::ipv6::{self, Ipv6, next_header};
use crate::wire::{Packet, Side};

/// Identifications that cannot be predicted off the path and seldom come again: for each destination a
/// secret start, and a counter that it shares with a few others (RFC 7739 section 5.3).
pub(in crate::engine) struct Identifications {
    key: WireKey,
    counters: Vec<u32>,
}

impl Identifications {
    const COUNTERS: usize = 1 << 13;

    pub(in crate::engine) fn new(random: &mut Random) -> Identifications {
        let counters = (0..Self::COUNTERS).map(|_| random.below(u32::MAX)).collect();
        Identifications { key: random.wire_key(), counters }
    }

    pub(in crate::engine) fn memory() -> u64 {
        (Self::COUNTERS * size_of::<u32>()) as u64
    }

    fn next(&mut self, destination: Ipv6Addr) -> u32 {
        let hash = self.key.hash(&destination.octets());
        let counter = &mut self.counters[hash as usize % Self::COUNTERS];
        *counter = counter.wrapping_add(1);
        ((hash >> 32) as u32).wrapping_add(*counter)
    }

    /// Whether a packet to `destination` had this identification a short while ago.
    pub(in crate::engine) fn is_recent(&self, destination: Ipv6Addr, identification: u32) -> bool {
        const SHORT_WHILE: u32 = 4096;
        let hash = self.key.hash(&destination.octets());
        let latest = ((hash >> 32) as u32).wrapping_add(self.counters[hash as usize % Self::COUNTERS]);
        latest.wrapping_sub(identification) < SHORT_WHILE
    }
}

impl Aftr {
    /// Cuts an encapsulated packet into pieces of at most `mtu` bytes: the first stays in `packet`, the
    /// others follow it through the outbox. The caller saw that it is larger, so that there are at least
    /// two: an atomic fragment never leaves (RFC 8021).
    pub(in crate::engine) fn fragment(&mut self, packet: &mut Packet, mtu: usize) {
        let Some(&header) = Ipv6::view(packet.bytes()) else { return };
        let identification = self.identifications.next(header.destination());
        let piece = (mtu - ipv6::HEADER - fragment::HEADER) & !7;
        let payload = packet.len() - ipv6::HEADER;
        let mut offset = piece;
        while offset < payload {
            let end = (offset + piece).min(payload);
            let mut tail = Packet::with_capacity(ipv6::HEADER + fragment::HEADER + end - offset);
            let from = ipv6::HEADER + offset;
            tail.receive_buffer()[..end - offset].copy_from_slice(&packet.bytes()[from..from + end - offset]);
            tail.received(end - offset, Side::B4);
            let fragment = Fragment::new(header.next_header(), offset as u16, end < payload, identification);
            push_headers(&mut tail, &header, &fragment);
            self.counters.fragments_to_b4.count(tail.len());
            self.outbox.push_back((tail, Side::B4));
            offset = end;
        }
        packet.strip_front(ipv6::HEADER);
        packet.truncate(piece);
        push_headers(packet, &header, &Fragment::new(header.next_header(), 0, true, identification));
    }
}

fn push_headers(piece: &mut Packet, whole: &Ipv6, fragment: &Fragment) {
    piece.push_front(fragment::HEADER)[..fragment::HEADER].copy_from_slice(fragment.as_bytes());
    let header = whole.with_payload(next_header::FRAGMENT, piece.len() as u16);
    piece.push_front(ipv6::HEADER)[..ipv6::HEADER].copy_from_slice(header.as_bytes());
}
