//! The Ethernet frames of a plan in one direction: headers made once for each flow, so that sending one is
//! two copies and a checksum.

use std::net::SocketAddrV4;
use std::time::Duration;

use zerocopy::IntoBytes;

use super::plan::{Access, Flow, Plan};
use super::probe::{self, ETHERNET, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Mark, Probe};
use crate::io::packet::Mac;
use crate::wire::checksum;
use crate::wire::ipv4::{self, Ipv4, protocol};
use crate::wire::ipv6::{self, Ipv6, next_header};
use crate::wire::udp::{self, Udp};

/// Ethernet, outer IPv6, IPv4, UDP.
const MOST_HEADERS: usize = ETHERNET + ipv6::HEADER + ipv4::HEADER + udp::HEADER;
const TTL: u8 = 64;

/// The two ends of a link, as a sender writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) from: Mac,
    pub(super) to: Mac,
}

/// Frames of every flow, in one direction.
pub(super) struct Frames {
    flows: Vec<Prepared>,
    headers: usize,
    /// What stands behind the probe.
    rest: Vec<u8>,
    mark: Mark,
}

struct Prepared {
    headers: [u8; MOST_HEADERS],
    /// Of everything that the UDP checksum covers but number, flow and time.
    sum: u32,
}

impl Frames {
    /// From the homes: inner packets of `size` octets, at least [`probe::SMALLEST`].
    pub(super) fn from_b4(plan: &Plan, hop: Hop, size: usize, mark: Mark) -> Frames {
        Frames::new(plan, size, mark, |_, flow| match (plan.access, flow.b4) {
            (Access::Softwires { aftr, .. }, Some(b4)) => {
                let outer = Ipv6::new(b4, aftr, next_header::IPV4, size as u16, TTL, 0, 0);
                (hop, Some(outer), flow.inside, flow.server)
            }
            _ => (hop, None, flow.inside, flow.server),
        })
    }

    /// From the servers, to where each flow is seen: `outside`, by flow number.
    pub(super) fn from_internet(
        plan: &Plan,
        hop: Hop,
        size: usize,
        mark: Mark,
        outside: &[SocketAddrV4],
    ) -> Frames {
        Frames::new(plan, size, mark, |number, flow| (hop, None, flow.server, outside[number as usize]))
    }

    fn new(
        plan: &Plan,
        size: usize,
        mark: Mark,
        parts: impl Fn(u32, Flow) -> (Hop, Option<Ipv6>, SocketAddrV4, SocketAddrV4),
    ) -> Frames {
        let rest = vec![0x5a; size.saturating_sub(probe::SMALLEST)];
        let fixed = checksum::sum(&rest) + u32::from(mark.0);
        let mut headers = 0;
        let flows = (0..plan.flows).map(|number| {
            let (hop, outer, from, to) = parts(number, plan.flow(number));
            let (prepared, length) = prepare(hop, outer, from, to, size, fixed);
            headers = length;
            prepared
        });
        Frames { flows: flows.collect(), headers, rest, mark }
    }

    /// Octets of a frame, without the check sequence.
    pub(super) fn length(&self) -> usize {
        self.headers + probe::LENGTH + self.rest.len()
    }

    /// Writes the frame of a flow into `buffer`, which is as long as a frame is.
    #[inline]
    pub(super) fn write(&self, buffer: &mut [u8], flow: u32, number: u32, sent: Duration) {
        let prepared = &self.flows[flow as usize];
        let (headers, payload) = buffer.split_at_mut(self.headers);
        headers.copy_from_slice(&prepared.headers[..self.headers]);
        let nanos = sent.as_nanos() as u64;
        let words = (nanos >> 48) + (nanos >> 32 & 0xffff) + (nanos >> 16 & 0xffff) + (nanos & 0xffff);
        let counted = (number >> 16) + (number & 0xffff) + (flow >> 16) + (flow & 0xffff);
        // RFC 768: a computed 0 is sent as 0xffff.
        let sum = match checksum::finish(fold(prepared.sum + counted + words as u32)) {
            0 => 0xffff,
            sum => sum,
        };
        headers[self.headers - 2..].copy_from_slice(&sum.to_be_bytes());
        payload[..probe::LENGTH].copy_from_slice(&Probe { number, flow, sent }.bytes(self.mark));
        payload[probe::LENGTH..].copy_from_slice(&self.rest);
    }
}

