//! Rings of frames that the kernel and this process share (packet(7), `PACKET_MMAP`).
//!
//! Both are of the layout `TPACKET_V2`: a frame is handed over by itself, so that a reader who waits is woken
//! by the first one. The blocks of `TPACKET_V3` are handed over when they are full or a timer of at least a
//! millisecond ends.
//!
//! A word at the front of each frame says whose it is. It is read before the rest and written after it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::packet_socket::{self, Instruction, set};

/// What both rings have in front of a frame.
const HEADER: usize = size_of::<libc::tpacket2_hdr>();
/// Bytes of a `struct virtio_net_hdr`.
pub const OFFLOAD: usize = 10;
/// Bytes that the kernel may put between its header and a frame: a link-layer address (20), the offload
/// header (10), and what aligns the network header.
const OVERHEAD: usize = HEADER + 20 + OFFLOAD + 18;
/// Bytes of a block: contiguous for the kernel, and small enough to be had.
const BLOCK: usize = 1 << 16;

/// Frames that are brought near before their turn.
const AHEAD: usize = 4;

/// How large a ring is.
#[derive(Debug, Clone, Copy)]
pub struct RingSize {
    /// Longest frame that a slot takes, link-layer header included: at most 60,000 bytes.
    pub frame: usize,
    /// Number of slots, rounded up to whole blocks.
    pub slots: usize,
}

/// Frames that came.
pub struct ReceiveRing {
    socket: OwnedFd,
    memory: Memory,
    next: usize,
}

/// A frame in the ring, or its front.
#[derive(Debug)]
pub struct Frame<'r> {
    /// From the link-layer header on.
    pub bytes: &'r [u8],
    /// Length of the link-layer header.
    pub link_header: usize,
    /// What the sender left for the hardware to do: a `struct virtio_net_hdr`, whose offsets count from the
    /// front of the frame.
    pub offload: [u8; OFFLOAD],
    /// How much of it is there.
    pub extent: Extent,
}

/// How much of a frame its slot has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All.
    Whole,
    /// The front; all of it is what the next [`ReceiveRing::read_whole`] gives, which must be called.
    Queued,
    /// The front; the kernel had no memory to keep the rest.
    Cut,
}

impl ReceiveRing {
    /// Opens a ring of what comes to `interface` and `filter` accepts: frames of one EtherType, or all by
    /// `ETH_P_ALL`, which come before a filter at the interface's ingress drops them. What this host sends is
    /// left out.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_NET_RAW`; otherwise as the kernel says.
    pub fn open(
        interface: u32,
        protocol: u16,
        size: RingSize,
        filter: &[Instruction],
    ) -> io::Result<ReceiveRing> {
        let ring = ReceiveRing::open_unbound(size, filter)?;
        packet_socket::bind(ring.as_fd(), interface, protocol)?;
        Ok(ring)
    }

    /// Opens a ring that receives nothing until its socket is bound.
    ///
    /// # Errors
    /// As [`ReceiveRing::open`].
    pub fn open_unbound(size: RingSize, filter: &[Instruction]) -> io::Result<ReceiveRing> {
        let socket = packet_socket::open()?;
        packet_socket::set_filter(socket.as_fd(), filter)?;
        set(socket.as_fd(), libc::PACKET_VNET_HDR, &1i32)?;
        set(socket.as_fd(), libc::PACKET_IGNORE_OUTGOING, &1i32)?;
        // A frame that is larger than its slot is queued whole besides.
        set(socket.as_fd(), libc::PACKET_COPY_THRESH, &1i32)?;
        let memory = Memory::map(socket.as_fd(), libc::PACKET_RX_RING, size)?;
        Ok(ReceiveRing { socket, memory, next: 0 })
    }

