//! The TCP header (RFC 9293) and its MSS option.

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::Delta;

/// Length without options.
pub const HEADER: usize = 20;

/// Flag bits.
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement field counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
    /// Congestion was seen on the way (RFC 3168).
    pub const ECE: u8 = 0x40;
    /// The window was reduced for it (RFC 3168).
    pub const CWR: u8 = 0x80;
}

/// The first 20 bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Tcp {
    /// Source port.
    pub source: U16,
    /// Destination port.
    pub destination: U16,
    /// Sequence number.
    pub sequence: U32,
    /// Acknowledgement number.
    pub acknowledgement: U32,
    /// Header length in words, in the upper four bits.
    pub data_offset: u8,
    /// The eight of [`flag`].
    pub flags: u8,
    /// Window.
    pub window: U16,
    /// Checksum.
    pub checksum: U16,
    /// Urgent pointer.
    pub urgent: U16,
}

impl Tcp {
    /// Views the front of `bytes`; none when they are fewer than 20.
    #[inline]
    #[must_use]
    pub fn view(bytes: &[u8]) -> Option<&Tcp> {
        Tcp::ref_from_prefix(bytes).ok().map(|(header, _)| header)
    }

    /// The same, to be edited.
    #[inline]
    pub fn view_mut(bytes: &mut [u8]) -> Option<&mut Tcp> {
        Tcp::mut_from_prefix(bytes).ok().map(|(header, _)| header)
    }

    /// Header length in bytes, options included; below 20 is malformed.
    #[inline]
    #[must_use]
    pub fn header_length(&self) -> usize {
        usize::from(self.data_offset >> 4) * 4
    }
}

/// Lowers the MSS option of a SYN to `limit`; never raises it, never adds one, and leaves options
/// alone that it cannot read. The checksum follows.
pub fn clamp_mss(segment: &mut [u8], limit: u16) {
    let Some(at) = mss_option(segment) else { return };
    let old = u16::from_be_bytes([segment[at], segment[at + 1]]);
    if old <= limit {
        return;
    }
    segment[at..at + 2].copy_from_slice(&limit.to_be_bytes());
    // The field is at an odd offset behind an odd number of NOPs: the words that change are then the
    // byte-swapped ones.
    let delta = if at % 2 == 0 {
        Delta::NONE.word(old, limit)
    } else {
        Delta::NONE.word(old.swap_bytes(), limit.swap_bytes())
    };
    if let Some(tcp) = Tcp::view_mut(segment) {
        tcp.checksum = delta.apply(tcp.checksum.get()).into();
    }
}

/// Offset of the two bytes of the MSS.
fn mss_option(segment: &[u8]) -> Option<usize> {
    const END: u8 = 0;
    const NOP: u8 = 1;
    const MSS: u8 = 2;

    let options_end = Tcp::view(segment)?.header_length();
    let options = segment.get(..options_end)?;
    let mut at = HEADER;
    while at < options.len() {
        match options[at] {
            END => return None,
            NOP => at += 1,
            kind => {
                let length = usize::from(*options.get(at + 1)?);
                if length < 2 || at + length > options.len() {
                    return None;
                }
                if kind == MSS {
                    return (length == 4).then_some(at + 2);
                }
                at += length;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::checksum;

    fn syn(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x13, 0x88, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0, flag::SYN, 0xff, 0xff, 0, 0, 0, 0];
        bytes[12] = (((HEADER + options.len()) / 4) << 4) as u8;
        bytes.extend_from_slice(options);
        let sum = checksum::of(&bytes);
        bytes[16..18].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    #[test]
    fn row_mss_1_larger_is_lowered_smaller_and_none_stay_and_bad_options_are_left_alone() {
        for (options, expected) in [
            (vec![2, 4, 0x05, 0xb4], vec![2, 4, 0x05, 0x8c]),
            (vec![2, 4, 0x05, 0x14], vec![2, 4, 0x05, 0x14]),
            (vec![1, 2, 4, 0x05, 0xb4, 1, 1, 0], vec![1, 2, 4, 0x05, 0x8c, 1, 1, 0]),
            (vec![], vec![]),
            (vec![2, 3, 0x05, 0xb4], vec![2, 3, 0x05, 0xb4]),
            (vec![8, 0, 2, 4, 0x05, 0xb4, 0, 0], vec![8, 0, 2, 4, 0x05, 0xb4, 0, 0]),
            (vec![1, 1, 1, 2], vec![1, 1, 1, 2]),
        ] {
            let mut segment = syn(&options);
            clamp_mss(&mut segment, 1420);
            assert_eq!(segment[HEADER..], expected, "options {options:?}");
            assert_eq!(checksum::of(&segment), 0, "checksum with options {options:?}");
        }
    }
}
