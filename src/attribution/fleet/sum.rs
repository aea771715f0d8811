//! A sum of hashes: the same rows give the same sum in whatever order, here and in ClickHouse.

use std::fmt;

use crate::attribution::digest::Digest;
use crate::attribution::ledger::Interval;
use crate::attribution::seal::{COLUMN_COUNT, numbers};

/// Rows, and the sum of the SHA-256 of each, as little-endian numbers, modulo 2^256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sum {
    pub(super) rows: u64,
    limbs: [u64; 4],
}

impl Sum {
    /// Of a sealed file's intervals.
    pub(super) fn of(rows: &[Interval]) -> Sum {
        let mut sum = Sum::default();
        for (number, row) in (0_i64..).zip(rows) {
            let mut octets = [0; 8 * (COLUMN_COUNT + 1)];
            let values = [number].into_iter().chain(numbers(row));
            for (place, value) in octets.chunks_exact_mut(8).zip(values) {
                place.copy_from_slice(&value.to_le_bytes());
            }
            sum.add(Digest::of(&[&octets]));
        }
        sum
    }

    /// What ClickHouse says: a number of rows and a sum, 8 and 32 octets.
    pub(super) fn parse(octets: &[u8; 40]) -> Sum {
        let mut words = octets.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        let mut word = || words.next().unwrap_or_default();
        Sum { rows: word(), limbs: [word(), word(), word(), word()] }
    }

    /// What the ledger says.
    pub(super) fn of_text(rows: u64, text: &str) -> Option<Sum> {
        let Digest(octets) = Digest::parse(text)?;
        let mut both = [0; 40];
        both[..8].copy_from_slice(&rows.to_le_bytes());
        both[8..].copy_from_slice(&octets);
        Some(Sum::parse(&both))
    }

    fn add(&mut self, digest: Digest) {
        self.rows += 1;
        let mut carry = false;
        for (limb, octets) in self.limbs.iter_mut().zip(digest.0.as_chunks::<8>().0) {
            let (sum, one) = limb.overflowing_add(u64::from_le_bytes(*octets));
            let (sum, two) = sum.overflowing_add(u64::from(carry));
            (*limb, carry) = (sum, one || two);
        }
    }
}

/// 64 hexadecimal digits, little endian.
impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.limbs.iter().flat_map(|limb| limb.to_le_bytes()).try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(numbers: &[u8]) -> Sum {
        let mut sum = Sum::default();
        numbers.iter().for_each(|&number| sum.add(Digest::of(&[&[number]])));
        sum
    }

    #[test]
    fn a_sum_has_no_order_but_counts_doubles() {
        assert_eq!(sum(&[1, 2, 3]), sum(&[3, 1, 2]));
        assert_ne!(sum(&[1, 2, 2]), sum(&[1, 3, 3]));
        assert_ne!(sum(&[1, 2]), sum(&[1, 2, 2]));
        let some = sum(&[1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(Sum::of_text(7, &some.to_string()), Some(some));
    }

    #[test]
    fn a_carry_goes_from_limb_to_limb_and_out_of_the_last() {
        let mut sum = Sum { rows: 0, limbs: [u64::MAX; 4] };
        let mut one = [0; 32];
        one[0] = 1;
        sum.add(Digest(one));
        assert_eq!(sum, Sum { rows: 1, limbs: [0; 4] });
    }
}
