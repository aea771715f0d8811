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
    #[inline]
    #[must_use]
    pub fn identification(&self) -> u16 {
        self.identification.get()
    }

    /// Don't fragment.
    #[inline]
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

    /// Whether pieces of the datagram follow.
    #[inline]
    #[must_use]
    pub fn more_fragments(&self) -> bool {
        self.flags_fragment.get() & 0x2000 != 0
    }

    /// Fragment offset in bytes.
    #[inline]
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

    /// Whether the checksum is right, of a header without options.
    #[inline(always)]
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let half = |high: u8, low: u8| u32::from(Self::word(high, low));
        let first = half(self.version_ihl, self.tos) + u32::from(self.total_length.get());
        let second = u32::from(self.identification.get()) + u32::from(self.flags_fragment.get());
        let third = half(self.ttl, self.protocol) + u32::from(self.checksum.get());
        let ends =
            u64::from(u32::from_be_bytes(self.source)) + u64::from(u32::from_be_bytes(self.destination));
        let wide = u64::from(first + second + third) + ends;
        // 2^16 ≡ 1 modulo 65535, and the sum is not 0: what is divisible is 0xffff when it is folded.
        wide.is_multiple_of(0xffff)
    }

    #[inline(always)]
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

    /// Sets the identification.
    #[inline]
    pub fn set_identification(&mut self, identification: u16) {
        if identification != self.identification.get() {
            let delta = Delta::NONE.word(self.identification.get(), identification);
            self.identification = identification.into();
            self.update(delta);
        }
    }

    /// Says which piece of a datagram this is, `offset` in bytes, a multiple of 8. DF stays as it is.
    pub fn set_fragment(&mut self, offset: usize, more: bool) {
        let flags = self.flags_fragment.get() & 0xc000 | u16::from(more) << 13;
        let fields = flags | (offset / 8) as u16 & 0x1fff;
        let delta = Delta::NONE.word(self.flags_fragment.get(), fields);
        self.flags_fragment = fields.into();
        self.update(delta);
    }

    /// Sets the total length.
    pub fn set_total_length(&mut self, length: u16) {
        let delta = Delta::NONE.word(self.total_length.get(), length);
        self.total_length = length.into();
        self.update(delta);
    }

    /// Takes one from the TTL.
    #[inline(always)]
    pub fn decrement_ttl(&mut self) {
        if self.ttl > 0 {
            self.ttl -= 1;
            self.update(Delta::ONE_HOP);
        }
    }

    /// Sets the TTL.
    #[inline]
    pub fn set_ttl(&mut self, ttl: u8) {
        let delta = Delta::NONE.word(Self::word(self.ttl, self.protocol), Self::word(ttl, self.protocol));
        self.ttl = ttl;
        self.update(delta);
    }

    /// Sets the source; gives what this does to the checksums that cover it.
    #[inline(always)]
    pub fn set_source(&mut self, source: Ipv4Addr) -> Delta {
        let delta = Delta::NONE.address(self.source(), source);
        self.source = source.octets();
        self.update(delta);
        delta
    }

    /// Sets all that a packet leaves a NAT with at once; gives what the source does to the checksums that cover it.
    #[inline(always)]
    pub fn set_leaving(&mut self, source: Ipv4Addr, tos: u8, identification: u16) -> Delta {
        let address = Delta::NONE.address(self.source(), source);
        let all = address
            .word(Self::word(self.version_ihl, self.tos), Self::word(self.version_ihl, tos))
            .word(self.identification.get(), identification);
        self.source = source.octets();
        self.tos = tos;
        self.identification = identification.into();
        self.update(all);
        address
    }

    /// Sets the destination; gives what this does to the checksums that cover it.
    #[inline(always)]
    pub fn set_destination(&mut self, destination: Ipv4Addr) -> Delta {
        let delta = Delta::NONE.address(self.destination(), destination);
        self.destination = destination.octets();
        self.update(delta);
        delta
    }
}

/// Options of a header (RFC 791 section 3.1).
pub mod option {
    /// End of the list
    pub const END: u8 = 0;
    /// Nothing
    pub const NOP: u8 = 1;
    /// Record route
    pub const RECORD_ROUTE: u8 = 7;
    /// Timestamp
    pub const TIMESTAMP: u8 = 68;
    /// Loose source route
    pub const LOOSE_SOURCE_ROUTE: u8 = 131;
    /// Strict source route
    pub const STRICT_SOURCE_ROUTE: u8 = 137;
}

/// The options of a header, one after the other: type and bytes, type and length included. What has a
/// length that cannot be ends the list with `None` in its place.
pub fn options(header: &[u8]) -> impl Iterator<Item = Option<(u8, &[u8])>> {
    let mut rest = header.get(HEADER..).unwrap_or_default();
    std::iter::from_fn(move || {
        let &kind = rest.first()?;
        let length = match kind {
            option::END => return None,
            option::NOP => 1,
            _ => usize::from(rest.get(1).copied().unwrap_or(0)),
        };
        if length == 0 || (length == 1 && kind != option::NOP) || length > rest.len() {
            rest = &[];
            return Some(None);
        }
        let (option, behind) = rest.split_at(length);
        rest = behind;
        Some(Some((kind, option)))
    })
}

/// Makes `header`, whose length is a multiple of four, say its own length, with its checksum.
///
/// # Panics
/// When it is shorter than 20 bytes.
pub fn complete_header(header: &mut [u8]) {
    header[0] = 0x40 | (header.len() / 4) as u8;
    header[10..12].fill(0);
    let checksum = checksum::of(header);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// The payload behind the header of a packet whose header was checked.
#[inline]
#[must_use]
pub fn payload(packet: &[u8]) -> &[u8] {
    let at = Ipv4::view(packet).map_or(0, Ipv4::header_length).min(packet.len());
    &packet[at..]
}
