//! The device: rings at one or two interfaces, and the way to the neighbours.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::large::Large;
use super::link::{ETHERNET, Link, Port};
use super::next_hops::{Cache, Hop, Mac, Neighbour, NextHops, Published};
use crate::io::device::{Device, DeviceCounters};
use crate::io::steering::Steering;
use crate::io::sys::packet_ring::{Extent, Frame};
use crate::io::vnet_header::{VnetHeader, complete_checksum};
use crate::wire::{Packet, Side};

/// Packets that may wait until their neighbour is known.
const MOST_WAITING: usize = 128;
/// Rounds that a packet waits for its neighbour at most: the kernel asks for three seconds.
const PATIENCE: u64 = 1;
/// Octets of the largest packet that local senders and GRO make.
const LARGEST: usize = 1 << 17;

/// What a device asks of whoever speaks to the kernel: the link-layer address of a neighbour. A request that
/// finds no room is asked again with the next publication.
pub type Wanted = tokio::sync::mpsc::Sender<Neighbour>;

/// Rings at the interface of the B4s and at that of the Internet, which may be the same.
pub struct PacketDevice {
    links: Vec<Link>,
    published: Arc<Published>,
    number: u64,
    next_hops: Arc<NextHops>,
    wanted: Wanted,
    cache: [Cache; 2],
    waiting: VecDeque<Waiting>,
    large: Large,
    buffer: Vec<u8>,
    first: usize,
    counters: DeviceCounters,
    receive_dropped: Cell<u64>,
}

/// A packet whose neighbour is not known yet.
struct Waiting {
    bytes: Box<[u8]>,
    to: Side,
    /// The last round of [`NextHops`] that it waits for.
    until: u64,
}

impl PacketDevice {
    /// Opens the rings, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_NET_RAW`, `InvalidInput` for more prefixes than a filter takes;
    /// otherwise as the kernel says.
    pub fn open(
        b4: &Port,
        internet: &Port,
        published: Arc<Published>,
        wanted: Wanted,
    ) -> io::Result<PacketDevice> {
        let mut links = vec![Link::open(b4)?];
        if b4 != internet {
            links.push(Link::open(internet)?);
        }
        PacketDevice::of(links, published, wanted)
    }

