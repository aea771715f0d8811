//! Packets read byte by byte: nothing here is shared with what is tested.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use super::packet::{self, ICMP, TCP, UDP};

/// An IPv4 packet that is whole in itself: version, lengths and header checksum are right.
#[derive(Debug, Clone, Copy)]
pub(super) struct V4<'a> {
    pub(super) bytes: &'a [u8],
}

impl<'a> V4<'a> {
    /// None when it is not; bytes behind its total length are left out.
    pub(super) fn read(bytes: &'a [u8]) -> Option<V4<'a>> {
        let header = usize::from(*bytes.first()? & 15) * 4;
        let length = usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]));
        let is_whole = bytes[0] >> 4 == 4 && header >= 20 && length >= header && length <= bytes.len();
        (is_whole && packet::checksum(&[&bytes[..header]]) == 0).then(|| V4 { bytes: &bytes[..length] })
    }

    /// A packet of which only the front is there, as an error quotes it.
    pub(super) fn front(bytes: &'a [u8]) -> Option<V4<'a>> {
        let header = usize::from(*bytes.first()? & 15) * 4;
        let is_one = bytes[0] >> 4 == 4 && header >= 20 && header <= bytes.len();
        (is_one && packet::checksum(&[&bytes[..header]]) == 0).then_some(V4 { bytes })
    }

    /// What an ICMP error quotes.
    pub(super) fn quoted(&self) -> Option<V4<'a>> {
        if self.is_icmp_error() { V4::front(&self.payload()[8..]) } else { None }
    }

    pub(super) fn header(&self) -> usize {
        usize::from(self.bytes[0] & 15) * 4
    }

    pub(super) fn source(&self) -> Ipv4Addr {
        let [a, b, c, d] = [12, 13, 14, 15].map(|at| self.bytes[at]);
        Ipv4Addr::new(a, b, c, d)
    }

    pub(super) fn destination(&self) -> Ipv4Addr {
        let [a, b, c, d] = [16, 17, 18, 19].map(|at| self.bytes[at]);
        Ipv4Addr::new(a, b, c, d)
    }

    pub(super) fn ttl(&self) -> u8 {
        self.bytes[8]
    }

    pub(super) fn protocol(&self) -> u8 {
        self.bytes[9]
    }

    pub(super) fn is_fragment(&self) -> bool {
        u16::from_be_bytes([self.bytes[6], self.bytes[7]]) & 0x3fff != 0
    }

    /// A piece of a datagram that is not the first: it has no ports.
    pub(super) fn is_later_piece(&self) -> bool {
        u16::from_be_bytes([self.bytes[6], self.bytes[7]]) & 0x1fff != 0
    }

    pub(super) fn payload(&self) -> &'a [u8] {
        &self.bytes[self.header()..]
    }

    /// Type, when it is a whole ICMP message.
    pub(super) fn icmp_type(&self) -> Option<u8> {
        (self.protocol() == ICMP && !self.is_later_piece() && self.payload().len() >= 8)
            .then(|| self.payload()[0])
    }

    pub(super) fn is_icmp_error(&self) -> bool {
        matches!(self.icmp_type(), Some(3 | 11 | 12))
    }

    /// Both ends; an ICMP query has its identifier at the end of whoever asked.
    pub(super) fn ends(&self) -> Option<(SocketAddrV4, SocketAddrV4)> {
        let word =
            |at: usize| Some(u16::from_be_bytes([*self.payload().get(at)?, *self.payload().get(at + 1)?]));
        let (source, destination) = match (self.protocol(), self.icmp_type()) {
            (TCP | UDP, _) => (word(0)?, word(2)?),
            (ICMP, Some(0 | 8 | 13 | 14)) => (word(4)?, word(4)?),
            _ => return None,
        };
        Some((SocketAddrV4::new(self.source(), source), SocketAddrV4::new(self.destination(), destination)))
    }

    /// Whether the checksum behind the header is right; none where it cannot be known.
    pub(super) fn transport_is_right(&self) -> Option<bool> {
        let least = match self.protocol() {
            ICMP | UDP => 8,
            TCP => 20,
            _ => return None,
        };
        if self.is_fragment() || self.payload().len() < least {
            return None;
        }
        let has_none = self.protocol() == UDP && self.payload()[6..8] == [0, 0];
        Some(has_none || packet::transport_sum(self.bytes, self.header()) == 0)
    }

    /// What a NAT has no business with.
    pub(super) fn data(&self) -> &'a [u8] {
        let header = match self.protocol() {
            UDP | ICMP => 8,
            TCP => usize::from(self.payload().get(12).map_or(0, |byte| byte >> 4)) * 4,
            _ => 0,
        };
        self.payload().get(header..).unwrap_or_default()
    }
}

/// An IPv6 packet of which version and length are right.
#[derive(Debug, Clone, Copy)]
pub(super) struct V6<'a> {
    pub(super) bytes: &'a [u8],
}

impl<'a> V6<'a> {
    /// None when it is not; bytes behind its payload length are left out.
    pub(super) fn read(bytes: &'a [u8]) -> Option<V6<'a>> {
        let length = 40 + usize::from(u16::from_be_bytes([*bytes.get(4)?, *bytes.get(5)?]));
        let is_whole = bytes[0] >> 4 == 6 && bytes.len() >= 40 && length <= bytes.len();
        is_whole.then(|| V6 { bytes: &bytes[..length] })
    }

    pub(super) fn source(&self) -> Ipv6Addr {
        address(&self.bytes[8..24])
    }

    pub(super) fn destination(&self) -> Ipv6Addr {
        address(&self.bytes[24..40])
    }

    pub(super) fn hop_limit(&self) -> u8 {
        self.bytes[7]
    }

    /// Type and place of what comes behind options and routing headers.
    pub(super) fn upper(&self) -> (u8, usize) {
        let (mut next, mut at) = (self.bytes[6], 40);
        while let (0 | 43 | 60, Some(&[following, units])) =
            (next, self.bytes.get(at..at + 2).and_then(|two| two.as_array()))
        {
            (next, at) = (following, at + 8 + usize::from(units) * 8);
        }
        (next, at)
    }

    /// Type of the ICMPv6 message in it, or in its first piece.
    pub(super) fn icmp_type(&self) -> Option<u8> {
        let (mut next, mut at) = (self.bytes[6], 40);
        while let 0 | 43 | 44 | 60 = next {
            let [following, units, high, low] = *self.bytes.get(at..at + 4)?.as_array()?;
            if next == 44 && u16::from_be_bytes([high, low]) & !7 != 0 {
                return None;
            }
            at += if next == 44 { 8 } else { 8 + usize::from(units) * 8 };
            next = following;
        }
        if next == 58 { self.bytes.get(at).copied() } else { None }
    }

    /// The IPv4 packet in it, when there is one whole.
    pub(super) fn inner(&self) -> Option<V4<'a>> {
        let (next, at) = self.upper();
        if next == 4 { V4::read(self.bytes.get(at..)?) } else { None }
    }
}

fn address(bytes: &[u8]) -> Ipv6Addr {
    Ipv6Addr::from(bytes.iter().fold(0u128, |bits, byte| bits << 8 | u128::from(*byte)))
}
