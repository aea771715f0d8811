//! What a tun with `IFF_VNET_HDR` puts in front of each packet: what is left to be done for it
//! (virtio 1.2 section 5.1.6, in the octet order of this machine).

use crate::wire::checksum;

/// The legacy header of virtio-net, without `num_buffers`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct VnetHeader {
    /// Where the sum that is missing starts, and where it is to be written, counted from there. The field
    /// holds the sum of the pseudo-header, not complemented.
    pub(super) checksum: Option<(u16, u16)>,
    /// What the packet is to be cut into.
    pub(super) segments: Option<Segments>,
    /// Octets in front of the payload, when there are segments.
    pub(super) header_length: u16,
}

/// What a packet is to be cut into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segments {
    pub(super) kind: SegmentKind,
    /// Octets of payload in each but the last.
    pub(super) size: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SegmentKind {
    /// TCP over IPv4.
    Tcp4,
    /// UDP over IPv4: datagrams, not fragments.
    Udp4,
    /// Nothing that we asked for.
    Other,
}

impl VnetHeader {
    /// Octets.
    pub(super) const LENGTH: usize = 10;

    const NEEDS_CHECKSUM: u8 = 1;
    const NO_SEGMENTS: u8 = 0;
    const TCP4: u8 = 1;
    const UDP4: u8 = 5;
    /// A flag beside the kind: the first segment may have CWR.
    const ECN: u8 = 0x80;

    /// Reads it.
    pub(super) fn read(bytes: &[u8; Self::LENGTH]) -> VnetHeader {
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let kind = match bytes[1] & !Self::ECN {
            Self::NO_SEGMENTS => None,
            Self::TCP4 => Some(SegmentKind::Tcp4),
            Self::UDP4 => Some(SegmentKind::Udp4),
            _ => Some(SegmentKind::Other),
        };
        VnetHeader {
            checksum: (bytes[0] & Self::NEEDS_CHECKSUM != 0).then(|| (word(6), word(8))),
            segments: kind.map(|kind| Segments { kind, size: word(4) }),
            header_length: word(2),
        }
    }

    /// Writes it for a TCP packet that the kernel is to cut, whose IPv4 header has no options.
    pub(super) fn write_tcp4(bytes: &mut [u8; Self::LENGTH], header_length: u16, size: u16) {
        const TCP_AT: u16 = 20;
        const CHECKSUM_IN_TCP: u16 = 16;
        bytes[0] = Self::NEEDS_CHECKSUM;
        bytes[1] = Self::TCP4;
        for (at, word) in [(2, header_length), (4, size), (6, TCP_AT), (8, CHECKSUM_IN_TCP)] {
            bytes[at..at + 2].copy_from_slice(&word.to_ne_bytes());
        }
    }
}

/// Completes the checksum of `packet`: the sum of everything from `start` on, the field included, which
/// holds that of the pseudo-header. Says whether there is such a field.
pub(super) fn complete_checksum(packet: &mut [u8], start: u16, offset: u16) -> bool {
    let (start, field) = (usize::from(start), usize::from(start) + usize::from(offset));
    if field + 2 > packet.len() {
        return false;
    }
    // As the kernel does for every protocol: a sum of 0 is sent as 0xffff, which UDP needs and which is
    // the same number to all others.
    let sum = match checksum::of(&packet[start..]) {
        0 => 0xffff,
        sum => sum,
    };
    packet[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_for_tcp_is_read_again() {
        let mut bytes = [0; VnetHeader::LENGTH];
        assert_eq!(VnetHeader::read(&bytes), VnetHeader::default());
        VnetHeader::write_tcp4(&mut bytes, 52, 1448);
        let segments = Some(Segments { kind: SegmentKind::Tcp4, size: 1448 });
        let expected = VnetHeader { checksum: Some((20, 16)), segments, header_length: 52 };
        assert_eq!(VnetHeader::read(&bytes), expected);
        bytes[1] |= VnetHeader::ECN;
        assert_eq!(VnetHeader::read(&bytes), expected);
    }

    #[test]
    fn a_kind_that_is_not_known_is_not_taken_for_a_packet() {
        // TCP over IPv6 and UDP fragments, which are never asked for, and something of tomorrow.
        for kind in [4, 3, 77] {
            let mut bytes = [0; VnetHeader::LENGTH];
            bytes[1] = kind;
            assert_eq!(
                VnetHeader::read(&bytes).segments.map(|segments| segments.kind),
                Some(SegmentKind::Other)
            );
        }
    }

    #[test]
    fn a_checksum_outside_the_packet_is_not_written() {
        let mut packet = [1, 2, 3, 4, 5, 6, 7, 8];
        for (start, offset) in [(8, 0), (0, 7), (6, 1), (u16::MAX, u16::MAX)] {
            assert!(!complete_checksum(&mut packet, start, offset), "{start} {offset}");
        }
        assert_eq!(packet, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(complete_checksum(&mut packet, 2, 4));
        assert_eq!(
            checksum::of(&packet[2..6]),
            u16::from_be_bytes([packet[6], packet[7]]).wrapping_add(0x0708)
        );
    }
}