    /// Opens `count` devices at the same interfaces, one for each worker, in their order. Each frame comes to
    /// one of them: that of its owner, or where the kernel does not steer ([`PacketDevice::not_steered`]) the
    /// first.
    ///
    /// # Errors
    /// As [`PacketDevice::open`]; `InvalidInput` unless `steering` is for `count` workers.
    pub fn open_all(
        b4: &Port,
        internet: &Port,
        published: &Arc<Published>,
        wanted: &Wanted,
        steering: Steering,
        count: usize,
    ) -> io::Result<Vec<PacketDevice>> {
        if usize::from(steering.workers) != count {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if count == 1 {
            return Ok(vec![PacketDevice::open(b4, internet, Arc::clone(published), wanted.clone())?]);
        }
        let first = Link::open_all(b4, steering)?;
        let mut second = if b4 == internet { Vec::new() } else { Link::open_all(internet, steering)? };
        let mut second = second.drain(..);
        first
            .into_iter()
            .map(|link| {
                let links = std::iter::once(link).chain(second.next()).collect();
                PacketDevice::of(links, Arc::clone(published), wanted.clone())
            })
            .collect()
    }

    fn of(links: Vec<Link>, published: Arc<Published>, wanted: Wanted) -> io::Result<PacketDevice> {
        let (number, next_hops) = (published.number(), published.current());
        let mut device = PacketDevice {
            links,
            published,
            number,
            next_hops,
            wanted,
            cache: [Cache::new(), Cache::new()],
            waiting: VecDeque::new(),
            large: Large::none(),
            buffer: vec![0; LARGEST],
            first: 0,
            counters: DeviceCounters::default(),
            receive_dropped: Cell::new(0),
        };
        device.take_next_hops()?;
        Ok(device)
    }

    /// The sockets of the receive rings, in the order of the ports, for a filter that changes: it must be set
    /// at those of every worker.
    ///
    /// # Errors
    /// When there are too many descriptors.
    pub fn sockets(&self) -> io::Result<Vec<OwnedFd>> {
        self.links.iter().map(|link| link.receive.socket()).collect()
    }

    /// Why the first worker receives what belongs to this one; none when the kernel steers, or nobody asked it
    /// to.
    #[must_use]
    pub fn not_steered(&self) -> Option<&io::Error> {
        self.links.iter().find_map(|link| link.not_steered.as_ref())
    }

    fn receive_from(&mut self, at: usize, batch: &mut [Packet]) -> io::Result<usize> {
        let mut count = 0;
        while count < batch.len() {
            if self.large.next(&mut batch[count]) {
                count += 1;
                continue;
            }
            let ring = &mut self.links[at].receive;
            let Some(frame) = ring.next_frame() else { break };
            let extent = frame.extent;
            let taken = match extent {
                Extent::Whole => take(&frame, &mut batch[count], &mut self.large),
                Extent::Queued | Extent::Cut => Taken::Nothing,
            };
            let link_header = frame.link_header;
            ring.release();
            let taken = if extent == Extent::Queued {
                self.take_queued(at, link_header, &mut batch[count])?
            } else {
                taken
            };
            match taken {
                Taken::Packet => count += 1,
                Taken::Large => {}
                Taken::Nothing => self.counters.unusable += 1,
            }
        }
        Ok(count)
    }

    /// Takes a frame that did not fit into its slot.
    #[cold]
    fn take_queued(&mut self, at: usize, link_header: usize, packet: &mut Packet) -> io::Result<Taken> {
        let ring = &mut self.links[at].receive;
        let Some((length, offload)) = ring.read_whole(&mut self.buffer)? else { return Ok(Taken::Nothing) };
        let frame = Frame { bytes: &self.buffer[..length], link_header, offload, extent: Extent::Whole };
        Ok(take(&frame, packet, &mut self.large))
    }

    /// Nothing came: perhaps because an interface is down. The error says so once, and the descriptor is
    /// ready until it was read.
    fn forget_errors(&mut self) {
        for link in &self.links {
            let _ = rustix::net::sockopt::socket_error(link.receive.as_fd());
        }
    }

    fn link_to(&self, side: Side) -> usize {
        match side {
            Side::B4 => 0,
            Side::Internet => self.links.len() - 1,
        }
    }

    #[inline]
    fn way(&mut self, packet: &[u8], to: Side) -> Option<Way> {
        let destination = match to {
            Side::B4 => u128::from_be_bytes(*packet.get(24..)?.first_chunk()?),
            Side::Internet => u32::from_be_bytes(*packet.get(16..)?.first_chunk()?).into(),
        };
        match self.cache[usize::from(to == Side::Internet)].get(destination) {
            Some(Some(mac)) => Some(Way::To(mac)),
            Some(None) => Some(Way::Unknown),
            None => Some(self.look_up(destination, to)),
        }
    }

    #[cold]
    fn look_up(&mut self, destination: u128, to: Side) -> Way {
        let address = match to {
            Side::B4 => IpAddr::V6(Ipv6Addr::from_bits(destination)),
            Side::Internet => IpAddr::V4(Ipv4Addr::from_bits(destination as u32)),
        };
        let interface = self.links[self.link_to(to)].interface;
        let (way, mac) = match self.next_hops.find(interface, address) {
            Hop::Known(mac) => (Way::To(mac), Some(mac)),
            Hop::None => return Way::None,
            Hop::Unresolved(neighbour) => {
                if self.wanted.try_send(neighbour).is_err() {
                    return Way::Unknown;
                }
                (Way::Unknown, None)
            }
        };
        self.cache[usize::from(to == Side::Internet)].put(destination, mac);
        way
    }

    #[inline]
    fn transmit(&mut self, packet: &[u8], to: Side, neighbour: Mac) {
        let at = self.link_to(to);
        let link = &mut self.links[at];
        if packet.len() > link.room {
            self.counters.unusable += 1;
            return;
        }
        let Some(room) = link.transmit.reserve() else {
            self.counters.send_dropped += 1;
            return;
        };
        room[..6].copy_from_slice(&neighbour);
        room[6..12].copy_from_slice(&link.own);
        let protocol = match to {
            Side::B4 => libc::ETH_P_IPV6,
            Side::Internet => libc::ETH_P_IP,
        };
        room[12..14].copy_from_slice(&(protocol as u16).to_be_bytes());
        room[ETHERNET..ETHERNET + packet.len()].copy_from_slice(packet);
        link.transmit.commit(ETHERNET + packet.len());
        link.is_unsent = true;
        self.counters.sent += 1;
    }

    /// Keeps a packet until its neighbour is known. The oldest makes room.
    #[cold]
    fn keep(&mut self, packet: &[u8], to: Side, until: u64) {
        if self.waiting.len() == MOST_WAITING {
            self.waiting.pop_front();
            self.counters.unresolved += 1;
        }
        self.waiting.push_back(Waiting { bytes: packet.into(), to, until });
    }

    #[cold]
    fn take_next_hops(&mut self) -> io::Result<()> {
        self.number = self.published.number();
        self.next_hops = self.published.current();
        self.cache.iter_mut().for_each(Cache::clear);
        for link in &mut self.links {
            let own = self.next_hops.own.get(&link.interface).copied();
            link.own = own.ok_or_else(|| {
                let why = format!("the interface of number {} is gone", link.interface);
                io::Error::new(io::ErrorKind::NotFound, why)
            })?;
        }
        for waiting in std::mem::take(&mut self.waiting) {
            match self.way(&waiting.bytes, waiting.to) {
                Some(Way::To(mac)) => self.transmit(&waiting.bytes, waiting.to, mac),
                Some(Way::Unknown) if waiting.until >= self.next_hops.round => {
                    self.waiting.push_back(waiting)
                }
                Some(Way::Unknown) => self.counters.unresolved += 1,
                Some(Way::None) | None => self.counters.unroutable += 1,
            }
        }
        Ok(())
    }
}

/// How a packet goes on.
enum Way {
    To(Mac),
    /// The neighbour was asked for.
    Unknown,
    None,
}

/// What became of a frame.
enum Taken {
    Packet,
    /// It is cut by and by.
    Large,
    Nothing,
}

/// Copies a packet out of its frame, and completes what was left to the hardware.
#[inline]
fn take(frame: &Frame<'_>, packet: &mut Packet, large: &mut Large) -> Taken {
    let bytes = &frame.bytes[frame.link_header.min(frame.bytes.len())..];
    let side = match bytes.first().map(|first| first >> 4) {
        Some(6) => Side::B4,
        Some(4) => Side::Internet,
        _ => return Taken::Nothing,
    };
    let offload = VnetHeader::read(&frame.offload);
    if let Some(segments) = offload.segments {
        return if large.take(bytes, segments) { Taken::Large } else { Taken::Nothing };
    }
    let Some(buffer) = packet.receive_buffer().get_mut(..bytes.len()) else { return Taken::Nothing };
    buffer.copy_from_slice(bytes);
    if let Some((start, field)) = offload.checksum {
        let start = usize::from(start).checked_sub(frame.link_header);
        if !start.is_some_and(|start| complete_checksum(buffer, start as u16, field)) {
            return Taken::Nothing;
        }
    }
    packet.received(bytes.len(), side);
    Taken::Packet
}

impl AsFd for PacketDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.links[0].receive.as_fd()
    }
}

