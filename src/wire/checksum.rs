//! The Internet checksum (RFC 1071), and its update when a few words of what it covers change
//! (RFC 1624).

use std::net::{Ipv4Addr, Ipv6Addr};

/// One's complement sum of `bytes`, not yet folded or complemented.
#[inline]
#[must_use]
pub fn sum(bytes: &[u8]) -> u32 {
    // Four bytes at a time in 64 bits: carries collect in the upper half and are folded once at the
    // end. 2^16 ≡ 1 modulo 65535, so a sum of 32-bit words folds to the sum of their halves. Words are
    // taken in the order of this machine, and only the sum is turned (RFC 1071 section 2 (B)).
    let (words, rest) = bytes.as_chunks::<4>();
    let mut wide: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    wide += match *rest {
        [a] => u64::from(u32::from_ne_bytes([a, 0, 0, 0])),
        [a, b] => u64::from(u32::from_ne_bytes([a, b, 0, 0])),
        [a, b, c] => u64::from(u32::from_ne_bytes([a, b, c, 0])),
        _ => 0,
    };
    let once = (wide & 0xffff_ffff) + (wide >> 32);
    u32::from(u16::from_be(fold(((once & 0xffff) + (once >> 16)) as u32)))
}

/// Folds a sum to 16 bits.
#[inline(always)]
fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

/// The checksum field that `sum` asks for.
#[inline]
#[must_use]
pub fn finish(sum: u32) -> u16 {
    !fold(sum)
}

/// The checksum of `bytes`; 0 when they contain a right one already.
#[inline]
#[must_use]
pub fn of(bytes: &[u8]) -> u16 {
    finish(sum(bytes))
}

/// Sum of the IPv6 pseudo-header (RFC 8200 section 8.1).
#[must_use]
pub fn pseudo_header_v6(source: Ipv6Addr, destination: Ipv6Addr, length: u32, next_header: u8) -> u32 {
    sum(&source.octets()) + sum(&destination.octets()) + sum(&length.to_be_bytes()) + u32::from(next_header)
}

/// Sum of the IPv4 pseudo-header (RFC 768, RFC 9293).
#[must_use]
pub fn pseudo_header_v4(source: Ipv4Addr, destination: Ipv4Addr, length: u16, protocol: u8) -> u32 {
    sum(&source.octets()) + sum(&destination.octets()) + u32::from(length) + u32::from(protocol)
}

/// What a change of words does to every checksum that covers them: RFC 1624 equation 3,
/// HC' = ~(~HC + ~m + m'), with the terms ~m + m' collected here, and folded when they are applied: there is room
/// for 2^15 of them.
///
/// A checksum that was wrong stays wrong by the same difference.
#[derive(Debug, Clone, Copy, Default)]
pub struct Delta(u32);

impl Delta {
    /// No change.
    pub const NONE: Delta = Delta(0);

    /// A word that is less by 0x100, as that of TTL and protocol after a hop: ~m + m' = 0xffff - 0x100.
    pub const ONE_HOP: Delta = Delta(0xfeff);

    /// With one word changed.
    #[inline(always)]
    #[must_use]
    pub fn word(self, old: u16, new: u16) -> Delta {
        Delta(self.0 + u32::from(!old) + u32::from(new))
    }

    /// With an address changed.
    #[inline(always)]
    #[must_use]
    pub fn address(self, old: Ipv4Addr, new: Ipv4Addr) -> Delta {
        let (old, new) = (old.to_bits(), new.to_bits());
        self.word((old >> 16) as u16, (new >> 16) as u16).word(old as u16, new as u16)
    }

    /// Both changes.
    #[inline(always)]
    #[must_use]
    pub fn and(self, other: Delta) -> Delta {
        Delta(self.0 + other.0)
    }

    /// The checksum field after the change.
    #[inline(always)]
    #[must_use]
    pub fn apply(self, checksum: u16) -> u16 {
        !fold(u32::from(!checksum) + self.0)
    }

    /// The same for UDP over IPv4, where 0 says "no checksum" and stays, and a computed 0 is sent
    /// as 0xffff (RFC 768, RFC 3022 section 4.1).
    #[inline(always)]
    #[must_use]
    pub fn apply_udp(self, checksum: u16) -> u16 {
        match checksum {
            0 => 0,
            some => match self.apply(some) {
                0 => 0xffff,
                changed => changed,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_sums_to_ddf2() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }

    #[test]
    fn an_odd_byte_counts_as_the_upper_half_of_a_word() {
        assert_eq!(sum(&[0, 0, 0, 0, 0, 1, 0x80]), 0x8001);
        assert_eq!(sum(&[0x12]), 0x1200);
    }

    /// RFC 1624 section 4: equation 2 gives 0x0000 here and is wrong, equation 3 gives 0xffff's
    /// complement, which is right.
    #[test]
    fn rfc_1624_3_the_example_that_equation_2_gets_wrong() {
        assert_eq!(Delta::NONE.word(0x5555, 0x3285).apply(0xdd2f), 0x0000);
    }

    #[test]
    fn an_update_equals_a_new_sum_whatever_changes() {
        let mut bytes: Vec<u8> = (0..64).map(|i| (i * 37 + 11) as u8).collect();
        for round in 0..2000u32 {
            let before = of(&bytes);
            let at = (round as usize * 2) % 64;
            let old = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            let new = (round.wrapping_mul(2_654_435_761) >> 16) as u16;
            bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
            assert_eq!(Delta::NONE.word(old, new).apply(before), of(&bytes), "round {round}");
        }
    }

    #[test]
    fn udp_zero_stays_zero_and_a_computed_zero_becomes_ffff() {
        assert_eq!(Delta::NONE.word(1, 2).apply_udp(0), 0);
        let delta = Delta::NONE.word(0x5555, 0x3285);
        assert_eq!(delta.apply(0xdd2f), 0);
        assert_eq!(delta.apply_udp(0xdd2f), 0xffff);
    }
}
