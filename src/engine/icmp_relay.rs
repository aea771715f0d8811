//! ICMP errors of others, on their way through the NAT (RFC 5508 section 4): what they quote is
//! translated back, so that the host recognises its own packet.
//!
//! An error neither refreshes nor ends anything (RFC 5508 REQ-6).

use std::net::Ipv4Addr;

use super::aftr::Aftr;
use super::inner::Inner;
use super::mapping::Place;
use super::softwire::Tunnel;
use super::time::Instant;
use super::translate::{End, rewrite_port};
use super::verdict::{DropReason, Verdict};
use crate::wire::icmpv4::{self, Class, Icmpv4};
use crate::wire::ipv4::{self, Ipv4, protocol};
use crate::wire::{Packet, checksum};
use aftr_config::Protocol;

/// The packet that an error quotes.
struct Quoted {
    protocol: Protocol,
    source: Ipv4Addr,
    source_port: u16,
    destination: Ipv4Addr,
    destination_port: u16,
    /// Where it starts in the packet, and where its transport header does.
    at: usize,
    transport_at: usize,
}

/// An error from a host behind a B4, or from a router there, about a packet that it was sent (RFC 5508
/// REQ-5).
pub(super) fn from_b4(
    aftr: &mut Aftr,
    packet: &mut Packet,
    inner: &Inner,
    tunnel: &Tunnel,
    now: Instant,
) -> Result<Verdict, DropReason> {
    let quoted = check(packet.bytes(), inner)?;
    let admission = aftr.admit(tunnel, now)?;
    let mapping = admission
        .softwire()
        .and_then(|softwire| {
            aftr.mappings.find(softwire, quoted.protocol, quoted.destination, quoted.destination_port)
        })
        .ok_or(DropReason::NatNoMapping)?;
    let external = aftr.mappings.slab[mapping].external();
    // A hairpinned packet is quoted with the caller's external address: the error goes back to it
    // (RFC 5508 REQ-7).
    let home = match aftr.pool.find(inner.destination) {
        None => None,
        Some(_) => Some(mapping_of_source(aftr, inner, &quoted)?),
    };
    let softwire = aftr.settle(admission, tunnel, now);
    aftr.softwires.slab[softwire].from_b4.count(packet.len());

    let bytes = packet.bytes_mut();
    rewrite_quoted(bytes, &quoted, End::Destination, *external.ip(), external.port());
    if let Some(header) = Ipv4::view_mut(bytes) {
        header.set_source(*external.ip());
        header.set_tos(inner.tos);
    }
    match home {
        None => Ok(aftr.send_to_internet(packet)),
        Some(home) => {
            deliver(aftr, packet, &quoted, home);
            aftr.counters.hairpinned.count(packet.len());
            Ok(aftr.send_hairpinned(packet, home))
        }
    }
}

/// An error from the Internet about a packet that left here (RFC 5508 REQ-4). It may come from any
/// router on the way: its source is not filtered (RFC 4787 REQ-12a).
pub(super) fn from_internet(
    aftr: &mut Aftr,
    packet: &mut Packet,
    inner: &Inner,
) -> Result<Verdict, DropReason> {
    let quoted = check(packet.bytes(), inner)?;
    let home = mapping_of_source(aftr, inner, &quoted)?;
    deliver(aftr, packet, &quoted, home);
    Ok(aftr.send_to_b4(packet, home))
}

/// The mapping that sent the quoted packet.
fn mapping_of_source(aftr: &Aftr, inner: &Inner, quoted: &Quoted) -> Result<u32, DropReason> {
    if inner.destination != quoted.source {
        return Err(DropReason::IcmpQuoted);
    }
    let address = aftr.pool.find(quoted.source).ok_or(DropReason::NatNoMapping)?;
    let place = Place { address, protocol: quoted.protocol, port: quoted.source_port };
    aftr.ports.mapping_at(place).ok_or(DropReason::NatNoMapping)
}

/// Translates an error to the host whose packet it quotes.
fn deliver(aftr: &Aftr, packet: &mut Packet, quoted: &Quoted, home: u32) {
    let internal = aftr.mappings.slab[home].internal();
    let bytes = packet.bytes_mut();
    rewrite_quoted(bytes, quoted, End::Source, *internal.ip(), internal.port());
    if let Some(header) = Ipv4::view_mut(bytes) {
        header.set_destination(*internal.ip());
    }
}

/// RFC 5508 REQ-3: the error's own checksum and the quoted header must be right; the quoted transport
/// checksum is not looked at. What RFC 4884 appends is carried along untouched.
fn check(packet: &[u8], inner: &Inner) -> Result<Quoted, DropReason> {
    let message = &packet[inner.header_length..];
    if checksum::of(message) != 0 {
        return Err(DropReason::IcmpChecksum);
    }
    let at = inner.header_length + icmpv4::HEADER;
    let quotation = &packet[at..];
    let header = Ipv4::view(quotation).ok_or(DropReason::IcmpQuoted)?;
    let length = header.header_length();
    // A piece that is not the first has no ports (RFC 1812 section 4.3.2.7 forbids errors about it).
    let is_usable = header.version() == 4
        && length >= ipv4::HEADER
        && quotation.len() >= length + 8
        && header.fragment_offset() == 0
        && checksum::of(&quotation[..length]) == 0;
    if !is_usable {
        return Err(DropReason::IcmpQuoted);
    }
    let (protocol, source_port, destination_port) =
        quoted_ports(header.protocol(), &quotation[length..]).ok_or(DropReason::IcmpQuoted)?;
    Ok(Quoted {
        protocol,
        source: header.source(),
        source_port,
        destination: header.destination(),
        destination_port,
        at,
        transport_at: at + length,
    })
}

fn quoted_ports(number: u8, segment: &[u8]) -> Option<(Protocol, u16, u16)> {
    let ports = |protocol| {
        let [a, b, c, d, ..] = *segment else { return None };
        Some((protocol, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
    };
    match number {
        protocol::UDP => ports(Protocol::Udp),
        protocol::TCP => ports(Protocol::Tcp),
        protocol::ICMP => {
            let icmp = Icmpv4::view(segment)?;
            let identifier = icmp.identifier.get();
            let is_query = matches!(icmp.class(), Class::Request | Class::Reply);
            is_query.then_some((Protocol::Icmp, identifier, identifier))
        }
        _ => None,
    }
}

/// Rewrites one end of the quoted packet, and the error's checksum: that was right, so it is made anew.
fn rewrite_quoted(packet: &mut [u8], quoted: &Quoted, end: End, address: Ipv4Addr, port: u16) {
    let Some(header) = Ipv4::view_mut(&mut packet[quoted.at..]) else { return };
    let addresses = match end {
        End::Source => header.set_source(address),
        End::Destination => header.set_destination(address),
    };
    rewrite_port(&mut packet[quoted.transport_at..], quoted.protocol, end, port, addresses);
    let message = &mut packet[quoted.at - icmpv4::HEADER..];
    message[2..4].fill(0);
    let checksum = checksum::of(message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
}