impl Device for PacketDevice {
    fn kernel_routes(&self) -> bool {
        false
    }

    fn other_descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.links.get(1).map(|link| link.receive.as_fd())
    }

    fn receive(&mut self, batch: &mut [Packet]) -> io::Result<usize> {
        // Each interface is the first one in turn: neither can keep the other waiting.
        let mut count = 0;
        for turn in 0..self.links.len() {
            let at = (self.first + turn) % self.links.len();
            count += self.receive_from(at, &mut batch[count..])?;
        }
        self.first = (self.first + 1) % self.links.len();
        if count == 0 {
            self.forget_errors();
        }
        self.counters.received += count as u64;
        Ok(count)
    }

    #[inline]
    fn send(&mut self, packet: &Packet, to: Side) -> io::Result<()> {
        match self.way(packet.bytes(), to) {
            Some(Way::To(mac)) => self.transmit(packet.bytes(), to, mac),
            Some(Way::Unknown) => self.keep(packet.bytes(), to, self.next_hops.round + PATIENCE),
            Some(Way::None) | None => self.counters.unroutable += 1,
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.number != self.published.number() {
            self.take_next_hops()?;
        }
        self.links.iter_mut().filter(|link| link.is_unsent).try_for_each(Link::flush)
    }

    fn counters(&self) -> DeviceCounters {
        let lost = self.links.iter().map(|link| link.receive.take_losses().unwrap_or(0)).sum::<u64>();
        self.receive_dropped.set(self.receive_dropped.get() + lost);
        DeviceCounters { receive_dropped: self.receive_dropped.get(), ..self.counters }
    }
}
