//! What a packet of the bench carries, behind its UDP header: its number, its flow, when it was sent, and a
//! mark that tells one measurement from another.
//!
//! ```text
//!   0        4        8                 16     18
//!   | number | flow   | nanoseconds     | mark |
//! ```

use std::net::SocketAddrV4;
use std::time::Duration;

use crate::io::sys::packet_socket::{Instruction, instruction};
use crate::wire::ipv4::{self, Ipv4, protocol};
use crate::wire::ipv6::{self, Ipv6, next_header};
use crate::wire::udp::{self, Udp};

/// Octets of a probe.
pub(super) const LENGTH: usize = 18;
/// Octets of an Ethernet header.
pub(super) const ETHERNET: usize = 14;
pub(super) const ETHERTYPE_IPV4: u16 = 0x0800;
pub(super) const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Octets of the smallest IPv4 packet that carries one.
pub(super) const SMALLEST: usize = ipv4::HEADER + udp::HEADER + LENGTH;

/// The mark of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(pub(super) u16);

/// What a packet says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Probe {
    /// Counts from 1 in every measurement and direction.
    pub(super) number: u32,
    pub(super) flow: u32,
    /// Since 1970; zero when it was not stamped.
    pub(super) sent: Duration,
}

impl Probe {
    /// The octets, with the measurement's mark.
    pub(super) fn bytes(&self, mark: Mark) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[0..4].copy_from_slice(&self.number.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.flow.to_be_bytes());
        bytes[8..16].copy_from_slice(&(self.sent.as_nanos() as u64).to_be_bytes());
        bytes[16..18].copy_from_slice(&mark.0.to_be_bytes());
        bytes
    }

    fn parse(bytes: &[u8], mark: Mark) -> Option<Probe> {
        let (bytes, _) = bytes.split_first_chunk::<LENGTH>()?;
        let [n0, n1, n2, n3, f0, f1, f2, f3, s @ .., m0, m1] = *bytes;
        (u16::from_be_bytes([m0, m1]) == mark.0).then(|| Probe {
            number: u32::from_be_bytes([n0, n1, n2, n3]),
            flow: u32::from_be_bytes([f0, f1, f2, f3]),
            sent: Duration::from_nanos(u64::from_be_bytes(s)),
        })
    }
}

/// Finds the probe in an Ethernet frame, in a softwire or without, and who sent it as the receiver sees it.
pub(super) fn in_frame(frame: &[u8], mark: Mark) -> Option<(Probe, SocketAddrV4)> {
    let ether_type = u16::from_be_bytes([*frame.get(12)?, *frame.get(13)?]);
    let mut packet = &frame[ETHERNET..];
    if ether_type == ETHERTYPE_IPV6 {
        let outer = Ipv6::view(packet)?;
        packet = &packet[ipv6::HEADER..];
        if outer.next_header() != next_header::IPV4 {
            return None;
        }
    } else if ether_type != ETHERTYPE_IPV4 {
        return None;
    }
    let header = Ipv4::view(packet)?;
    let datagram = packet.get(header.header_length()..)?;
    if header.version() != 4 || header.protocol() != protocol::UDP || header.is_fragment() {
        return None;
    }
    let ports = Udp::view(datagram)?;
    let probe = Probe::parse(&datagram[udp::HEADER..], mark)?;
    Some((probe, SocketAddrV4::new(header.source(), ports.source.get())))
}

/// A classic BPF program that takes frames with a probe of `mark` whose number has none of the bits of
/// `skipped`: with 63, one in 64. It looks where headers without options put the probe.
pub(super) fn filter(mark: Mark, skipped: u32) -> [Instruction; 14] {
    const LOAD_HALF: u32 = 0x28;
    const LOAD_WORD: u32 = 0x20;
    const JUMP: u32 = 0x05;
    const IF_EQUAL: u32 = 0x15;
    const AND: u32 = 0x54;
    const RETURN: u32 = 0x06;
    let plain = (ETHERNET + ipv4::HEADER + udp::HEADER) as u32;
    let inside = plain + ipv6::HEADER as u32;
    let step = |operation, operand| instruction(operation, operand, 0, 0);
    let unless_equal = |operand, skip| instruction(IF_EQUAL, operand, 0, skip);
    [
        step(LOAD_HALF, 12),
        unless_equal(ETHERTYPE_IPV4.into(), 4),
        step(LOAD_HALF, plain + 16),
        unless_equal(mark.0.into(), 9),
        step(LOAD_WORD, plain),
        step(JUMP, 4),
        unless_equal(ETHERTYPE_IPV6.into(), 6),
        step(LOAD_HALF, inside + 16),
        unless_equal(mark.0.into(), 4),
        step(LOAD_WORD, inside),
        step(AND, skipped),
        unless_equal(0, 1),
        step(RETURN, u32::MAX),
        step(RETURN, 0),
    ]
}
