//! The IPv6 header (RFC 8200 section 3).

use std::net::Ipv6Addr;

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Length of the fixed header.
pub const HEADER: usize = 40;

/// Next-header values that this element knows.
pub mod next_header {
    /// Hop-by-hop options
    pub const HOP_BY_HOP: u8 = 0;
    /// IPv4, as a tunnel's payload (RFC 2473)
    pub const IPV4: u8 = 4;
    /// TCP
    pub const TCP: u8 = 6;
    /// UDP
    pub const UDP: u8 = 17;
    /// Routing header
    pub const ROUTING: u8 = 43;
    /// Fragment header
    pub const FRAGMENT: u8 = 44;
    /// ICMPv6 (RFC 4443)
    pub const ICMPV6: u8 = 58;
    /// No next header
    pub const NONE: u8 = 59;
    /// Destination options
    pub const DESTINATION: u8 = 60;
}

/// The fixed header.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ipv6 {
    version_class_label: U32,
    payload_length: U16,
    next_header: u8,
    hop_limit: u8,
    source: [u8; 16],
    destination: [u8; 16],
}

impl Ipv6 {
    /// Views the front of `bytes`; none when they are fewer than 40.
    #[inline]
    #[must_use]
    pub fn view(bytes: &[u8]) -> Option<&Ipv6> {
        Ipv6::ref_from_prefix(bytes).ok().map(|(header, _)| header)
    }

    /// A header with the given fields; `flow_label` is cut to 20 bits.
    #[inline]
    #[must_use]
    pub fn new(
        source: Ipv6Addr,
        destination: Ipv6Addr,
        next_header: u8,
        payload_length: u16,
        hop_limit: u8,
        traffic_class: u8,
        flow_label: u32,
    ) -> Ipv6 {
        let word = 6 << 28 | u32::from(traffic_class) << 20 | flow_label & 0xf_ffff;
        Ipv6 {
            version_class_label: word.into(),
            payload_length: payload_length.into(),
            next_header,
            hop_limit,
            source: source.octets(),
            destination: destination.octets(),
        }
    }

    /// The same header in front of another payload.
    #[must_use]
    pub fn with_payload(&self, next_header: u8, length: u16) -> Ipv6 {
        Ipv6 { next_header, payload_length: length.into(), ..*self }
    }

    /// The same header with another traffic class.
    #[must_use]
    pub fn with_traffic_class(&self, class: u8) -> Ipv6 {
        let word = self.version_class_label.get() & !0x0ff0_0000 | u32::from(class) << 20;
        Ipv6 { version_class_label: word.into(), ..*self }
    }

    /// Version: 6 in a valid header.
    #[inline]
    #[must_use]
    pub fn version(&self) -> u8 {
        (self.version_class_label.get() >> 28) as u8
    }

    /// Traffic class: DSCP (6 bits) and ECN (2 bits).
    #[inline]
    #[must_use]
    pub fn traffic_class(&self) -> u8 {
        (self.version_class_label.get() >> 20) as u8
    }

    /// Flow label, 20 bits.
    #[must_use]
    pub fn flow_label(&self) -> u32 {
        self.version_class_label.get() & 0xf_ffff
    }

    /// Length of what follows the fixed header.
    #[inline]
    #[must_use]
    pub fn payload_length(&self) -> u16 {
        self.payload_length.get()
    }

    /// Type of what follows the fixed header.
    #[inline]
    #[must_use]
    pub fn next_header(&self) -> u8 {
        self.next_header
    }

    /// Hop limit.
    #[must_use]
    pub fn hop_limit(&self) -> u8 {
        self.hop_limit
    }

    /// Source address.
    #[inline]
    #[must_use]
    pub fn source(&self) -> Ipv6Addr {
        self.source.into()
    }

    /// Destination address.
    #[inline]
    #[must_use]
    pub fn destination(&self) -> Ipv6Addr {
        self.destination.into()
    }
}
