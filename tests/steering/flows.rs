//! Flows of numbered packets: who owns them, and what of them came where.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use aftr::daemon::Netlink;
use aftr::io::Steering;
use aftr::io::sys::packet_ring::{RingSize, TransmitRing};
use aftr::wire::Side;
use aftr::wire::ipv4::Ipv4;
use aftr::wire::ipv6::Ipv6;
use zerocopy::IntoBytes;

pub(crate) const AFTR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xaaaa, 0, 0, 0, 0, 1);
/// Flows of either side, and packets of each.
pub(crate) const FLOWS: u16 = 50;
pub(crate) const EACH: u32 = 5;

/// How packets are divided among `workers`.
pub(crate) fn steering(workers: u16) -> Steering {
    Steering { key: 0x1234_5678, mask: 56, workers }
}

/// The function itself.
pub(crate) fn owner(steering: &Steering, packet: &[u8]) -> usize {
    let word = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().expect("four bytes"));
    let workers = u32::from(steering.workers);
    assert_eq!(steering.mask, 56);
    let owner = match packet[0] >> 4 {
        6 => {
            let x = (steering.key ^ word(8)).wrapping_mul(0x9e37_79b1);
            let x = (x ^ word(12) & 0xffff_ff00).wrapping_mul(0x9e37_79b1);
            ((x >> 16) * workers) >> 16
        }
        _ => word(16) % workers,
    };
    owner as usize
}

/// A softwire's packet whose source differs each time beyond the prefix, or a datagram from the Internet.
pub(crate) fn packet(side: Side, flow: u16, number: u32) -> Vec<u8> {
    let peer = Ipv4Addr::new(203, 0, 113, flow as u8);
    let inner = Ipv4::new(17, peer, Ipv4Addr::new(198, 51, 100, flow as u8), 34, 64, 0);
    let mut bytes = Vec::new();
    if side == Side::B4 {
        let source = 0x2001_0db8_00b4 << 80 | u128::from(flow) << 72 | u128::from(number) << 64 | 1;
        bytes.extend(Ipv6::new(Ipv6Addr::from_bits(source), AFTR, 4, 34, 64, 0, 0).as_bytes());
    }
    bytes.extend(inner.as_bytes());
    // UDP without a checksum.
    bytes.extend([0, 9, 0, 9, 0, 14, 0, 0]);
    bytes.extend(mark(flow, number));
    bytes
}

/// What a packet ends with.
pub(crate) fn mark(flow: u16, number: u32) -> Vec<u8> {
    [&flow.to_be_bytes()[..], &number.to_be_bytes()].concat()
}

/// All packets of all flows, one of each flow in turn.
pub(crate) fn all() -> impl Iterator<Item = (Side, Vec<u8>)> {
    let flows = (0..EACH).flat_map(|number| (0..FLOWS).map(move |flow| (flow, number)));
    flows.flat_map(|(flow, number)| [Side::B4, Side::Internet].map(|side| (side, packet(side, flow, number))))
}

/// What came of each flow, and to whom.
#[derive(Default)]
pub(crate) struct Arrivals {
    next: BTreeMap<(bool, u16), u32>,
    pub(crate) at: BTreeMap<usize, usize>,
}

impl Arrivals {
    /// False for what the kernel sends by itself. Each flow's packets must come once and in order.
    pub(crate) fn note(&mut self, worker: usize, packet: &[u8]) -> bool {
        let Some((flow, number)) = read_mark(packet) else { return false };
        let next = self.next.entry((packet[0] >> 4 == 6, flow)).or_default();
        assert_eq!(number, *next, "of flow {flow}");
        *next += 1;
        *self.at.entry(worker).or_default() += 1;
        true
    }

    pub(crate) fn count(&self) -> usize {
        self.at.values().sum()
    }
}

/// Flow and number of a packet, if it is one of ours.
pub(crate) fn read_mark(packet: &[u8]) -> Option<(u16, u32)> {
    let is_ours = match packet[0] >> 4 {
        6 => packet[6] == 4,
        4 => packet[9] == 17,
        _ => false,
    };
    let (rest, number) = packet.split_last_chunk().filter(|_| is_ours)?;
    Some((u16::from_be_bytes(*rest.last_chunk()?), u32::from_be_bytes(*number)))
}

/// Sends frames from one interface to that at the other end of its link.
pub(crate) struct Sender {
    ring: TransmitRing,
    to: [u8; 6],
}

impl Sender {
    pub(crate) fn new(from: &str, to: &str) -> Sender {
        let netlink = Netlink::open().expect("netlink");
        let number = netlink.link_index(from).expect("the interface");
        let to = netlink.link(to).expect("links").expect("the interface").mac.expect("an address");
        Sender { ring: TransmitRing::open(number, RingSize { frame: 1514, slots: 256 }).expect("a ring"), to }
    }

    pub(crate) fn send(&mut self, packet: &[u8]) {
        let protocol: u16 = if packet[0] >> 4 == 6 { 0x86dd } else { 0x0800 };
        let frame = [&self.to[..], &[2, 0, 0, 0, 0, 1], &protocol.to_be_bytes(), packet].concat();
        let room = self.ring.reserve().expect("a slot");
        room[..frame.len()].copy_from_slice(&frame);
        self.ring.commit(frame.len());
        self.ring.kick().expect("sent");
    }
}