    /// The oldest frame, until [`ReceiveRing::release`]; none when none waits.
    #[inline]
    pub fn next_frame(&mut self) -> Option<Frame<'_>> {
        let slot = self.memory.slot(self.next);
        let status = slot.status().load(Ordering::Acquire);
        if status & libc::TP_STATUS_USER == 0 {
            return None;
        }
        let header = slot.header();
        let (start, length) = (usize::from(header.tp_mac), header.tp_snaplen as usize);
        let ahead = self.next + AHEAD;
        self.memory
            .slot(if ahead < self.memory.slots { ahead } else { ahead - self.memory.slots })
            .prefetch();
        let offload = slot.bytes(start - OFFLOAD, OFFLOAD).first_chunk().copied();
        Some(Frame {
            bytes: slot.bytes(start, length),
            link_header: usize::from(header.tp_net - header.tp_mac),
            offload: offload.unwrap_or_default(),
            extent: if status & libc::TP_STATUS_COPY != 0 {
                Extent::Queued
            } else if header.tp_len > header.tp_snaplen {
                Extent::Cut
            } else {
                Extent::Whole
            },
        })
    }

    /// When the kernel put the frame of the last [`ReceiveRing::next_frame`] into the ring, since 1970.
    #[must_use]
    pub fn stamp(&self) -> Duration {
        let header = self.memory.slot(self.next).header();
        Duration::new(header.tp_sec.into(), header.tp_nsec)
    }

    /// Gives the slot of the last [`ReceiveRing::next_frame`] back.
    #[inline]
    pub fn release(&mut self) {
        let slot = self.memory.slot(self.next);
        if slot.status().load(Ordering::Relaxed) & libc::TP_STATUS_USER != 0 {
            slot.status().store(libc::TP_STATUS_KERNEL, Ordering::Release);
            self.next = self.memory.after(self.next);
        }
    }

    /// The oldest frame that did not fit into its slot, from the link-layer header on: its length, at most
    /// that of `buffer`; none when there is none.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn read_whole(&mut self, buffer: &mut [u8]) -> io::Result<Option<(usize, [u8; OFFLOAD])>> {
        let mut header = [0; OFFLOAD];
        let mut parts = [io::IoSliceMut::new(&mut header), io::IoSliceMut::new(buffer)];
        match rustix::io::readv(&self.socket, &mut parts) {
            Ok(length) => Ok(Some((length.saturating_sub(OFFLOAD), header))),
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Frames that found no free slot since the last call.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn take_losses(&self) -> io::Result<u64> {
        packet_socket::take_losses(self.as_fd())
    }

    /// A second handle of the ring's socket, for [`packet_socket::set_filter`].
    ///
    /// # Errors
    /// When there are too many descriptors.
    pub fn socket(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }
}

/// Readable when a frame waits.
impl AsFd for ReceiveRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Frames to be sent.
pub struct TransmitRing {
    socket: OwnedFd,
    memory: Memory,
    next: usize,
}

impl TransmitRing {
    /// Opens a ring of what goes to `interface`, past its queueing discipline.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_NET_RAW`; otherwise as the kernel says.
    pub fn open(interface: u32, size: RingSize) -> io::Result<TransmitRing> {
        let socket = packet_socket::open()?;
        set(socket.as_fd(), libc::PACKET_QDISC_BYPASS, &1i32)?;
        // Says how much of a frame is copied, which is all: of the rest the kernel would make page fragments,
        // and a veth would copy these into pages of their own, which costs twice as much as a small frame.
        set(socket.as_fd(), libc::PACKET_VNET_HDR, &1i32)?;
        // A frame that the interface cannot take is left out, and those behind it are sent.
        set(socket.as_fd(), libc::PACKET_LOSS, &1i32)?;
        let memory = Memory::map(socket.as_fd(), libc::PACKET_TX_RING, size)?;
        packet_socket::bind(socket.as_fd(), interface, 0)?;
        Ok(TransmitRing { socket, memory, next: 0 })
    }

    /// Room for a frame of up to [`RingSize::frame`] bytes, until [`TransmitRing::commit`]; none when all
    /// slots are on their way.
    #[inline]
    pub fn reserve(&mut self) -> Option<&mut [u8]> {
        let slot = self.memory.slot(self.next);
        let status = slot.status().load(Ordering::Acquire);
        let is_ours = status & (libc::TP_STATUS_SEND_REQUEST | libc::TP_STATUS_SENDING) == 0;
        is_ours.then(|| self.memory.room(self.next))
    }

    /// Hands the slot of the last [`TransmitRing::reserve`] over with the `length` bytes written there; they
    /// leave with the next [`TransmitRing::kick`].
    #[inline]
    pub fn commit(&mut self, length: usize) {
        let slot = self.memory.slot(self.next);
        let status = slot.status();
        if status.load(Ordering::Relaxed) & (libc::TP_STATUS_SEND_REQUEST | libc::TP_STATUS_SENDING) == 0 {
            slot.set_length(length);
            status.store(libc::TP_STATUS_SEND_REQUEST, Ordering::Release);
            self.next = self.memory.after(self.next);
        }
    }

