//! ICMP for IPv4 (RFC 792), as far as RFC 5508 lets it through a NAT.

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Length of the header: type, code, checksum and four bytes that depend on the type.
pub const HEADER: usize = 8;

/// Message types.
pub mod kind {
    /// Echo reply
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable
    pub const UNREACHABLE: u8 = 3;
    /// Echo request
    pub const ECHO: u8 = 8;
    /// Time exceeded
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem
    pub const PARAMETER_PROBLEM: u8 = 12;
    /// Timestamp request
    pub const TIMESTAMP: u8 = 13;
    /// Timestamp reply
    pub const TIMESTAMP_REPLY: u8 = 14;
}

/// The header.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Icmpv4 {
    /// Message type, see [`kind`].
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Checksum over header and body.
    pub checksum: U16,
    /// Identifier of a query; of an error, unused or part of a pointer (RFC 4884: length).
    pub identifier: U16,
    /// Sequence number of a query; MTU of "fragmentation needed".
    pub sequence: U16,
}

impl Icmpv4 {
    /// Views the front of `bytes`; none when they are fewer than 8.
    #[inline]
    #[must_use]
    pub fn view(bytes: &[u8]) -> Option<&Icmpv4> {
        Icmpv4::ref_from_prefix(bytes).ok().map(|(header, _)| header)
    }

    /// The same, to be edited.
    #[inline]
    pub fn view_mut(bytes: &mut [u8]) -> Option<&mut Icmpv4> {
        Icmpv4::mut_from_prefix(bytes).ok().map(|(header, _)| header)
    }

    /// What this type is to a NAT.
    #[inline]
    #[must_use]
    pub fn class(&self) -> Class {
        match self.kind {
            kind::ECHO | kind::TIMESTAMP => Class::Request,
            kind::ECHO_REPLY | kind::TIMESTAMP_REPLY => Class::Reply,
            kind::UNREACHABLE | kind::TIME_EXCEEDED | kind::PARAMETER_PROBLEM => Class::Error,
            _ => Class::Other,
        }
    }
}

/// What an ICMP type is to a NAT (RFC 5508 section 3 and 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A query, answered by a reply with the same identifier.
    Request,
    /// The answer to a query.
    Reply,
    /// An error, which quotes the packet that it is about.
    Error,
    /// Everything that does not cross a NAT: redirects, source quench, router discovery, … (RFC 5508 REQ-10, REQ-11).
    Other,
}
