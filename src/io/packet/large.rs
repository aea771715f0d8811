//! Packets that the kernel hands over larger than any link takes, to be cut by whoever sends them (GSO): TCP
//! and UDP, in IPv4 or in a softwire. The interface promised nothing, but a local sender's packets, and what
//! GRO put together, come to packet sockets before they are cut.

use crate::io::segment::Segmenter;
use crate::io::vnet_header::Segments;
use crate::wire::ipv4::Ipv4;
use crate::wire::ipv6::{self, next_header};
use crate::wire::{Packet, Side, extension};

/// One such packet, and how much of it has been cut.
pub(super) struct Large {
    bytes: Vec<u8>,
    /// Octets of the softwire's headers.
    outer: usize,
    segmenter: Option<Segmenter>,
}

impl Large {
    pub(super) fn none() -> Large {
        Large { bytes: Vec::new(), outer: 0, segmenter: None }
    }

    /// Takes an IP packet to be cut. Says whether it can be.
    pub(super) fn take(&mut self, packet: &[u8], segments: Segments) -> bool {
        let Some(outer) = outer_length(packet) else { return false };
        self.bytes.clear();
        self.bytes.extend_from_slice(packet);
        self.outer = outer;
        self.segmenter = Segmenter::new(&self.bytes[outer..], segments);
        self.segmenter.is_some()
    }

    /// Puts the next piece into `packet`; false when there is none.
    pub(super) fn next(&mut self, packet: &mut Packet) -> bool {
        let Some(segmenter) = &mut self.segmenter else { return false };
        let (outer, inner) = self.bytes.split_at(self.outer);
        let buffer = packet.receive_buffer();
        let Some(length) = buffer.get_mut(self.outer..).and_then(|rest| segmenter.next(inner, rest)) else {
            self.segmenter = None;
            return false;
        };
        buffer[..self.outer].copy_from_slice(outer);
        if self.outer > 0 {
            let payload = (self.outer - ipv6::HEADER + length) as u16;
            buffer[4..6].copy_from_slice(&payload.to_be_bytes());
        }
        let side = if self.outer > 0 { Side::B4 } else { Side::Internet };
        packet.received(self.outer + length, side);
        true
    }
}

/// Where the IPv4 packet starts: behind the IPv6 headers of a softwire, or at the front.
fn outer_length(packet: &[u8]) -> Option<usize> {
    if Ipv4::view(packet)?.version() == 4 {
        return Some(0);
    }
    let upper = extension::walk(packet).ok()?;
    (upper.next_header == next_header::IPV4 && upper.offset < packet.len()).then_some(upper.offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::vnet_header::SegmentKind;
    use crate::wire::checksum;
    use crate::wire::ipv4::protocol;
    use crate::wire::ipv6::Ipv6;
    use zerocopy::IntoBytes;

    fn tcp(payload: usize) -> Vec<u8> {
        let (source, destination) = ([192, 168, 1, 10].into(), [203, 0, 113, 1].into());
        let header = Ipv4::new(protocol::TCP, source, destination, (40 + payload) as u16, 64, 0);
        let mut packet = header.as_bytes().to_vec();
        packet.extend([0x13, 0x88, 0, 80, 0, 0, 0, 100, 0, 0, 0, 0, 0x50, 0x18, 0, 0, 0, 0, 0, 0]);
        packet.extend((0..payload).map(|at| at as u8));
        packet
    }

    fn softwire(options: &[u8], inner: &[u8]) -> Vec<u8> {
        let first = if options.is_empty() { next_header::IPV4 } else { next_header::DESTINATION };
        let length = (options.len() + inner.len()) as u16;
        let (b4, aftr) = ("2001:db8:b4::1".parse().unwrap(), "2001:db8:aaaa::1".parse().unwrap());
        let header = Ipv6::new(b4, aftr, first, length, 64, 0, 0);
        [header.as_bytes(), options, inner].concat()
    }

    #[test]
    fn a_softwire_s_large_packet_becomes_whole_packets_with_right_sums() {
        // The option of RFC 2473 section 4.1.1, padded.
        let limit = [next_header::IPV4, 0, 4, 1, 4, 1, 1, 0];
        for options in [&[][..], &limit] {
            let mut large = Large::none();
            let segments = Segments { kind: SegmentKind::Tcp4, size: 1400 };
            assert!(large.take(&softwire(options, &tcp(3000)), segments));
            let mut packet = Packet::with_capacity(2048);
            let mut payload = Vec::new();
            while large.next(&mut packet) {
                let bytes = packet.bytes();
                let outer = 40 + options.len();
                assert_eq!(usize::from(u16::from_be_bytes([bytes[4], bytes[5]])), bytes.len() - 40);
                assert_eq!((packet.side, &bytes[40..outer]), (Side::B4, options));
                let inner = &bytes[outer..];
                let ip = Ipv4::view(inner).unwrap();
                assert_eq!(usize::from(ip.total_length()), inner.len());
                let length = inner.len() as u16 - 20;
                let pseudo = checksum::pseudo_header_v4(ip.source(), ip.destination(), length, 6);
                assert_eq!(checksum::finish(pseudo + checksum::sum(&inner[20..])), 0);
                payload.extend_from_slice(&inner[40..]);
            }
            assert_eq!(payload, tcp(3000)[40..]);
        }
    }

    #[test]
    fn without_a_softwire_the_same_is_done_from_the_front_on() {
        let mut large = Large::none();
        assert!(large.take(&tcp(100), Segments { kind: SegmentKind::Tcp4, size: 60 }));
        let mut packet = Packet::with_capacity(2048);
        let mut lengths = Vec::new();
        while large.next(&mut packet) {
            assert_eq!(packet.side, Side::Internet);
            lengths.push(packet.len());
        }
        assert_eq!(lengths, [100, 80]);
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        let mut large = Large::none();
        let segments = Segments { kind: SegmentKind::Tcp4, size: 1400 };
        let mut other = softwire(&[], &tcp(3000));
        other[6] = next_header::TCP;
        for packet in [&other[..], &[0x60; 39], &[0x45; 10], &softwire(&[next_header::IPV4, 255], &[])] {
            assert!(!large.take(packet, segments));
            assert!(!large.next(&mut Packet::with_capacity(2048)));
        }
    }
}
