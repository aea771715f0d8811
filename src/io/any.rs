//! The device that the configuration names.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::device::{Device, DeviceCounters};
use super::packet::PacketDevice;
use super::tun::Tun;
use crate::wire::{Packet, Side};

/// One of the devices that a daemon can have.
pub enum AnyDevice {
    /// A queue of a tun interface.
    Tun(Box<Tun>),
    /// Rings at Ethernet interfaces.
    Packet(Box<PacketDevice>),
}

impl AsFd for AnyDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            AnyDevice::Tun(tun) => tun.as_fd(),
            AnyDevice::Packet(packet) => packet.as_fd(),
        }
    }
}

impl Device for AnyDevice {
    fn kernel_routes(&self) -> bool {
        match self {
            AnyDevice::Tun(tun) => tun.kernel_routes(),
            AnyDevice::Packet(packet) => packet.kernel_routes(),
        }
    }

    fn other_descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            AnyDevice::Tun(tun) => tun.other_descriptor(),
            AnyDevice::Packet(packet) => packet.other_descriptor(),
        }
    }

    fn receive(&mut self, batch: &mut [Packet]) -> io::Result<usize> {
        match self {
            AnyDevice::Tun(tun) => tun.receive(batch),
            AnyDevice::Packet(packet) => packet.receive(batch),
        }
    }

    #[inline]
    fn send(&mut self, packet: &Packet, to: Side) -> io::Result<()> {
        match self {
            AnyDevice::Tun(tun) => tun.send(packet, to),
            AnyDevice::Packet(device) => device.send(packet, to),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            AnyDevice::Tun(tun) => tun.flush(),
            AnyDevice::Packet(packet) => packet.flush(),
        }
    }

    fn counters(&self) -> DeviceCounters {
        match self {
            AnyDevice::Tun(tun) => tun.counters(),
            AnyDevice::Packet(packet) => packet.counters(),
        }
    }
}
