//! A tun interface: the kernel routes both sides to it, and IP packets come and go one at a time.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::device::{Device, DeviceCounters};
use super::sys;
use crate::wire::{Packet, Side};

/// One queue of a tun interface.
pub struct Tun {
    queue: OwnedFd,
    counters: DeviceCounters,
}

impl Tun {
    /// Makes the interface in the network namespace of the calling thread, with one queue. It is gone
    /// when the queue is closed.
    ///
    /// # Errors
    /// `NotFound` without `/dev/net/tun`, `PermissionDenied` without access to it or without
    /// `CAP_NET_ADMIN`, `ResourceBusy` when the interface exists, `InvalidInput` for a name that no
    /// interface can have.
    pub fn open(name: &str) -> io::Result<Tun> {
        let queue = sys::tun::open(name, false)?;
        Ok(Tun { queue, counters: DeviceCounters::default() })
    }

    /// Makes the interface with `count` queues, one for each worker. The kernel spreads flows over them.
    ///
    /// # Errors
    /// As [`Tun::open`].
    pub fn open_queues(name: &str, count: usize) -> io::Result<Vec<Tun>> {
        let open =
            |_| sys::tun::open(name, true).map(|queue| Tun { queue, counters: DeviceCounters::default() });
        (0..count).map(open).collect()
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

impl Device for Tun {
    fn kernel_routes(&self) -> bool {
        true
    }

    fn receive(&mut self, batch: &mut [Packet]) -> io::Result<usize> {
        let mut count = 0;
        while count < batch.len() {
            let length = match rustix::io::read(&self.queue, batch[count].receive_buffer()) {
                Ok(length) => length,
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR) => continue,
                // What was received already must not be lost: the error comes again.
                Err(_) if count > 0 => break,
                Err(error) => return Err(error.into()),
            };
            let side = match batch[count].receive_buffer()[0] >> 4 {
                6 => Side::B4,
                4 => Side::Internet,
                _ => {
                    self.counters.not_ip += 1;
                    continue;
                }
            };
            batch[count].received(length, side);
            count += 1;
        }
        self.counters.received += count as u64;
        Ok(count)
    }

    fn send(&mut self, packet: &Packet, _to: Side) -> io::Result<()> {
        match rustix::io::write(&self.queue, packet.bytes()) {
            Ok(_) => self.counters.sent += 1,
            Err(error) => {
                let error = io::Error::from(error);
                let is_full = matches!(error.kind(), ErrorKind::WouldBlock)
                    || error.raw_os_error() == Some(libc::ENOBUFS);
                if !is_full {
                    return Err(error);
                }
                self.counters.send_dropped += 1;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn counters(&self) -> DeviceCounters {
        self.counters
    }
}
