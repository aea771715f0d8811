//! The IPv4 header (RFC 791).

use std::net::Ipv4Addr;

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::{self, Delta};

/// Length without options.
pub const HEADER: usize = 20;

/// Protocol numbers that this element knows.
pub mod protocol {
    /// ICMP (RFC 792)
    pub const ICMP: u8 = 1;
    /// TCP (RFC 9293)
    pub const TCP: u8 = 6;
    /// UDP (RFC 768)
    pub const UDP: u8 = 17;
}

/// The first 20 bytes. Setters keep the header checksum right by RFC 1624.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ipv4 {
    version_ihl: u8,
    tos: u8,
    total_length: U16,
    identification: U16,
    flags_fragment: U16,
    ttl: u8,
    protocol: u8,
    checksum: U16,
    source: [u8; 4],
    destination: [u8; 4],
}

impl Ipv4 {
    /// Views the front of `bytes`; none when they are fewer than 20.
    #[inline]
    #[must_use]
    pub fn view(bytes: &[u8]) -> Option<&Ipv4> {
        Ipv4::ref_from_prefix(bytes).ok().map(|(header, _)| header)
    }

    /// The same, to be edited.
    #[inline]
    pub fn view_mut(bytes: &mut [u8]) -> Option<&mut Ipv4> {
        Ipv4::mut_from_prefix(bytes).ok().map(|(header, _)| header)
    }

    /// A header without options, DF set, identification 0 (an atomic datagram, RFC 6864 section 4.1),
    /// with its checksum.
    #[must_use]
    pub fn new(
        protocol: u8,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        total_length: u16,
        ttl: u8,
        tos: u8,
    ) -> Ipv4 {
        let mut header = Ipv4 {
            version_ihl: 0x45,
            tos,
            total_length: total_length.into(),
            identification: 0.into(),
            flags_fragment: 0x4000.into(),
            ttl,
            protocol,
            checksum: 0.into(),
            source: source.octets(),
            destination: destination.octets(),
        };
        header.checksum = checksum::of(header.as_bytes()).into();
        header
    }

    /// Version: 4 in a valid header.
    #[inline]
    #[must_use]
    pub fn version(&self) -> u8 {
        self.version_ihl >> 4
    }

    /// Header length in bytes, options included: 0 to 60; below 20 is malformed.
    #[inline]
    #[must_use]
    pub fn header_length(&self) -> usize {
        usize::from(self.version_ihl & 0xf) * 4
    }

    /// Type of service: DSCP (6 bits) and ECN (2 bits).
    #[inline]
    #[must_use]
    pub fn tos(&self) -> u8 {
        self.tos
    }

    /// Total length in bytes.
    #[inline]
    #[must_use]
    pub fn total_length(&self) -> u16 {
        self.total_length.get()
    }

    /// Identification.
    #[must_use]
    pub fn identification(&self) -> u16 {
        self.identification.get()
    }

    /// Don't fragment.
    #[must_use]
    pub fn dont_fragment(&self) -> bool {
        self.flags_fragment.get() & 0x4000 != 0
    }

    /// Whether this is a piece of a datagram: more follow, or it is not the first.
    #[inline]
    #[must_use]
    pub fn is_fragment(&self) -> bool {
        self.flags_fragment.get() & 0x3fff != 0
    }

    /// Fragment offset in bytes.
    #[must_use]
    pub fn fragment_offset(&self) -> u32 {
        u32::from(self.flags_fragment.get() & 0x1fff) * 8
    }

    /// Time to live.
    #[inline]
    #[must_use]
    pub fn ttl(&self) -> u8 {
        self.ttl
    }

    /// Protocol number.
    #[inline]
    #[must_use]
    pub fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Source address.
    #[inline]
    #[must_use]
    pub fn source(&self) -> Ipv4Addr {
        self.source.into()
    }

    /// Destination address.
    #[inline]
    #[must_use]
    pub fn destination(&self) -> Ipv4Addr {
        self.destination.into()
    }

    /// Header checksum as it stands.
    #[must_use]
    pub fn checksum(&self) -> u16 {
        self.checksum.get()
    }

    fn word(high: u8, low: u8) -> u16 {
        u16::from_be_bytes([high, low])
    }

    fn update(&mut self, delta: Delta) {
        self.checksum = delta.apply(self.checksum.get()).into();
    }

    /// Sets the type of service.
    #[inline]
    pub fn set_tos(&mut self, tos: u8) {
        if tos != self.tos {
            let delta =
                Delta::NONE.word(Self::word(self.version_ihl, self.tos), Self::word(self.version_ihl, tos));
            self.tos = tos;
            self.update(delta);
        }
    }

    /// Takes one from the TTL.
    #[inline]
    pub fn decrement_ttl(&mut self) {
        self.set_ttl(self.ttl.saturating_sub(1));
    }

    /// Sets the TTL.
    #[inline]
    pub fn set_ttl(&mut self, ttl: u8) {
        let delta = Delta::NONE.word(Self::word(self.ttl, self.protocol), Self::word(ttl, self.protocol));
        self.ttl = ttl;
        self.update(delta);
    }

    /// Sets the source; gives what this does to the checksums that cover it.
    #[inline]
    pub fn set_source(&mut self, source: Ipv4Addr) -> Delta {
        let delta = Delta::NONE.address(self.source(), source);
        self.source = source.octets();
        self.update(delta);
        delta
    }

    /// Sets the destination; gives what this does to the checksums that cover it.
    #[inline]
    pub fn set_destination(&mut self, destination: Ipv4Addr) -> Delta {
        let delta = Delta::NONE.address(self.destination(), destination);
        self.destination = destination.octets();
        self.update(delta);
        delta
    }
}

/// The payload behind the header of a packet whose header was checked.
#[inline]
#[must_use]
pub fn payload(packet: &[u8]) -> &[u8] {
    let at = Ipv4::view(packet).map_or(0, Ipv4::header_length).min(packet.len());
    &packet[at..]
}
