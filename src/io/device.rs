//! What a worker asks of a device.

use std::io;
use std::os::fd::BorrowedFd;

use crate::wire::{Packet, Side};

/// Moves packets between the wire and buffers.
///
/// A worker owns its device, or its queue of one. It waits for several at once by the descriptors that
/// the adapters give by `AsFd`.
pub trait Device {
    /// Whether the kernel routes on both sides of this device, and so takes one from the inner TTL of
    /// what crosses.
    fn kernel_routes(&self) -> bool;

    /// Another descriptor that is readable when something can be received, of a device that has two: `AsFd`
    /// gives the first.
    fn other_descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

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
    /// Came while the worker's queue was full; of a device whose queue is its own.
    pub receive_dropped: u64,
    /// Not given to the worker, or not sent: cut short, larger than the interface takes, or marked for work
    /// that cannot be done here.
    pub unusable: u64,
    /// Not sent: no route by the interface leads to the destination.
    pub unroutable: u64,
    /// Not sent: the next hop does not say its link-layer address.
    pub unresolved: u64,
}

impl DeviceCounters {
    /// Those of two devices.
    #[must_use]
    pub fn plus(&self, other: &DeviceCounters) -> DeviceCounters {
        DeviceCounters {
            received: self.received + other.received,
            not_ip: self.not_ip + other.not_ip,
            sent: self.sent + other.sent,
            send_dropped: self.send_dropped + other.send_dropped,
            receive_dropped: self.receive_dropped + other.receive_dropped,
            unusable: self.unusable + other.unusable,
            unroutable: self.unroutable + other.unroutable,
            unresolved: self.unresolved + other.unresolved,
        }
    }
}
