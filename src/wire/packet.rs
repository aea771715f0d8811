//! A packet in the buffer that it was received into.
//!
//! Headers are taken off and put on by moving the front of the packet, so nothing is copied:
//! in front of the bytes there is head room for an outer IPv6 header with a fragment header (48),
//! or for an ICMP error around the packet (28 + 40).

/// Free bytes in front of a received packet: 40 IPv6 + 8 fragment or option header + 28 ICMPv4 error,
/// rounded up to two cache lines.
pub const HEAD_ROOM: usize = 128;

/// The side of the AFTR that a packet came from or leaves to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The access network: IPv6, with IPv4 inside.
    B4,
    /// The Internet: IPv4.
    Internet,
}

/// One IP packet and the room in front of it.
#[derive(Clone)]
pub struct Packet {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Where it came from.
    pub side: Side,
    from_worker: bool,
}

impl Packet {
    /// An empty packet that can receive up to `size` bytes behind its head room.
    #[must_use]
    pub fn with_capacity(size: usize) -> Packet {
        Packet {
            buffer: vec![0; HEAD_ROOM + size].into_boxed_slice(),
            start: HEAD_ROOM,
            end: HEAD_ROOM,
            side: Side::B4,
            from_worker: false,
        }
    }

    /// A packet that holds a copy of `bytes`.
    #[must_use]
    pub fn copied_from(bytes: &[u8], side: Side) -> Packet {
        let mut packet = Packet::with_capacity(bytes.len());
        packet.receive_buffer()[..bytes.len()].copy_from_slice(bytes);
        packet.received(bytes.len(), side);
        packet
    }

    /// The whole room behind the head room, for a device to receive into.
    pub fn receive_buffer(&mut self) -> &mut [u8] {
        &mut self.buffer[HEAD_ROOM..]
    }

    /// Says that `length` bytes of [`Packet::receive_buffer`] now hold a packet.
    ///
    /// # Panics
    /// When `length` is more than the buffer holds.
    pub fn received(&mut self, length: usize, side: Side) {
        assert!(HEAD_ROOM + length <= self.buffer.len());
        self.start = HEAD_ROOM;
        self.end = HEAD_ROOM + length;
        self.side = side;
        self.from_worker = false;
    }

    /// Makes this a copy of `other`, its mark included, in its own buffer, or in a larger one when it must be.
    pub fn copy_from(&mut self, other: &Packet) {
        self.refill(other.len()).copy_from_slice(other.bytes());
        (self.side, self.from_worker) = (other.side, other.from_worker);
    }

    /// Says that another worker takes it from here, as a packet from `side` that has been counted.
    pub fn hand_over(&mut self, side: Side) {
        self.side = side;
        self.from_worker = true;
    }

    /// Whether another worker had it before.
    #[inline]
    #[must_use]
    pub fn is_from_worker(&self) -> bool {
        self.from_worker
    }

    /// Empties the packet and makes it `size` bytes long, whatever they are, in a larger buffer when it must
    /// be; gives them to be written.
    pub fn refill(&mut self, size: usize) -> &mut [u8] {
        if self.buffer.len() < HEAD_ROOM + size {
            self.buffer = vec![0; HEAD_ROOM + size].into_boxed_slice();
        }
        self.received(size, self.side);
        self.bytes_mut()
    }

    /// The packet's bytes.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// The packet's bytes, to be edited in place.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.end]
    }

    /// Length in bytes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Takes `count` bytes off the front.
    ///
    /// # Panics
    /// When the packet is shorter than that.
    #[inline]
    pub fn strip_front(&mut self, count: usize) {
        assert!(count <= self.len());
        self.start += count;
    }

    /// Makes room for `count` bytes in front, whose content is whatever stood there, and gives the
    /// whole packet.
    ///
    /// # Panics
    /// When the head room is used up.
    #[inline]
    pub fn push_front(&mut self, count: usize) -> &mut [u8] {
        assert!(count <= self.start, "head room used up");
        self.start -= count;
        self.bytes_mut()
    }

    /// Cuts the packet to `length` bytes; a shorter one stays as it is.
    #[inline]
    pub fn truncate(&mut self, length: usize) {
        self.end = self.end.min(self.start + length);
    }
}

impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packet from {:?}, {} bytes:", self.side, self.len())?;
        self.bytes().iter().try_for_each(|byte| write!(f, " {byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_taken_off_and_put_on_again_moves_no_bytes() {
        let mut packet = Packet::copied_from(&[1, 2, 3, 4, 5], Side::Internet);
        packet.strip_front(2);
        assert_eq!(packet.bytes(), [3, 4, 5]);
        packet.push_front(2);
        packet.truncate(4);
        assert_eq!(packet.bytes(), [1, 2, 3, 4]);
    }
}