fn fold(sum: u32) -> u32 {
    (sum >> 16) + (sum & 0xffff)
}

fn prepare(
    hop: Hop,
    outer: Option<Ipv6>,
    from: SocketAddrV4,
    to: SocketAddrV4,
    size: usize,
    fixed: u32,
) -> (Prepared, usize) {
    let ether_type = if outer.is_some() { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 };
    let length = (size - ipv4::HEADER) as u16;
    let (source, destination) = (from.port().into(), to.port().into());
    let ports = Udp { source, destination, length: length.into(), checksum: 0.into() };
    let inner = Ipv4::new(protocol::UDP, *from.ip(), *to.ip(), size as u16, TTL, 0);
    let pseudo = checksum::pseudo_header_v4(*from.ip(), *to.ip(), length, protocol::UDP);
    let parts = [
        &hop.to[..],
        &hop.from,
        &ether_type.to_be_bytes(),
        outer.as_ref().map_or(&[], |outer| outer.as_bytes()),
        inner.as_bytes(),
        ports.as_bytes(),
    ]
    .concat();
    let mut headers = [0; MOST_HEADERS];
    headers[..parts.len()].copy_from_slice(&parts);
    (Prepared { headers, sum: fold(pseudo) + checksum::sum(ports.as_bytes()) + fixed }, parts.len())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    const HOP: Hop = Hop { from: [2, 0, 0, 0, 0, 1], to: [2, 0, 0, 0, 0, 2] };
    const MARK: Mark = Mark(0xabcd);

    fn plan() -> Plan {
        let b4s = "2001:db8:b4::/48".parse().unwrap();
        let access = Access::Softwires { aftr: "2001:db8:aaaa::1".parse().unwrap(), b4s };
        Plan { access, servers: "192.0.2.0/24".parse().unwrap(), first_b4: 0, b4s: 7, flows: 50 }
    }

    fn udp_sum(packet: &[u8]) -> u16 {
        let header = Ipv4::view(packet).unwrap();
        let datagram = &packet[ipv4::HEADER..];
        let length = datagram.len() as u16;
        let pseudo = checksum::pseudo_header_v4(header.source(), header.destination(), length, protocol::UDP);
        checksum::finish(pseudo + checksum::sum(datagram))
    }

    #[test]
    fn every_frame_has_right_checksums_and_the_probe_is_found_again() {
        for size in [46, 47, 1400] {
            let frames = Frames::from_b4(&plan(), HOP, size, MARK);
            assert_eq!(frames.length(), 54 + size);
            for flow in 0..50 {
                let mut frame = vec![0; frames.length()];
                let sent = Duration::new(1_800_000_000, 999_999_999);
                frames.write(&mut frame, flow, 0xffff_fff0 + flow % 16, sent);
                let inner = &frame[54..];
                assert_eq!((checksum::of(&inner[..20]), udp_sum(inner)), (0, 0), "size {size}, flow {flow}");
                let (probe, from) = probe::in_frame(&frame, MARK).unwrap();
                assert_eq!(probe, Probe { number: 0xffff_fff0 + flow % 16, flow, sent });
                assert_eq!(from, plan().flow(flow).inside);
                assert_eq!(probe::in_frame(&frame, Mark(1)), None);
                let outer = Ipv6::view(&frame[14..]).unwrap();
                assert_eq!(usize::from(outer.payload_length()), size);
                assert_eq!(Some(outer.source()), plan().flow(flow).b4);
                assert_ne!(outer.destination(), Ipv6Addr::UNSPECIFIED);
            }
        }
    }

    #[test]
    fn answers_go_to_where_a_flow_is_seen() {
        let outside: Vec<SocketAddrV4> =
            (0..50).map(|flow| SocketAddrV4::new([198, 51, 100, 1].into(), 2000 + flow)).collect();
        let frames = Frames::from_internet(&plan(), HOP, 46, MARK, &outside);
        let mut frame = vec![0; frames.length()];
        frames.write(&mut frame, 9, 1, Duration::ZERO);
        let header = Ipv4::view(&frame[14..]).unwrap();
        assert_eq!((header.destination(), header.source()), (*outside[9].ip(), *plan().flow(9).server.ip()));
        assert_eq!(frame[36..38], 2009u16.to_be_bytes());
        assert_eq!(udp_sum(&frame[14..]), 0);
    }
}
