//! The UDP header (RFC 768).

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Length of the header.
pub const HEADER: usize = 8;

/// The header.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Udp {
    /// Source port.
    pub source: U16,
    /// Destination port.
    pub destination: U16,
    /// Length of header and payload.
    pub length: U16,
    /// Checksum; 0 means none over IPv4.
    pub checksum: U16,
}

impl Udp {
    /// Views the front of `bytes`; none when they are fewer than 8.
    #[inline]
    #[must_use]
    pub fn view(bytes: &[u8]) -> Option<&Udp> {
        Udp::ref_from_prefix(bytes).ok().map(|(header, _)| header)
    }

    /// The same, to be edited.
    #[inline]
    pub fn view_mut(bytes: &mut [u8]) -> Option<&mut Udp> {
        Udp::mut_from_prefix(bytes).ok().map(|(header, _)| header)
    }
}
