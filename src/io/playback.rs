//! A capture as a device: what it holds is received as fast as the worker asks, and what the worker sends
//! is written to another capture, at the time of the packet received last.

use std::io::{self, Read, Write};
use std::time::Duration;

use super::device::{Device, DeviceCounters};
use super::pcap::{Reader, Writer};
use crate::wire::{Packet, Side};

/// A capture to receive from, and one to send to.
pub struct Playback<R, W> {
    from: Reader<R>,
    to: Writer<W>,
    time: Duration,
    counters: DeviceCounters,
}

impl<R: Read, W: Write> Playback<R, W> {
    /// Plays `from` and writes what is sent into `to`.
    pub fn new(from: Reader<R>, to: Writer<W>) -> Playback<R, W> {
        Playback { from, to, time: Duration::ZERO, counters: DeviceCounters::default() }
    }

    /// The time of the packet received last, from the capture's own clock.
    pub fn time(&self) -> Duration {
        self.time
    }
}

impl<R: Read, W: Write> Device for Playback<R, W> {
    fn kernel_routes(&self) -> bool {
        false
    }

    fn receive(&mut self, batch: &mut [Packet]) -> io::Result<usize> {
        let mut count = 0;
        while count < batch.len() {
            let Some(record) = self.from.next().transpose()? else { break };
            self.time = record.at;
            let side = match record.bytes.first().map(|first| first >> 4) {
                Some(6) => Side::B4,
                Some(4) => Side::Internet,
                _ => {
                    self.counters.not_ip += 1;
                    continue;
                }
            };
            let buffer = batch[count].receive_buffer();
            let length = record.bytes.len().min(buffer.len());
            buffer[..length].copy_from_slice(&record.bytes[..length]);
            batch[count].received(length, side);
            count += 1;
        }
        self.counters.received += count as u64;
        Ok(count)
    }

    fn send(&mut self, packet: &Packet, _to: Side) -> io::Result<()> {
        self.to.write(self.time, packet.bytes())?;
        self.counters.sent += 1;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    fn counters(&self) -> DeviceCounters {
        DeviceCounters { not_ip: self.counters.not_ip + self.from.not_ip, ..self.counters }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_captured_comes_in_and_what_is_sent_is_captured() {
        let mut capture = Vec::new();
        let mut writer = Writer::new(&mut capture).expect("a header");
        for (second, bytes) in [(1, &[0x60, 1][..]), (2, &[0x45, 2, 3]), (3, &[0xff])] {
            writer.write(Duration::from_secs(second), bytes).expect("a record");
        }
        let mut sent = Vec::new();
        let mut device = Playback::new(
            Reader::new(&capture[..]).expect("a capture"),
            Writer::new(&mut sent).expect("a header"),
        );
        let mut batch: Vec<Packet> = (0..8).map(|_| Packet::with_capacity(64)).collect();
        assert_eq!(device.receive(&mut batch).expect("records"), 2);
        assert_eq!(
            (batch[0].side, batch[1].side, batch[1].bytes()),
            (Side::B4, Side::Internet, &[0x45, 2, 3][..])
        );
        assert_eq!(device.counters().not_ip, 1);
        device.send(&batch[1], Side::Internet).expect("room");
        let records: Vec<_> = Reader::new(&sent[..])
            .expect("a capture")
            .map(|record| record.expect("a record").bytes)
            .collect();
        assert_eq!(records, [vec![0x45, 2, 3]]);
    }
}
