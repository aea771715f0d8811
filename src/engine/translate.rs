//! The rewriting of a packet that was let through: addresses, ports, and the checksums that cover them,
//! by RFC 1624: a wrong checksum stays wrong by the same difference, so that nothing is repaired here.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::transport::Flow;
use crate::wire::checksum::Delta;
use crate::wire::icmpv4::Icmpv4;
use crate::wire::ipv4::Ipv4;
use crate::wire::udp::Udp;
use aftr_config::Protocol;

/// Which end of a packet is rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Source,
    Destination,
}

/// Rewrites the source of a packet that `flow` describes and that leaves a softwire, and the rest of what it leaves
/// with.
#[inline(always)]
pub(super) fn rewrite_leaving(
    packet: &mut [u8],
    flow: &Flow,
    external: SocketAddrV4,
    tos: u8,
    identification: u16,
) {
    let Some(header) = Ipv4::view_mut(packet) else { return };
    let addresses = header.set_leaving(*external.ip(), tos, identification);
    rewrite_port(&mut packet[flow.offset..], flow.protocol, End::Source, external.port(), addresses);
}

/// Rewrites the destination of a packet that `flow` describes.
#[inline(always)]
pub(super) fn rewrite_destination(packet: &mut [u8], flow: &Flow, internal: SocketAddrV4) {
    let Some(header) = Ipv4::view_mut(packet) else { return };
    let addresses = header.set_destination(*internal.ip());
    rewrite_port(&mut packet[flow.offset..], flow.protocol, End::Destination, internal.port(), addresses);
}

/// Rewrites the addresses of a piece without ports: the checksum that covers them is in the first one.
pub(super) fn rewrite_addresses(packet: &mut [u8], source: Option<Ipv4Addr>, destination: Option<Ipv4Addr>) {
    let Some(header) = Ipv4::view_mut(packet) else { return };
    if let Some(source) = source {
        header.set_source(source);
    }
    if let Some(destination) = destination {
        header.set_destination(destination);
    }
}

/// Rewrites a port, or a query identifier, at the front of a transport header that may be cut short, as
/// it is in what an ICMP error quotes; `addresses` is what changed in the pseudo-header.
#[inline(always)]
pub(super) fn rewrite_port(segment: &mut [u8], protocol: Protocol, end: End, port: u16, addresses: Delta) {
    match protocol {
        Protocol::Udp => {
            let Some(header) = Udp::view_mut(segment) else { return };
            let field = if end == End::Source { &mut header.source } else { &mut header.destination };
            let delta = addresses.word(field.get(), port);
            *field = port.into();
            header.checksum = delta.apply_udp(header.checksum.get()).into();
        }
        Protocol::Tcp => {
            // The ports stand in the eight bytes that every quotation has; the checksum may not.
            let at = if end == End::Source { 0 } else { 2 };
            let Some(field) = segment.get_mut(at..at + 2) else { return };
            let delta = addresses.word(u16::from_be_bytes([field[0], field[1]]), port);
            field.copy_from_slice(&port.to_be_bytes());
            if let Some(checksum) = segment.get_mut(16..18) {
                let updated = delta.apply(u16::from_be_bytes([checksum[0], checksum[1]]));
                checksum.copy_from_slice(&updated.to_be_bytes());
            }
        }
        Protocol::Icmp => {
            // No pseudo-header in ICMP (RFC 792).
            let Some(header) = Icmpv4::view_mut(segment) else { return };
            let delta = Delta::NONE.word(header.identifier.get(), port);
            header.identifier = port.into();
            header.checksum = delta.apply(header.checksum.get()).into();
        }
    }
}
