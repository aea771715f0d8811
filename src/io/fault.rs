//! A device on a bad day: packets are lost, doubled, swapped, cut short and damaged by chance, and the
//! same seed makes the same day.

use std::io;
use std::os::fd::BorrowedFd;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::device::{Device, DeviceCounters};
use crate::wire::{Packet, Side};

/// How often each fault happens, in thousandths of the packets received.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Lost.
    pub loss: u32,
    /// Given twice, when the batch has room.
    pub duplication: u32,
    /// Swapped with the packet before it in the batch.
    pub reordering: u32,
    /// Cut at a place by chance.
    pub truncation: u32,
    /// One bit flipped.
    pub damage: u32,
}

/// How often each fault happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FaultCounters {
    /// Lost.
    pub lost: u64,
    /// Given twice.
    pub duplicated: u64,
    /// Swapped.
    pub reordered: u64,
    /// Cut.
    pub truncated: u64,
    /// Damaged.
    pub damaged: u64,
}

/// A device with faults on its receiving side.
pub struct Fault<D> {
    device: D,
    faults: Faults,
    random: ChaCha8Rng,
    /// What happened so far.
    pub happened: FaultCounters,
}

impl<D> Fault<D> {
    /// Gives `device` the `faults` that `seed` makes.
    pub fn new(device: D, faults: Faults, seed: u64) -> Fault<D> {
        Fault { device, faults, random: ChaCha8Rng::seed_from_u64(seed), happened: FaultCounters::default() }
    }

    fn happens(&mut self, thousandths: u32) -> bool {
        thousandths > 0 && self.random.next_u32() % 1000 < thousandths
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random.next_u32() as usize % bound.max(1)
    }

    fn damage(&mut self, packet: &mut Packet) {
        if self.happens(self.faults.truncation) {
            let length = self.below(packet.len());
            packet.truncate(length);
            self.happened.truncated += 1;
        }
        if self.happens(self.faults.damage) && !packet.is_empty() {
            let at = self.below(packet.len());
            packet.bytes_mut()[at] ^= 1 << self.below(8);
            self.happened.damaged += 1;
        }
    }
}

impl<D: Device> Device for Fault<D> {
    fn kernel_routes(&self) -> bool {
        self.device.kernel_routes()
    }

    fn other_descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.device.other_descriptor()
    }

    fn receive(&mut self, batch: &mut [Packet]) -> io::Result<usize> {
        let mut count = self.device.receive(batch)?;
        let mut at = 0;
        while at < count {
            if self.happens(self.faults.loss) {
                batch[at..count].rotate_left(1);
                count -= 1;
                self.happened.lost += 1;
                continue;
            }
            if self.happens(self.faults.duplication) && count < batch.len() {
                batch[count] = batch[at].clone();
                count += 1;
                self.happened.duplicated += 1;
            }
            if at > 0 && self.happens(self.faults.reordering) {
                batch.swap(at - 1, at);
                self.happened.reordered += 1;
            }
            self.damage(&mut batch[at]);
            at += 1;
        }
        Ok(count)
    }

    fn send(&mut self, packet: &Packet, to: Side) -> io::Result<()> {
        self.device.send(packet, to)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.device.flush()
    }

    fn counters(&self) -> DeviceCounters {
        self.device.counters()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Memory;

    fn day(seed: u64) -> (Vec<Vec<u8>>, FaultCounters) {
        let mut memory = Memory::default();
        (0..200u8).for_each(|number| memory.inject(&[0x45, number, 1, 2, 3, 4], Side::Internet));
        let faults = Faults { loss: 100, duplication: 100, reordering: 100, truncation: 100, damage: 100 };
        let mut device = Fault::new(memory, faults, seed);
        let mut batch: Vec<Packet> = (0..16).map(|_| Packet::with_capacity(16)).collect();
        let mut seen = Vec::new();
        for _ in 0..20 {
            let count = device.receive(&mut batch).expect("memory");
            seen.extend(batch[..count].iter().map(|packet| packet.bytes().to_vec()));
        }
        (seen, device.happened)
    }

    #[test]
    fn a_seed_makes_the_same_day_and_every_fault_happens() {
        assert_eq!(day(1), day(1));
        assert_ne!(day(1), day(2));
        let (seen, happened) = day(1);
        let each =
            [happened.lost, happened.duplicated, happened.reordered, happened.truncated, happened.damaged];
        assert!(each.iter().all(|&count| count > 0), "{happened:?}");
        assert_eq!(seen.len() as u64, 200 - happened.lost + happened.duplicated);
    }
}
