//! What the octets of a packet say, whether or not it goes through: nothing here decides anything.

use std::net::{Ipv6Addr, SocketAddrV4};

use crate::engine::Protocol;
use crate::wire::extension::{self, ChainFault, Upper};
use crate::wire::fragment::{self, Fragment};
use crate::wire::icmpv4::{self, Class, Icmpv4};
use crate::wire::ipv4::{self, Ipv4, protocol};
use crate::wire::ipv6::{self, Ipv6, next_header};
use crate::wire::tcp::{self, Tcp};

/// Both ends of a flow. For ICMP queries both ports are the identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) protocol: Protocol,
    pub(super) source: SocketAddrV4,
    pub(super) destination: SocketAddrV4,
}

impl Ends {
    /// Of an IPv4 packet that has its ports, whole or cut short: none for an ICMP error, a later piece, or
    /// another protocol.
    pub(super) fn of(packet: &[u8]) -> Option<Ends> {
        let header = Ipv4::view(packet)?;
        if header.fragment_offset() != 0 {
            return None;
        }
        let segment = ipv4::payload(packet);
        let (protocol, from, to) = match (header.protocol(), segment) {
            (protocol::UDP, [a, b, c, d, ..]) => (Protocol::Udp, [*a, *b], [*c, *d]),
            (protocol::TCP, [a, b, c, d, ..]) => (Protocol::Tcp, [*a, *b], [*c, *d]),
            (protocol::ICMP, [_, _, _, _, a, b, ..]) => {
                let class = Icmpv4::view(segment)?.class();
                matches!(class, Class::Request | Class::Reply).then_some((
                    Protocol::Icmp,
                    [*a, *b],
                    [*a, *b],
                ))?
            }
            _ => return None,
        };
        Some(Ends {
            protocol,
            source: SocketAddrV4::new(header.source(), u16::from_be_bytes(from)),
            destination: SocketAddrV4::new(header.destination(), u16::from_be_bytes(to)),
        })
    }

    /// Of the packet that an ICMP error quotes.
    pub(super) fn quoted(packet: &[u8]) -> Option<Ends> {
        (icmp_class(packet)? == Class::Error).then_some(())?;
        Ends::of(ipv4::payload(packet).get(icmpv4::HEADER..)?)
    }
}

/// What an ICMP message is to a NAT; none for other protocols and later pieces.
pub(super) fn icmp_class(packet: &[u8]) -> Option<Class> {
    let header = Ipv4::view(packet)?;
    let is_icmp = header.protocol() == protocol::ICMP && header.fragment_offset() == 0;
    is_icmp.then(|| Icmpv4::view(ipv4::payload(packet)).map(Icmpv4::class))?
}

/// The TCP header of a packet that has it.
pub(super) fn tcp_of(packet: &[u8]) -> Option<&Tcp> {
    let header = Ipv4::view(packet)?;
    let is_tcp = header.protocol() == protocol::TCP && header.fragment_offset() == 0;
    is_tcp.then(|| Tcp::view(ipv4::payload(packet)))?
}

/// The MSS that a SYN asks for.
pub(super) fn mss_of(packet: &[u8]) -> Option<u16> {
    let header = tcp_of(packet)?;
    let is_syn = header.flags & tcp::flag::SYN != 0;
    is_syn.then(|| {
        let options = ipv4::payload(packet).get(tcp::HEADER..header.header_length());
        crate::commands::describe::mss(options.unwrap_or_default())
    })?
}

/// First octet and octet behind the last of a piece of an IPv4 datagram, and whether others follow.
pub(super) fn piece_of(header: &Ipv4) -> (usize, usize, bool) {
    let start = header.fragment_offset() as usize;
    let length = usize::from(header.total_length()).saturating_sub(header.header_length());
    (start, start + length, header.more_fragments())
}

/// The IPv4 packet inside an IPv6 packet, when that has one in front, be it the first fragment of it.
pub(super) fn inside(packet: &[u8]) -> Option<&[u8]> {
    let mut upper = extension::walk(packet).ok()?;
    if upper.next_header == next_header::FRAGMENT {
        let header = Fragment::view(packet.get(upper.offset..)?)?;
        if header.offset() != 0 {
            return None;
        }
        let behind = upper.offset + fragment::HEADER;
        let rest = Upper { next_header: header.next_header, offset: behind, named_at: upper.offset };
        upper = extension::walk_from(packet, rest).ok()?;
    }
    (upper.next_header == next_header::IPV4).then(|| packet.get(upper.offset..))?
}

/// A fragment of an outer packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct OuterPiece<'a> {
    pub(super) b4: Ipv6Addr,
    pub(super) aftr: Ipv6Addr,
    pub(super) class: u8,
    pub(super) identification: u32,
    pub(super) next_header: u8,
    pub(super) start: usize,
    pub(super) more: bool,
    pub(super) data: &'a [u8],
}

impl<'a> OuterPiece<'a> {
    /// Of a packet that is one.
    pub(super) fn of(packet: &'a [u8]) -> Option<OuterPiece<'a>> {
        let packet = cut_to_length(packet)?;
        let outer = Ipv6::view(packet)?;
        let upper = extension::walk(packet).ok()?;
        if upper.next_header != next_header::FRAGMENT {
            return None;
        }
        let header = Fragment::view(packet.get(upper.offset..)?)?;
        Some(OuterPiece {
            b4: outer.source(),
            aftr: outer.destination(),
            class: outer.traffic_class(),
            identification: header.identification.get(),
            next_header: header.next_header,
            start: header.offset(),
            more: header.more(),
            data: &packet[upper.offset + fragment::HEADER..],
        })
    }

    /// Octet behind its last one.
    pub(super) fn end(&self) -> usize {
        self.start + self.data.len()
    }

    /// A whole packet with a fragment header (RFC 6946).
    pub(super) fn is_atomic(&self) -> bool {
        self.start == 0 && !self.more
    }
}

/// An IPv6 packet without what stands behind its payload.
pub(super) fn cut_to_length(packet: &[u8]) -> Option<&[u8]> {
    let header = Ipv6::view(packet)?;
    packet.get(..ipv6::HEADER + usize::from(header.payload_length()))
}

/// Why the extension headers of a packet cannot be passed.
pub(super) fn chain_fault(packet: &[u8]) -> Option<ChainFault> {
    extension::walk(packet).err()
}
