//! A tun interface: the kernel routes both sides to it, and IP packets come and go.
//!
//! With offload the kernel hands over, and takes, what its TCP sends at once: packets of up to 64 KB. The
//! engine sees none of them. What comes from the Internet is cut before it ([`Segmenter`]), what goes there
//! is put together behind it ([`Coalescer`]). Softwires have no such packets: the kernel cannot leave the
//! cutting of IPv4 in IPv6 to a tun, nor take it from one.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::coalesce::{Coalescer, Frame};
use super::device::{Device, DeviceCounters};
use super::napi;
use super::segment::Segmenter;
use super::steering::Steering;
use super::sys::{self, bpf, tun::Granted};
use super::vnet_header::{VnetHeader, complete_checksum};
use crate::wire::{Packet, Side};

/// The largest IP packet, but jumbograms, which no tun has.
const LARGEST_PACKET: usize = 65535;

/// One queue of a tun interface.
pub struct Tun {
    queue: OwnedFd,
    granted: Granted,
    offload: Option<Offload>,
    counters: DeviceCounters,
}

/// All queues of a tun interface.
pub struct Queues {
    /// In the order of the workers.
    pub queues: Vec<Tun>,
    /// Why packets come to other queues than those of their owners, by [`bpf::load`] or [`sys::tun::steer`];
    /// none when the kernel steers, or nobody asked it to.
    pub not_steered: Option<io::Error>,
}

struct Offload {
    /// What was read last: a [`VnetHeader`], then a packet.
    inbox: Vec<u8>,
    /// Octets of the packet in the inbox, and where its cutting stands when the batch was full.
    pending: Option<(usize, Segmenter)>,
    coalescer: Coalescer,
}

impl Tun {
    /// Makes the interface in the network namespace of the calling thread, with one queue. It is gone
    /// when the queue is closed.
    ///
    /// With `offload`, large packets are moved as one where the kernel can; without, or where it cannot,
    /// one at a time.
    ///
    /// # Errors
    /// `NotFound` without `/dev/net/tun`, `PermissionDenied` without access to it or without
    /// `CAP_NET_ADMIN`, `ResourceBusy` when the interface exists, `InvalidInput` for a name that no
    /// interface can have.
    pub fn open(name: &str, offload: bool) -> io::Result<Tun> {
        let mut queues = open_all(name, 1, offload)?;
        queues.pop().ok_or_else(|| ErrorKind::InvalidInput.into())
    }

    fn attach(name: &str, several_queues: bool, granted: Granted) -> io::Result<Tun> {
        let queue = sys::tun::open(name, several_queues, granted)?;
        let offload = (granted != Granted::SinglePackets).then(Offload::new);
        Ok(Tun { queue, granted, offload, counters: DeviceCounters::default() })
    }

    /// Makes the interface with `count` queues, one for each worker, in their order. With `steering` packets come
    /// to the queue of their owner, if this process may tell the kernel; otherwise the kernel spreads flows
    /// as it likes, those inside softwires, too.
    ///
    /// # Errors
    /// As [`Tun::open`]; `InvalidInput` when `steering` is for another number of workers.
    pub fn open_queues(
        name: &str,
        count: usize,
        offload: bool,
        steering: Option<Steering>,
    ) -> io::Result<Queues> {
        if steering.is_some_and(|steering| usize::from(steering.workers) != count) {
            return Err(ErrorKind::InvalidInput.into());
        }
        let queues = open_all(name, count, offload)?;
        let steering = steering.filter(|_| count > 1);
        let steered = match (&queues[..], steering) {
            ([first, ..], Some(steering)) => first.steer(&steering),
            _ => Ok(()),
        };
        Ok(Queues { queues, not_steered: steered.err() })
    }

    fn steer(&self, steering: &Steering) -> io::Result<()> {
        let program = bpf::load(&steering.extended())?;
        sys::tun::steer(self.as_fd(), program.as_fd())
    }

    /// What the kernel granted.
    #[must_use]
    pub fn granted(&self) -> Granted {
        self.granted
    }
}

