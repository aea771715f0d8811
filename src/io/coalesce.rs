//! Coalescing: TCP packets of one flow that leave one after the other become one large packet, which the
//! kernel carries as one and cuts again where it must (GSO). The rules are those of Linux's GRO: what is
//! cut again is what came, octet for octet.
//!
//! A packet is appended when everything but its place in the stream is that of the packets before it: the
//! flow, TOS, TTL, acknowledgement, window, flags and options. A shorter one, or one with PSH or FIN, is the last.
//! Whatever else belongs to an open flow is written behind it, so a flow is never reordered.
//!
//! One difference is allowed: the identification of packets that must not be fragmented. It means nothing
//! (RFC 6864 section 4.1), and senders that always write the same have it counted up by the kernel.

use super::vnet_header::VnetHeader;
use crate::wire::checksum;
use crate::wire::ipv4::{HEADER, Ipv4, protocol};
use crate::wire::tcp::{self, Tcp, flag};

/// Flows that are open at a time. A batch has 64 packets: more flows than these have few packets each.
const FLOWS: usize = 16;
/// What an IPv4 header can say.
const LONGEST: usize = 65535;
/// Where the TCP header is: what has IPv4 options is left alone.
const TCP_AT: usize = HEADER;

/// The flows that packets may be appended to.
pub(super) struct Coalescer {
    /// What is looked through for each packet, so it is kept together.
    keys: [FlowKey; FLOWS],
    flows: Vec<Flow>,
    open: usize,
    /// The next to be closed when there is no room.
    oldest: usize,
    single: Vec<u8>,
}

/// What is given to the kernel in one write: a header for it, and a packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    /// The [`VnetHeader`], then the packet.
    pub(super) bytes: &'a [u8],
    /// Packets that it stands for.
    pub(super) packets: u16,
}

impl Coalescer {
    pub(super) fn new() -> Coalescer {
        Coalescer {
            keys: [FlowKey::NONE; FLOWS],
            flows: (0..FLOWS).map(|_| Flow::new()).collect(),
            open: 0,
            oldest: 0,
            single: vec![0; VnetHeader::LENGTH],
        }
    }

