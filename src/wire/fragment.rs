//! The IPv6 fragment header (RFC 8200 section 4.5).

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Length of the header.
pub const HEADER: usize = 8;

/// The header.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Fragment {
    /// Type of what was cut into pieces.
    pub next_header: u8,
    reserved: u8,
    offset_more: U16,
    /// The same in all pieces of a packet.
    pub identification: U32,
}

impl Fragment {
    /// Views the front of `bytes`; none when they are fewer than 8.
    #[must_use]
    pub fn view(bytes: &[u8]) -> Option<&Fragment> {
        Fragment::ref_from_prefix(bytes).ok().map(|(header, _)| header)
    }

    /// A header; `offset` is in bytes, a multiple of 8.
    #[must_use]
    pub fn new(next_header: u8, offset: u16, more: bool, identification: u32) -> Fragment {
        let offset_more = offset & !7 | u16::from(more);
        Fragment {
            next_header,
            reserved: 0,
            offset_more: offset_more.into(),
            identification: identification.into(),
        }
    }

    /// Where the piece belongs, in bytes.
    #[must_use]
    pub fn offset(&self) -> usize {
        usize::from(self.offset_more.get() & !7)
    }

    /// Whether pieces follow.
    #[must_use]
    pub fn more(&self) -> bool {
        self.offset_more.get() & 1 != 0
    }
}
