//! The transport header, as far as a NAT looks at it: ports or identifier, and TCP flags.

use std::net::{Ipv4Addr, SocketAddrV4};

use aftr_config::Protocol;

use super::inner::Inner;
use super::verdict::DropReason;
use crate::wire::icmpv4::{self, Class, Icmpv4};
use crate::wire::ipv4::protocol;
use crate::wire::tcp::{self, Tcp, flag};
use crate::wire::udp::{self, Udp};

/// One packet of a flow. For ICMP queries both ports are the identifier.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flow {
    pub(super) protocol: Protocol,
    pub(super) source: Ipv4Addr,
    pub(super) source_port: u16,
    pub(super) destination: Ipv4Addr,
    pub(super) destination_port: u16,
    /// TCP flags; 0 otherwise.
    pub(super) flags: u8,
    /// Where the transport header starts.
    pub(super) offset: usize,
}

impl Flow {
    /// A SYN without ACK: the only packet that opens a TCP mapping or session.
    #[inline]
    pub(super) fn opens_tcp(&self) -> bool {
        self.protocol == Protocol::Tcp && self.flags & (flag::SYN | flag::ACK) == flag::SYN
    }

    /// Where a packet from a B4 goes.
    pub(super) fn source(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.source, self.source_port)
    }

    pub(super) fn destination(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.destination, self.destination_port)
    }
}

/// What stands behind the IPv4 header.
#[derive(Debug, Clone, Copy)]
pub(super) enum Transport {
    Flow(Flow),
    /// An ICMP query's request.
    Request(Flow),
    /// An ICMP query's reply.
    Reply(Flow),
    /// An ICMP error, to be translated by what it quotes.
    Error,
}

/// Reads and checks the transport header of a packet, or of the first piece of a datagram; `unsupported` is what another
/// protocol is dropped for.
#[inline(always)]
pub(super) fn parse(packet: &[u8], inner: &Inner, unsupported: DropReason) -> Result<Transport, DropReason> {
    let payload = &packet[inner.header_length..];
    match inner.protocol {
        protocol::UDP => parse_udp(payload, inner),
        protocol::TCP => parse_tcp(payload, inner),
        protocol::ICMP => parse_icmp(payload, inner),
        _ => Err(unsupported),
    }
}

#[inline(always)]
fn flow(inner: &Inner, protocol: Protocol, source_port: u16, destination_port: u16, flags: u8) -> Flow {
    Flow {
        protocol,
        source: inner.source,
        source_port,
        destination: inner.destination,
        destination_port,
        flags,
        offset: inner.header_length,
    }
}

#[inline(always)]
fn parse_udp(payload: &[u8], inner: &Inner) -> Result<Transport, DropReason> {
    let header = Udp::view(payload).ok_or(DropReason::L4Len)?;
    let length = usize::from(header.length.get());
    // What a first piece announces is in the others.
    if length < udp::HEADER || (length > payload.len() && !inner.is_fragment) {
        return Err(DropReason::L4Len);
    }
    // Source port 0 says "no reply wanted" (RFC 768) and is translated as any other.
    if header.destination.get() == 0 {
        return Err(DropReason::L4Port0);
    }
    Ok(Transport::Flow(flow(inner, Protocol::Udp, header.source.get(), header.destination.get(), 0)))
}

#[inline(always)]
fn parse_tcp(payload: &[u8], inner: &Inner) -> Result<Transport, DropReason> {
    let header = Tcp::view(payload).ok_or(DropReason::L4Len)?;
    let is_cut_short = header.header_length() > payload.len() && !inner.is_fragment;
    if header.header_length() < tcp::HEADER || is_cut_short {
        return Err(DropReason::L4Len);
    }
    if header.source.get() == 0 || header.destination.get() == 0 {
        return Err(DropReason::L4Port0);
    }
    if !flags_are_sane(header.flags) {
        return Err(DropReason::TcpFlags);
    }
    Ok(Transport::Flow(flow(
        inner,
        Protocol::Tcp,
        header.source.get(),
        header.destination.get(),
        header.flags,
    )))
}

/// Row M34: no flags, contradictory flags, or flags of a connection without ACK come from scanners only.
fn flags_are_sane(flags: u8) -> bool {
    use flag::{ACK, FIN, PSH, RST, SYN, URG};
    let has = |flag| flags & flag != 0;
    let contradictory = (has(SYN) && (has(FIN) || has(RST))) || (has(FIN) && has(RST));
    let nothing = flags & (FIN | SYN | RST | PSH | ACK | URG) == 0;
    let without_ack = !has(ACK) && !has(SYN) && !has(RST) && (has(FIN) || has(URG) || has(PSH));
    !(contradictory || nothing || without_ack)
}

#[inline]
fn parse_icmp(payload: &[u8], inner: &Inner) -> Result<Transport, DropReason> {
    let header = Icmpv4::view(payload).ok_or(DropReason::L4Len)?;
    let query = || {
        let identifier = header.identifier.get();
        flow(inner, Protocol::Icmp, identifier, identifier, 0)
    };
    match header.class() {
        Class::Request => Ok(Transport::Request(query())),
        Class::Reply => Ok(Transport::Reply(query())),
        // Errors are short: one in pieces cannot be checked (RFC 5508 REQ-3), and nobody needs it.
        Class::Error if payload.len() > icmpv4::HEADER && !inner.is_fragment => Ok(Transport::Error),
        Class::Error => Err(DropReason::IcmpQuoted),
        Class::Other => Err(DropReason::IcmpType),
    }
}
