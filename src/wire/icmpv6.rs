//! ICMPv6 (RFC 4443), as far as a tunnel end needs it: echo, and the errors that it sends.

use std::net::Ipv6Addr;

use super::checksum;
use super::ipv6::next_header;

/// Length of the header: type, code, checksum and four bytes that depend on the type.
pub const HEADER: usize = 8;

/// Message types.
pub mod kind {
    /// Destination unreachable
    pub const UNREACHABLE: u8 = 1;
    /// Packet too big
    pub const PACKET_TOO_BIG: u8 = 2;
    /// Time exceeded
    pub const TIME_EXCEEDED: u8 = 3;
    /// Parameter problem
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Echo request
    pub const ECHO: u8 = 128;
    /// Echo reply
    pub const ECHO_REPLY: u8 = 129;
}

/// Whether the checksum of `message` is right.
#[must_use]
pub fn checksum_is_right(message: &[u8], source: Ipv6Addr, destination: Ipv6Addr) -> bool {
    checksum_of(message, source, destination) == 0
}

/// Writes the checksum of `message`.
///
/// # Panics
/// When the message is shorter than its header.
pub fn write_checksum(message: &mut [u8], source: Ipv6Addr, destination: Ipv6Addr) {
    message[2..4].fill(0);
    let checksum = checksum_of(message, source, destination);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
}

fn checksum_of(message: &[u8], source: Ipv6Addr, destination: Ipv6Addr) -> u16 {
    let pseudo = checksum::pseudo_header_v6(source, destination, message.len() as u32, next_header::ICMPV6);
    checksum::finish(pseudo + checksum::sum(message))
}