/// All queues of an interface can do the same: the most that the kernel grants. It refuses what it does not
/// know in many words, so whatever is wrong, less is tried; what is wrong with the name or with us comes again.
fn open_all(name: &str, count: usize, offload: bool) -> io::Result<Vec<Tun>> {
    let all = |what| {
        let queues: Vec<Tun> =
            (0..count).map(|_| Tun::attach(name, count > 1, what)).collect::<Result<_, _>>()?;
        if what == Granted::LargePacketsAndThreads {
            napi::give_threads(name)?;
        }
        Ok(queues)
    };
    if !offload {
        return all(Granted::SinglePackets);
    }
    all(Granted::LargePacketsAndThreads)
        .or_else(|_: io::Error| all(Granted::LargePackets))
        .or_else(|_| all(Granted::SinglePackets))
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
            let packet = &mut batch[count];
            let received = match &mut self.offload {
                Some(offload) => offload.receive(&self.queue, packet, &mut self.counters),
                None => receive_plain(&self.queue, packet, &mut self.counters),
            };
            match received {
                Ok(true) => count += 1,
                Ok(false) => {}
                Err(rustix::io::Errno::AGAIN) => break,
                // What was received already must not be lost: the error comes again.
                Err(_) if count > 0 => break,
                Err(error) => return Err(error.into()),
            }
        }
        self.counters.received += count as u64;
        Ok(count)
    }

    fn send(&mut self, packet: &Packet, to: Side) -> io::Result<()> {
        let Tun { queue, offload, counters, .. } = self;
        let Some(Offload { coalescer, .. }) = offload else {
            return write(queue, packet.bytes(), 1, counters);
        };
        let mut result = Ok(());
        let mut write = |frame: Frame<'_>| {
            let written = write(queue, frame.bytes, frame.packets, counters);
            result = std::mem::replace(&mut result, Ok(())).and(written);
        };
        match to {
            Side::Internet => coalescer.push(packet.bytes(), &mut write),
            Side::B4 => coalescer.pass(packet.bytes(), &mut write),
        }
        result
    }

    fn flush(&mut self) -> io::Result<()> {
        let Tun { queue, offload: Some(Offload { coalescer, .. }), counters, .. } = self else {
            return Ok(());
        };
        let mut result = Ok(());
        coalescer.flush(&mut |frame| {
            let written = write(queue, frame.bytes, frame.packets, counters);
            result = std::mem::replace(&mut result, Ok(())).and(written);
        });
        result
    }

    fn counters(&self) -> DeviceCounters {
        self.counters
    }
}

impl Offload {
    fn new() -> Offload {
        let inbox = vec![0; VnetHeader::LENGTH + LARGEST_PACKET];
        Offload { inbox, pending: None, coalescer: Coalescer::new() }
    }

    /// Fills `into` with the next segment of what was read, or with what is read now. False when there was
    /// nothing of use.
    fn receive(
        &mut self,
        queue: &OwnedFd,
        into: &mut Packet,
        counters: &mut DeviceCounters,
    ) -> rustix::io::Result<bool> {
        if self.pending.is_some() {
            return Ok(self.next_segment(into));
        }
        let length = match rustix::io::read(queue, &mut self.inbox[..]) {
            Ok(length) => length,
            Err(rustix::io::Errno::INTR) => return Ok(false),
            Err(error) => return Err(error),
        };
        let Some((header, packet)) = self.inbox[..length].split_first_chunk_mut() else { return Ok(false) };
        let header = VnetHeader::read(header);
        let Some(side) = side_of(packet) else {
            counters.not_ip += 1;
            return Ok(false);
        };
        if let Some(segments) = header.segments {
            let Some(segmenter) = Segmenter::new(packet, segments) else {
                counters.not_ip += 1;
                return Ok(false);
            };
            self.pending = Some((packet.len(), segmenter));
            return Ok(self.next_segment(into));
        }
        if let Some((start, offset)) = header.checksum {
            complete_checksum(packet, start, offset);
        }
        into.receive_buffer()[..packet.len()].copy_from_slice(packet);
        into.received(packet.len(), side);
        Ok(true)
    }

    fn next_segment(&mut self, into: &mut Packet) -> bool {
        let Some((length, segmenter)) = &mut self.pending else { return false };
        let packet = &self.inbox[VnetHeader::LENGTH..][..*length];
        match segmenter.next(packet, into.receive_buffer()) {
            Some(length) => into.received(length, Side::Internet),
            None => self.pending = None,
        }
        self.pending.is_some()
    }
}

fn receive_plain(
    queue: &OwnedFd,
    into: &mut Packet,
    counters: &mut DeviceCounters,
) -> rustix::io::Result<bool> {
    let length = match rustix::io::read(queue, into.receive_buffer()) {
        Ok(length) => length,
        Err(rustix::io::Errno::INTR) => return Ok(false),
        Err(error) => return Err(error),
    };
    let Some(side) = side_of(into.receive_buffer()) else {
        counters.not_ip += 1;
        return Ok(false);
    };
    into.received(length, side);
    Ok(true)
}

/// Where a packet comes from: softwires are IPv6, the Internet is IPv4.
#[inline]
fn side_of(packet: &[u8]) -> Option<Side> {
    match packet.first()? >> 4 {
        6 => Some(Side::B4),
        4 => Some(Side::Internet),
        _ => None,
    }
}

/// Writes what stands for `packets`. A full queue is counted; of what cannot be sent for another reason,
/// the caller counts one.
#[inline]
fn write(queue: &OwnedFd, bytes: &[u8], packets: u16, counters: &mut DeviceCounters) -> io::Result<()> {
    let packets = u64::from(packets);
    match rustix::io::write(queue, bytes) {
        Ok(_) => counters.sent += packets,
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::NOBUFS) => counters.send_dropped += packets,
        Err(error) => {
            counters.send_dropped += packets - 1;
            return Err(error.into());
        }
    }
    Ok(())
}
