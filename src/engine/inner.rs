//! The IPv4 header of a packet from either side, and which addresses may stand in it
//! (RFC 1812 sections 5.2.2 and 5.3.7).

use std::net::Ipv4Addr;

use super::ip_options;
use super::settings::Settings;
use super::table::NONE;
use super::verdict::DropReason;
use crate::wire::ipv4::{self, Ipv4};
use crate::wire::{Packet, checksum};

/// What the path needs of a checked header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inner {
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) ttl: u8,
    pub(super) protocol: u8,
    pub(super) is_fragment: bool,
    pub(super) dont_fragment: bool,
    pub(super) identification: u16,
    /// The datagram that it is the first piece of; [`NONE`] otherwise.
    pub(super) datagram: u32,
    /// What the packet goes on with; until it is written, the packet holds what came.
    pub(super) tos: u8,
    pub(super) header_length: usize,
    pub(super) total_length: usize,
}

impl Inner {
    /// What a header says.
    #[inline(always)]
    pub(super) fn of(header: &Ipv4) -> Inner {
        Inner {
            source: header.source(),
            destination: header.destination(),
            ttl: header.ttl(),
            protocol: header.protocol(),
            is_fragment: header.is_fragment(),
            dont_fragment: header.dont_fragment(),
            identification: header.identification(),
            datagram: NONE,
            tos: header.tos(),
            header_length: header.header_length(),
            total_length: usize::from(header.total_length()),
        }
    }

    /// RFC 6864 section 4.1: never cut, and never to be.
    #[inline]
    pub(super) fn is_atomic(&self) -> bool {
        self.dont_fragment && !self.is_fragment
    }
}

/// Where an IPv4 packet was found: the two have counters of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side4 {
    /// Inside a softwire.
    Inner,
    /// On the external side.
    External,
}

/// Checks the header at the front of the packet and cuts the packet to its total length
/// (RFC 4213 section 3.6).
#[inline(always)]
pub(super) fn check_header(
    packet: &mut Packet,
    side: Side4,
    settings: &Settings,
    trailers: &mut u64,
) -> Result<Inner, DropReason> {
    let choose = |inner, external| match side {
        Side4::Inner => inner,
        Side4::External => external,
    };
    let header = *Ipv4::view(packet.bytes()).ok_or(choose(DropReason::InShort, DropReason::X4Short))?;
    if header.version() != 4 {
        return Err(choose(DropReason::InVersion, DropReason::X4Version));
    }
    let header_length = header.header_length();
    if header_length < ipv4::HEADER || header_length > packet.len() {
        return Err(choose(DropReason::InIhl, DropReason::X4Ihl));
    }
    let total_length = usize::from(header.total_length());
    if total_length < header_length || total_length > packet.len() {
        return Err(choose(DropReason::InLen, DropReason::X4Len));
    }
    let is_sound = if header_length == ipv4::HEADER {
        header.is_sound()
    } else {
        checksum::of(&packet.bytes()[..header_length]) == 0
    };
    if !is_sound {
        return Err(choose(DropReason::InChecksum, DropReason::X4Checksum));
    }
    if total_length < packet.len() {
        packet.truncate(total_length);
        *trailers += u64::from(side == Side4::Inner);
    }
    if ip_options::any(header_length) && !ip_options::may_pass(settings, &packet.bytes()[..header_length]) {
        return Err(choose(DropReason::InOpt, DropReason::X4Opt));
    }
    Ok(Inner::of(&header))
}

/// A destination that no packet through a NAT has: this network, loopback, multicast, reserved,
/// broadcast, and the rest of 192.0.0.0/29 (RFC 7335 section 4). 192.0.0.1 is dealt with by the caller.
#[inline(always)]
pub(super) fn is_unreachable(address: Ipv4Addr) -> bool {
    let [a, ..] = address.octets();
    a == 0 || a == 127 || a >= 224 || is_well_known_b4(address)
}

/// 192.0.0.0/29, which every softwire has (RFC 6333 section 5.7).
#[inline]
pub(super) fn is_well_known_b4(address: Ipv4Addr) -> bool {
    address.to_bits() & !7 == Ipv4Addr::new(192, 0, 0, 0).to_bits()
}

/// A destination of private use: nothing outside answers from there (RFC 1812 section 4.3.3.1).
#[inline(always)]
pub(super) fn is_private(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    address.is_private() || address.is_link_local() || (a == 100 && b & 0xc0 == 64)
}

/// A source that no packet from the Internet has (RFC 1812 section 5.3.7, RFC 6890).
#[inline(always)]
pub(super) fn is_martian(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    a == 0 || a == 127 || a >= 224 || is_private(address) || (a == 192 && b == 0 && c == 0)
}