    /// Takes an IPv4 packet; gives what is to be written now to `write`, in this order.
    #[inline]
    pub(super) fn push(&mut self, packet: &[u8], write: &mut impl FnMut(Frame<'_>)) {
        let Some(ip) = Ipv4::view(packet) else { return self.pass(packet, write) };
        if ip.protocol() != protocol::TCP {
            return self.pass(packet, write);
        }
        if ip.is_fragment() || ip.header_length() != HEADER {
            // Which flow it is of is not to be seen where it is expected.
            self.flush(write);
            return self.pass(packet, write);
        }
        self.push_tcp(packet, write);
    }

    fn push_tcp(&mut self, packet: &[u8], write: &mut impl FnMut(Frame<'_>)) {
        let key = FlowKey::of(packet);
        let segment = Segment::of(packet);
        let found = if self.open == 0 { None } else { self.keys.iter().position(|&other| other == key) };
        if let Some(at) = found {
            let appended = segment.is_some_and(|segment| self.flows[at].append(packet, segment));
            if appended && !self.flows[at].is_complete {
                return;
            }
            self.close(at, write);
            if appended {
                return;
            }
        }
        match segment.filter(|segment| !segment.is_last) {
            Some(segment) if key != FlowKey::NONE => {
                let at = found.unwrap_or_else(|| self.make_room(write));
                self.keys[at] = key;
                self.open += 1;
                self.flows[at].begin(packet, segment);
            }
            _ => self.pass(packet, write),
        }
    }

    /// Gives all that is open to `write`.
    pub(super) fn flush(&mut self, write: &mut impl FnMut(Frame<'_>)) {
        if self.open > 0 {
            for at in 0..FLOWS {
                self.close(at, write);
            }
        }
    }

    fn make_room(&mut self, write: &mut impl FnMut(Frame<'_>)) -> usize {
        if self.open < FLOWS
            && let Some(free) = self.keys.iter().position(|&key| key == FlowKey::NONE)
        {
            return free;
        }
        let at = self.oldest;
        self.oldest = (self.oldest + 1) % FLOWS;
        self.close(at, write);
        at
    }

    fn close(&mut self, at: usize, write: &mut impl FnMut(Frame<'_>)) {
        if self.keys[at] != FlowKey::NONE {
            self.keys[at] = FlowKey::NONE;
            self.open -= 1;
            write(self.flows[at].finish());
        }
    }

    /// Gives a packet that is nothing but itself to `write`: of any kind, and of no open flow.
    #[inline]
    pub(super) fn pass(&mut self, packet: &[u8], write: &mut impl FnMut(Frame<'_>)) {
        self.single.truncate(VnetHeader::LENGTH);
        self.single.extend_from_slice(packet);
        write(Frame { bytes: &self.single, packets: 1 });
    }
}

/// Addresses and ports as they stand in the packet.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FlowKey(u64, u32);

impl FlowKey {
    /// No flow: nobody sends from 0.0.0.0.
    const NONE: FlowKey = FlowKey(0, 0);

    /// Of a packet without IPv4 options. What is too short for ports has [`FlowKey::NONE`].
    #[inline]
    fn of(packet: &[u8]) -> FlowKey {
        let Some((key, _)) = packet.get(12..).and_then(<[u8]>::split_first_chunk::<12>) else {
            return FlowKey::NONE;
        };
        let (addresses, ports) = key.split_at(8);
        let addresses = addresses.try_into().map_or(0, u64::from_ne_bytes);
        FlowKey(addresses, ports.try_into().map_or(0, u32::from_ne_bytes))
    }
}

/// What is asked of a packet that something is appended to, or that is appended.
#[derive(Debug, Clone, Copy)]
struct Segment {
    /// Octets of headers.
    headers: usize,
    /// Octets of payload: some.
    payload: usize,
    sequence: u32,
    /// Nothing may follow.
    is_last: bool,
}

impl Segment {
    /// None for what is neither: without payload, with flags that belong to one packet, or with lengths
    /// that are not those of the packet.
    #[inline]
    fn of(packet: &[u8]) -> Option<Segment> {
        const MAY_BE_SET: u8 = flag::ACK | flag::PSH | flag::FIN | flag::ECE;
        let tcp = Tcp::view(packet.get(TCP_AT..)?)?;
        let headers = TCP_AT + tcp.header_length();
        let is_plain = tcp.flags & !MAY_BE_SET == 0 && tcp.flags & flag::ACK != 0;
        let is_whole = usize::from(Ipv4::view(packet)?.total_length()) == packet.len();
        let has_payload = tcp.header_length() >= tcp::HEADER && headers < packet.len();
        (is_plain && is_whole && has_payload).then(|| Segment {
            headers,
            payload: packet.len() - headers,
            sequence: tcp.sequence.get(),
            is_last: tcp.flags & (flag::PSH | flag::FIN) != 0,
        })
    }
}

/// A packet that may grow.
struct Flow {
    /// Room for the [`VnetHeader`], then the packet; lengths and checksums are those of its first piece.
    buffer: Vec<u8>,
    /// Octets of the packet.
    length: usize,
    headers: usize,
    /// Octets of payload in each piece but the last.
    size: usize,
    packets: u16,
    next_sequence: u32,
    /// Nothing more may be appended.
    is_complete: bool,
    /// What the first piece is known to be.
    first: First,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    /// Its checksums have not been looked at.
    Unknown,
    /// Whole. With two pieces it is seen how identifications go on.
    Whole,
    /// A checksum is wrong: nothing may be appended, or the receiver would see a right one.
    Damaged,
}

impl Flow {
    /// Pages that no packet has reached cost nothing.
    fn new() -> Flow {
        Flow {
            buffer: vec![0; VnetHeader::LENGTH + LONGEST],
            length: 0,
            headers: 0,
            size: 0,
            packets: 0,
            next_sequence: 0,
            is_complete: false,
            first: First::Unknown,
        }
    }

    fn begin(&mut self, packet: &[u8], segment: Segment) {
        self.buffer[VnetHeader::LENGTH..][..packet.len()].copy_from_slice(packet);
        self.length = packet.len();
        self.headers = segment.headers;
        self.size = segment.payload;
        self.packets = 1;
        self.next_sequence = segment.sequence.wrapping_add(segment.payload as u32);
        self.is_complete = false;
        self.first = First::Unknown;
    }

    /// Whether the packet was appended.
    fn append(&mut self, packet: &[u8], segment: Segment) -> bool {
        let follows = segment.sequence == self.next_sequence
            && segment.headers == self.headers
            && segment.payload <= self.size
            && self.length + segment.payload <= LONGEST
            && self.has_the_headers_of(packet, segment)
            && self.is_whole()
            && is_whole(packet);
        if !follows {
            return false;
        }
        let end = VnetHeader::LENGTH + self.length;
        self.buffer[end..end + segment.payload].copy_from_slice(&packet[segment.headers..]);
        self.length += segment.payload;
        self.packets += 1;
        self.next_sequence = self.next_sequence.wrapping_add(segment.payload as u32);
        self.is_complete = segment.is_last || segment.payload < self.size;
        // Only the last may have them: so they are those of the whole.
        self.packet_mut()[TCP_AT + 13] |= packet[TCP_AT + 13];
        true
    }

    /// Everything but lengths, checksums, sequence, PSH and FIN; the flow is known to be the same.
    fn has_the_headers_of(&self, packet: &[u8], segment: Segment) -> bool {
        const ENDS: u8 = flag::PSH | flag::FIN;
        let first = &self.buffer[VnetHeader::LENGTH..][..self.headers];
        let tcp = TCP_AT;
        let same = |range: std::ops::Range<usize>| first[range.clone()] == packet[range];
        // Version and TOS; DF and the reserved bit; TTL and protocol.
        same(0..2)
            && same(6..10)
            && same(tcp + 8..tcp + 13)
            && first[tcp + 13] == packet[tcp + 13] & !ENDS
            && same(tcp + 14..tcp + 16)
            && same(tcp + 18..segment.headers)
            && self.identification_goes_on(packet)
    }

    /// Counts up by one; or, where it means nothing, always is the same.
    fn identification_goes_on(&self, packet: &[u8]) -> bool {
        let (Some(first), Some(next)) = (Ipv4::view(self.packet()), Ipv4::view(packet)) else { return false };
        let (first_number, number) = (first.identification(), next.identification());
        number == first_number.wrapping_add(self.packets) || (first.dont_fragment() && number == first_number)
    }

    fn is_whole(&mut self) -> bool {
        if self.first == First::Unknown {
            self.first = if is_whole(self.packet()) { First::Whole } else { First::Damaged };
        }
        self.first == First::Whole
    }

    /// Lengths, checksums and the kernel's header for what it has become.
    fn finish(&mut self) -> Frame<'_> {
        let packets = self.packets;
        let bytes = &mut self.buffer[..VnetHeader::LENGTH + self.length];
        let Some((vnet, packet)) = bytes.split_first_chunk_mut::<{ VnetHeader::LENGTH }>() else {
            return Frame { bytes, packets };
        };
        vnet.fill(0);
        if packets > 1 {
            VnetHeader::write_tcp4(vnet, self.headers as u16, self.size as u16);
            complete_headers(packet);
        }
        Frame { bytes, packets }
    }

    fn packet(&self) -> &[u8] {
        &self.buffer[VnetHeader::LENGTH..][..self.length]
    }

    fn packet_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[VnetHeader::LENGTH..][..self.length]
    }
}

/// Whether both checksums of a TCP packet without IPv4 options are right.
fn is_whole(packet: &[u8]) -> bool {
    let (ip, tcp) = packet.split_at(TCP_AT);
    checksum::of(ip) == 0 && checksum::finish(pseudo_header(packet) + checksum::sum(tcp)) == 0
}

/// The IPv4 length and checksum, and the sum of the pseudo-header, which the kernel goes on from.
fn complete_headers(packet: &mut [u8]) {
    let length = packet.len() as u16;
    if let Some(ip) = Ipv4::view_mut(packet) {
        ip.set_total_length(length);
    }
    let partial = !checksum::finish(pseudo_header(packet));
    packet[TCP_AT + 16..TCP_AT + 18].copy_from_slice(&partial.to_be_bytes());
}

fn pseudo_header(packet: &[u8]) -> u32 {
    Ipv4::view(packet).map_or(0, |ip| {
        let length = (packet.len() - TCP_AT) as u16;
        checksum::pseudo_header_v4(ip.source(), ip.destination(), length, protocol::TCP)
    })
}
