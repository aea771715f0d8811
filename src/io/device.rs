//! What a worker asks of a device.

use std::io;

use crate::wire::{Packet, Side};

/// Moves packets between the wire and buffers.
///
/// A worker owns its device, or its queue of one. It waits for several at once by the descriptors that
/// the adapters give by `AsFd`.
pub trait Device {
    /// Whether the kernel routes on both sides of this device, and so takes one from the inner TTL of
    /// what crosses.
    fn kernel_routes(&self) -> bool;

    /// Receives what is there, without waiting: fills the first packets of `batch`, sets the side of
    /// each, and says how many.
    ///
    /// # Errors
    /// When nothing can be received any more.
    fn receive(&mut self, batch: &mut [Packet]) -> io::Result<usize>;

    /// Sends a packet, or queues it until [`Device::flush`]. A queue that is full loses the packet, and
    /// counts it.
    ///
    /// # Errors
    /// When the packet cannot be sent for another reason.
    fn send(&mut self, packet: &Packet, to: Side) -> io::Result<()>;

    /// Sends what is queued.
    ///
    /// # Errors
    /// As [`Device::send`].
    fn flush(&mut self) -> io::Result<()>;

    /// What was counted since the start.
    fn counters(&self) -> DeviceCounters;
}

/// Packets of a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeviceCounters {
    /// Given to the worker.
    pub received: u64,
    /// Neither IPv4 nor IPv6: not given to the worker.
    pub not_ip: u64,
    /// Sent.
    pub sent: u64,
    /// Lost because a queue was full.
    pub send_dropped: u64,
}
