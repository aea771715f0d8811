//! Everything random in the engine comes from one seed: the ports, and the keys of the hash tables.
//!
//! The stream is ChaCha20, so that ports are hard to guess (RFC 6056, RFC 6888 REQ-15), and the same
//! seed gives the same run.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use siphasher::sip::SipHasher13;

/// 256 bits that a run depends on. Secret in production: who knows it can predict ports.
#[derive(Clone)]
pub struct Seed([u8; 32]);

impl Seed {
    /// From entropy.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Seed {
        Seed(bytes)
    }

    /// From a number, for runs that are to be repeated.
    #[must_use]
    pub fn from_number(number: u64) -> Seed {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Seed(bytes)
    }
}

impl Seed {
    /// What workers share, and a seed for each: one worker has this one.
    #[must_use]
    pub fn for_workers(&self, workers: u16) -> (u32, Vec<Seed>) {
        if workers == 1 {
            return (0, vec![self.clone()]);
        }
        let mut random = Random::new(self);
        let key = random.0.next_u32();
        let mut seed = || {
            let mut bytes = [0; 32];
            random.0.fill_bytes(&mut bytes);
            Seed(bytes)
        };
        (key, (0..workers).map(|_| seed()).collect())
    }
}

/// The stream of random numbers.
pub(super) struct Random(ChaCha20Rng);

impl Random {
    pub(super) fn new(seed: &Seed) -> Random {
        Random(ChaCha20Rng::from_seed(seed.0))
    }

    /// A number below `bound`, without modulo bias worth speaking of: 2^-16 for a port range.
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.0.next_u32()) * u64::from(bound)) >> 32) as u32
    }

    pub(super) fn wire_key(&mut self) -> WireKey {
        WireKey(SipHasher13::new_with_keys(self.0.next_u64(), self.0.next_u64()))
    }

    pub(super) fn hash_key(&mut self) -> HashKey {
        HashKey(std::array::from_fn(|_| self.0.next_u64()))
    }
}

/// A secret member of a family of hash functions.
///
/// Multilinear hashing (Lemire and Kaser, "Strongly universal string hashing is fast", 2014): the
/// upper half of key₀ + Σ keyᵢ·wordᵢ modulo 2^64 is strongly universal, so that whoever does not know
/// the keys makes two chosen inputs collide with probability 2^-32, whatever the inputs are.
/// B4s choose their addresses and ports: the tables must not depend on their good will.
#[derive(Clone)]
pub(super) struct HashKey([u64; 7]);

impl HashKey {
    /// Hash of up to six words.
    #[inline]
    pub(super) fn hash<const N: usize>(&self, words: [u32; N]) -> u32 {
        const { assert!(N <= 6) }
        let mut sum = self.0[0];
        for (key, word) in self.0[1..].iter().zip(words) {
            sum = sum.wrapping_add(key.wrapping_mul(u64::from(word)));
        }
        (sum >> 32) as u32
    }

    /// Hash of a 128-bit address.
    #[inline]
    pub(super) fn hash_v6(&self, address: u128) -> u32 {
        self.hash([(address >> 96) as u32, (address >> 64) as u32, (address >> 32) as u32, address as u32])
    }
}

/// A secret function for numbers that leave on the wire: from those that somebody sees, no other one can be
/// computed. That is more than a table asks of [`HashKey`].
#[derive(Clone)]
pub(super) struct WireKey(SipHasher13);

impl WireKey {
    /// 64 bits that look random.
    pub(super) fn hash(&self, bytes: &[u8]) -> u64 {
        self.0.hash(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_stream_and_another_seed_another() {
        let draw = |seed| {
            let mut random = Random::new(&Seed::from_number(seed));
            (0..8).map(|_| random.below(512)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn sequential_keys_spread_over_all_buckets() {
        let key = Random::new(&Seed::from_number(1)).hash_key();
        let mut buckets = [0u32; 256];
        for port in 0..65536u32 {
            buckets[(key.hash([7, 0x0a00_0002, port]) >> 24) as usize] += 1;
        }
        // 256 are expected in each; a function without mixing leaves most of them empty.
        assert!(buckets.iter().all(|&count| (64..1024).contains(&count)), "{buckets:?}");
    }
}