    /// Sends what was committed. Some of it may still wait when this fails: it is sent by the next call.
    ///
    /// # Errors
    /// `ENOBUFS` when the interface is busy, `ENETDOWN` when it is down; otherwise as the kernel says.
    pub fn kick(&self) -> io::Result<()> {
        match rustix::net::send(&self.socket, &[], rustix::net::SendFlags::DONTWAIT) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for TransmitRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Slots in memory that is shared with the kernel.
struct Memory {
    start: NonNull<u8>,
    length: usize,
    slots: usize,
    slots_per_block: usize,
    slot_size: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is reached through its one owner.
unsafe impl Send for Memory {}

/// One slot; it is part of a [`Memory`] that outlives it.
#[derive(Clone, Copy)]
struct Slot<'m> {
    start: NonNull<u8>,
    size: usize,
    memory: std::marker::PhantomData<&'m Memory>,
}

impl Memory {
    fn map(socket: BorrowedFd<'_>, option: i32, size: RingSize) -> io::Result<Memory> {
        set(socket, libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V2 as i32))?;
        // An odd number of cache lines: the fronts of all slots then share no set of the cache.
        let slot_size = ((size.frame + OVERHEAD).div_ceil(64) | 1) * 64;
        let slots_per_block = BLOCK / slot_size;
        if slots_per_block == 0 || size.slots <= AHEAD {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let blocks = size.slots.div_ceil(slots_per_block);
        let slots = blocks * slots_per_block;
        let request = libc::tpacket_req {
            tp_block_size: BLOCK as u32,
            tp_block_nr: blocks as u32,
            tp_frame_size: slot_size as u32,
            tp_frame_nr: slots as u32,
        };
        set(socket, option, &request)?;
        let length = blocks * BLOCK;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, at a place of the kernel's choice.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), length, access, libc::MAP_SHARED, socket.as_raw_fd(), 0)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Memory { start, length, slots, slots_per_block, slot_size })
    }

    #[inline]
    fn after(&self, slot: usize) -> usize {
        if slot + 1 == self.slots { 0 } else { slot + 1 }
    }

    #[inline]
    fn slot(&self, number: usize) -> Slot<'_> {
        assert!(number < self.slots);
        let at = number / self.slots_per_block * BLOCK + number % self.slots_per_block * self.slot_size;
        // SAFETY: each of the `slots` lies whole inside the mapping of `length` bytes.
        let start = unsafe { self.start.add(at) };
        Slot { start, size: self.slot_size, memory: std::marker::PhantomData }
    }

    /// The part of a slot that a frame to be sent is written to.
    #[inline]
    fn room(&mut self, number: usize) -> &mut [u8] {
        let slot = self.slot(number);
        let front = HEADER + OFFLOAD;
        // SAFETY: inside the slot, which is this process's while its status says so; `self` is borrowed
        // mutably, so there is no other reference into it.
        unsafe { slice::from_raw_parts_mut(slot.start.add(front).as_ptr(), slot.size - front) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: unmaps what `map` mapped; no reference into it outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

impl<'m> Slot<'m> {
    #[inline]
    fn status(self) -> &'m AtomicU32 {
        // SAFETY: the first word of a slot, aligned because slots are multiples of 64 bytes in a page-aligned
        // mapping. Both sides access it as one word.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().cast()) }
    }

    /// Only while the slot is ours.
    #[inline]
    fn header(self) -> libc::tpacket2_hdr {
        // SAFETY: the kernel wrote a header there before it handed the slot over.
        unsafe { self.start.cast().read() }
    }

    /// Says how long the frame behind both headers is, and that all of it is to be copied. Only while the slot
    /// is ours.
    #[inline]
    fn set_length(self, length: usize) {
        let mut offload = [0; OFFLOAD];
        offload[2..4].copy_from_slice(&(length as u16).to_ne_bytes());
        let header: *mut libc::tpacket2_hdr = self.start.cast().as_ptr();
        // SAFETY: inside the slot, and nobody else reads it until its status changes.
        unsafe {
            (&raw mut (*header).tp_len).write((OFFLOAD + length) as u32);
            self.start.add(HEADER).cast::<[u8; OFFLOAD]>().write(offload);
        }
    }

    /// Brings the front of the slot near, whoever's it is.
    #[inline]
    fn prefetch(self) {
        #[cfg(target_arch = "x86_64")]
        for line in [0, 64, 128] {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a prefetch reads nothing that could be seen, and every slot has three lines.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(self.start.add(line).as_ptr().cast()) };
        }
    }

    /// Only while the slot is ours.
    #[inline]
    fn bytes(self, start: usize, length: usize) -> &'m [u8] {
        assert!(start <= self.size && length <= self.size - start);
        // SAFETY: inside the slot, which the kernel does not write to while it is ours.
        unsafe { slice::from_raw_parts(self.start.add(start).as_ptr(), length) }
    }
}
