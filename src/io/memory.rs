//! A device that is two queues: for tests, and for whoever carries packets by hand.

use std::collections::VecDeque;
use std::io;

use super::device::{Device, DeviceCounters};
use crate::wire::{Packet, Side};

/// Packets that wait to be received, and those that were sent.
#[derive(Default)]
pub struct Memory {
    waiting: VecDeque<(Vec<u8>, Side)>,
    /// What was sent, the oldest first.
    pub sent: VecDeque<(Vec<u8>, Side)>,
    counters: DeviceCounters,
}

impl Memory {
    /// Puts a packet where the next [`Device::receive`] finds it.
    pub fn inject(&mut self, bytes: &[u8], from: Side) {
        self.waiting.push_back((bytes.to_vec(), from));
    }
}

impl Device for Memory {
    fn kernel_routes(&self) -> bool {
        false
    }

    fn receive(&mut self, batch: &mut [Packet]) -> io::Result<usize> {
        let mut count = 0;
        for packet in batch {
            let Some((bytes, side)) = self.waiting.pop_front() else { break };
            packet.receive_buffer()[..bytes.len()].copy_from_slice(&bytes);
            packet.received(bytes.len(), side);
            count += 1;
        }
        self.counters.received += count as u64;
        Ok(count)
    }

    fn send(&mut self, packet: &Packet, to: Side) -> io::Result<()> {
        self.sent.push_back((packet.bytes().to_vec(), to));
        self.counters.sent += 1;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn counters(&self) -> DeviceCounters {
        self.counters
    }
}
