//! Into the softwire: the outer IPv6 header of RFC 2473 section 3.1.

use aftr_config::{Dscp, Ecn, FlowLabel};

use crate::engine::aftr::Aftr;
use crate::engine::softwire::Tunnel;
use crate::wire::Packet;
use crate::wire::ipv4::{self, Ipv4, protocol};
use crate::wire::ipv6::{self, Ipv6, next_header};
use zerocopy::IntoBytes;

/// A destination options header that carries a Tunnel Encapsulation Limit of 4 (RFC 2473 section 5.1).
const ENCAPSULATION_LIMIT: [u8; 8] = [next_header::IPV4, 0, 4, 1, 4, 1, 1, 0];

/// What an IPv6 header can announce.
const MOST_PAYLOAD: usize = 65_535;

impl Aftr {
    /// The tunnel of an open softwire: from the address that its B4 used last (RFC 6334).
    #[inline]
    pub(in crate::engine) fn tunnel_of(&self, softwire: u32) -> Tunnel {
        let record = &self.softwires.slab[softwire];
        Tunnel { b4: record.b4, aftr: record.aftr, softwire: Some(softwire) }
    }

    /// Puts the outer header around an inner packet.
    #[inline(always)]
    pub(in crate::engine) fn encapsulate(&self, packet: &mut Packet, tunnel: &Tunnel) {
        let config = &self.settings.config.softwire;
        let tos = Ipv4::view(packet.bytes()).map_or(0, Ipv4::tos);
        let dscp = match config.dscp {
            Dscp::Uniform => tos & !3,
            Dscp::Pipe => 0,
        };
        let ecn = match config.ecn {
            Ecn::Normal => tos & 3,
            Ecn::Compat => 0,
        };
        let flow_label = match config.flow_label {
            FlowLabel::Zero => 0,
            FlowLabel::Hash => self.flow_label(packet),
        };
        let mut first = next_header::IPV4;
        // The option may be left out: the largest packets have no room for it.
        if config.encapsulation_limit && packet.len() + ENCAPSULATION_LIMIT.len() <= MOST_PAYLOAD {
            packet.push_front(ENCAPSULATION_LIMIT.len())[..ENCAPSULATION_LIMIT.len()]
                .copy_from_slice(&ENCAPSULATION_LIMIT);
            first = next_header::DESTINATION;
        }
        let length = packet.len() as u16;
        let own = config.aftr_ipv6_addr[usize::from(tunnel.aftr)];
        let header = Ipv6::new(own, tunnel.b4, first, length, config.hop_limit, dscp | ecn, flow_label);
        packet.push_front(ipv6::HEADER)[..ipv6::HEADER].copy_from_slice(header.as_bytes());
    }

    /// RFC 6438: the same for every packet of an inner flow, so that equal-cost paths keep its order.
    fn flow_label(&self, packet: &Packet) -> u32 {
        let Some(header) = Ipv4::view(packet.bytes()) else { return 0 };
        let ports = match (header.protocol(), ipv4::payload(packet.bytes())) {
            (protocol::TCP | protocol::UDP, [a, b, c, d, ..]) => u32::from_be_bytes([*a, *b, *c, *d]),
            _ => 0,
        };
        let (source, destination) = (header.source().to_bits(), header.destination().to_bits());
        self.flow_label_key.hash([source, destination, u32::from(header.protocol()), ports]) >> 12
    }
}
