//! A device that writes down what passes: every packet that it gives and takes, with the time that the
//! caller's clock shows.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::device::{Device, DeviceCounters};
use crate::wire::{Packet, Side};

/// A device, and a record of what passes through it. A record that fails does not stop the packets: it
/// is counted.
pub struct Capture<D, R> {
    device: D,
    record: R,
    /// Packets that could not be written down.
    pub unrecorded: u64,
}

impl<D, R: FnMut(&[u8]) -> io::Result<()>> Capture<D, R> {
    /// Hands what passes through `device` to `record`: most often a [`Writer`](super::pcap::Writer) and a
    /// clock.
    pub fn new(device: D, record: R) -> Capture<D, R> {
        Capture { device, record, unrecorded: 0 }
    }

    /// The device and the record.
    pub fn into_parts(self) -> (D, R) {
        (self.device, self.record)
    }

    fn note(&mut self, packet: &[u8]) {
        self.unrecorded += u64::from((self.record)(packet).is_err());
    }
}

impl<D: AsFd, R> AsFd for Capture<D, R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl<D: Device, R: FnMut(&[u8]) -> io::Result<()>> Device for Capture<D, R> {
    fn kernel_routes(&self) -> bool {
        self.device.kernel_routes()
    }

    fn other_descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.device.other_descriptor()
    }

    fn receive(&mut self, batch: &mut [Packet]) -> io::Result<usize> {
        let count = self.device.receive(batch)?;
        batch[..count].iter().for_each(|packet| self.note(packet.bytes()));
        Ok(count)
    }

    fn send(&mut self, packet: &Packet, to: Side) -> io::Result<()> {
        self.note(packet.bytes());
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

    #[test]
    fn what_comes_and_goes_is_written_down_in_order_and_a_full_disk_stops_nothing() {
        let mut lines = Vec::new();
        let mut memory = Memory::default();
        memory.inject(&[0x45, 1], Side::Internet);
        memory.inject(&[0x45, 1, 2], Side::Internet);
        let mut device = Capture::new(memory, |packet: &[u8]| {
            lines.push(packet.to_vec());
            if packet.len() == 3 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        });
        let mut batch = [Packet::with_capacity(64), Packet::with_capacity(64), Packet::with_capacity(64)];
        assert_eq!(device.receive(&mut batch).expect("memory"), 2);
        device.send(&Packet::copied_from(&[0x60], Side::B4), Side::B4).expect("memory");
        assert_eq!(device.unrecorded, 1);
        let (memory, _) = device.into_parts();
        assert_eq!(lines, [vec![0x45, 1], vec![0x45, 1, 2], vec![0x60]]);
        assert_eq!(memory.sent.len(), 1);
    }
}
