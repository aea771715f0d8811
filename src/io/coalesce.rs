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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::io::traffic::{self, Flow, complete, verify};
    use crate::io::vnet_header::SegmentKind;

    /// Frames that were written: what they stand for, and how many packets that is said to be.
    #[derive(Default)]
    struct Written(Vec<(Vec<Vec<u8>>, u16)>);

    impl Written {
        fn take(&mut self, frame: Frame<'_>) {
            let (header, packet) = frame.bytes.split_first_chunk().expect("a header");
            let packets = match VnetHeader::read(header).segments {
                None => {
                    assert_eq!(*header, [0; VnetHeader::LENGTH]);
                    vec![packet.to_vec()]
                }
                Some(segments) => {
                    check_partial_checksum(header, packet);
                    traffic::cut(packet, segments).expect("a large packet")
                }
            };
            assert_eq!(packets.len(), usize::from(frame.packets));
            self.0.push((packets, frame.packets));
        }

        fn sizes(&self) -> Vec<u16> {
            self.0.iter().map(|(_, packets)| *packets).collect()
        }

        fn packets(self) -> Vec<Vec<u8>> {
            self.0.into_iter().flat_map(|(packets, _)| packets).collect()
        }
    }

    /// What the kernel adds up behind the field must make it right.
    fn check_partial_checksum(header: &[u8; VnetHeader::LENGTH], packet: &[u8]) {
        let read = VnetHeader::read(header);
        let (start, offset) = read.checksum.expect("a checksum that is left to the kernel");
        let segments = read.segments.expect("segments");
        assert_eq!((segments.kind, start, offset), (SegmentKind::Tcp4, 20, 16));
        let mut whole = packet.to_vec();
        assert!(crate::io::vnet_header::complete_checksum(&mut whole, start, offset));
        verify(&whole);
    }

    fn write_all(packets: &[Vec<u8>]) -> Written {
        let (mut coalescer, mut written) = (Coalescer::new(), Written::default());
        packets.iter().for_each(|packet| coalescer.push(packet, &mut |frame| written.take(frame)));
        coalescer.flush(&mut |frame| written.take(frame));
        written
    }

    #[test]
    fn a_run_becomes_one_packet_that_is_cut_into_the_same_run() {
        for dont_fragment in [true, false] {
            for options in [vec![], Flow::default().options] {
                let mut flow = Flow { dont_fragment, options, identification: 0xfffe, ..Flow::default() };
                flow.sequence = u32::MAX - 5000;
                let mut run: Vec<_> = (0..9).map(|_| flow.send(flag::ACK | flag::ECE, 1400)).collect();
                run.push(flow.send(flag::ACK | flag::ECE | flag::PSH | flag::FIN, 3));
                let written = write_all(&run);
                assert_eq!(written.sizes(), [10]);
                assert_eq!(written.packets(), run);
            }
        }
    }

    #[test]
    fn a_packet_never_grows_larger_than_ipv4_allows() {
        let mut flow = Flow::default();
        let run: Vec<_> = (0..100).map(|_| flow.send(flag::ACK, 1448)).collect();
        let written = write_all(&run);
        assert_eq!(written.sizes(), [45, 45, 10]);
        assert_eq!(written.packets(), run);
    }

    #[test]
    fn one_that_is_shorter_or_pushed_ends_the_packet() {
        for (flags, length) in [(flag::ACK, 99), (flag::ACK | flag::PSH, 100), (flag::ACK | flag::FIN, 100)] {
            let mut flow = Flow::default();
            let mut run = vec![flow.send(flag::ACK, 100), flow.send(flags, length)];
            run.extend([flow.send(flag::ACK, 100), flow.send(flag::ACK, 100)]);
            let written = write_all(&run);
            assert_eq!(written.sizes(), [2, 2]);
            assert_eq!(written.packets(), run);
        }
    }

    /// RFC 6864 section 4.1: the identification of what must not be fragmented means nothing.
    #[test]
    fn rfc_6864_an_identification_that_stands_still_is_counted_up_only_with_df() {
        for (dont_fragment, sizes) in [(true, vec![3]), (false, vec![1, 1, 1])] {
            let mut flow = Flow { dont_fragment, ..Flow::default() };
            let mut send = || {
                flow.identification = 0;
                flow.send(flag::ACK, 100)
            };
            let run = [send(), send(), send()];
            let written = write_all(&run);
            assert_eq!(written.sizes(), sizes);
            for (number, (packet, sent)) in written.packets().into_iter().zip(run).enumerate() {
                verify(&packet);
                let mut expected = sent;
                expected[5] = if dont_fragment { number as u8 } else { 0 };
                complete(&mut expected);
                assert_eq!(packet, expected);
            }
        }
    }

    #[test]
    fn what_differs_is_not_put_together() {
        type Change = fn(&mut Vec<u8>);
        let changes: &[(&str, Change)] = &[
            ("TOS", |packet| packet[1] = 4),
            ("TTL", |packet| packet[8] = 1),
            ("DF", |packet| packet[6] = 0),
            ("a reserved bit", |packet| packet[6] |= 0x80),
            ("an identification that jumps", |packet| packet[5] = 200),
            ("a later sequence", |packet| packet[27] ^= 0x80),
            ("acknowledgement", |packet| packet[31] = 78),
            ("window", |packet| packet[34] = 9),
            ("no ACK", |packet| packet[33] = 0),
            ("SYN", |packet| packet[33] |= flag::SYN),
            ("RST", |packet| packet[33] |= flag::RST),
            ("URG", |packet| packet[33] |= flag::URG),
            ("CWR", |packet| packet[33] |= flag::CWR),
            ("ECE", |packet| packet[33] |= flag::ECE),
            ("a reserved flag", |packet| packet[32] |= 1),
            ("an urgent pointer", |packet| packet[39] = 1),
            ("a timestamp", |packet| packet[47] = 9),
            ("fewer options", |packet| packet[32] = 0x70),
        ];
        for (what, change) in changes {
            let mut flow = Flow::default();
            let mut run: Vec<_> = (0..3).map(|_| flow.send(flag::ACK, 100)).collect();
            change(&mut run[1]);
            complete(&mut run[1]);
            let written = write_all(&run);
            assert_eq!(written.sizes(), [1, 1, 1], "{what}");
            assert_eq!(written.packets(), run, "{what}");
        }
    }

    #[test]
    fn a_longer_one_is_not_appended() {
        let mut flow = Flow::default();
        let run = [flow.send(flag::ACK, 100), flow.send(flag::ACK, 101), flow.send(flag::ACK, 101)];
        let written = write_all(&run);
        assert_eq!(written.sizes(), [1, 2]);
        assert_eq!(written.packets(), run);
    }

    #[test]
    fn what_is_damaged_stays_damaged() {
        for (at, damaged, sizes) in
            [(60, 0, vec![1, 3]), (60, 1, vec![1, 1, 2]), (60, 3, vec![3, 1]), (10, 1, vec![1, 1, 2])]
        {
            let mut flow = Flow::default();
            let mut run: Vec<_> = (0..4).map(|_| flow.send(flag::ACK, 100)).collect();
            run[damaged][at] ^= 1;
            let written = write_all(&run);
            assert_eq!(written.sizes(), sizes, "octet {at} of packet {damaged}");
            assert_eq!(written.packets(), run, "octet {at} of packet {damaged}");
        }
    }

    #[test]
    fn what_is_too_short_or_lies_about_its_length_passes_as_it_is() {
        let whole = Flow::default().packet(flag::ACK, 100);
        let mut longer = whole.clone();
        longer.push(0);
        let mut packets = vec![longer, Vec::new()];
        packets.extend((1..whole.len()).map(|length| whole[..length].to_vec()));
        assert_eq!(write_all(&packets).packets(), packets);
    }

    #[test]
    fn what_is_open_leaves_before_a_fragment() {
        let mut flow = Flow::default();
        let data = flow.send(flag::ACK, 100);
        let mut fragment = flow.send(flag::ACK, 100);
        fragment[6] = 0x20;
        complete(&mut fragment);
        let packets = [data, fragment, traffic::udp(10)];
        assert_eq!(write_all(&packets).packets(), packets);
    }

    /// A packet of a random story: of which flow, what it is like, and its payload.
    type Step = (u16, u8, usize);

    fn tell(steps: &[Step]) -> Vec<Vec<u8>> {
        let mut flows: BTreeMap<u16, Flow> = BTreeMap::new();
        let mut packets = Vec::new();
        for &(number, kind, payload) in steps {
            let new = Flow { source_port: 1000 + number, dont_fragment: number % 2 == 0, ..Flow::default() };
            let flow = flows.entry(number).or_insert(new);
            match kind {
                // Mostly a stream of full packets.
                0..=9 => packets.push(flow.send(flag::ACK, 1000)),
                10 => packets.push(flow.send(flag::ACK | flag::PSH, payload)),
                11 => packets.push(flow.send(flag::ACK, payload)),
                12 => packets.push(flow.send(flag::ACK, 0)),
                13 => flow.acknowledgement += 1000,
                14 => flow.sequence = flow.sequence.wrapping_sub(1000),
                15 => flow.sequence = flow.sequence.wrapping_add(1000),
                16 => packets.push(flow.send([flag::SYN, flag::RST, flag::FIN][payload % 3], payload % 2)),
                17 => packets.push(traffic::udp(payload)),
                18 => {
                    let mut damaged = flow.send(flag::ACK, 1000);
                    damaged[payload % 1040] ^= 0x10;
                    packets.push(damaged);
                }
                _ => flow.ttl ^= 1,
            }
        }
        packets
    }

    proptest! {
        /// Nothing is lost, nothing made up, no octet changed, and each flow is in its order.
        #[test]
        fn any_story_is_told_again_flow_by_flow(
            steps in proptest::collection::vec((0u16..24, 0u8..20, 1usize..1400), 0..300),
            few in proptest::collection::vec((0u16..2, 0u8..20, 1usize..1400), 0..300),
        ) {
            for steps in [steps, few] {
                let packets = tell(&steps);
                let by_flow = |packets: Vec<Vec<u8>>| {
                    let mut flows: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
                    for packet in packets {
                        flows.entry([&packet[9..10], &packet[12..24]].concat()).or_default().push(packet);
                    }
                    flows
                };
                prop_assert!(by_flow(write_all(&packets).packets()) == by_flow(packets));
            }
        }
    }
}
