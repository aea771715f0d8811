//! Flows, and the packets of them.

use std::net::{Ipv4Addr, Ipv6Addr};

use aftr::engine::Config;
use aftr::wire::ipv4::{Ipv4, protocol};
use aftr::wire::ipv6::{Ipv6, next_header};
use aftr::wire::{Packet, Side};
use zerocopy::IntoBytes;

/// Mappings of one B4: what one household has.
const PER_B4: usize = 250;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        }
    }
}

/// What the packets of a run look like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) transport: Transport,
    /// Total length of the inner packet.
    pub(crate) length: usize,
}

pub(crate) struct Flow {
    pub(crate) shape: Shape,
    b4: Ipv6Addr,
    port: u16,
    external: (Ipv4Addr, u16),
}

const AFTR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xaaaa, 0, 0, 0, 0, 1);
const HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);
const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(203, 0, 113, 1), 443);

/// A configuration whose tables hold `size` mappings, and whose pool has one port set for each B4.
pub(crate) fn config(size: usize) -> Config {
    config_with(size, addresses(size))
}

/// The same for two workers, which never have quite as many B4s as each other.
pub(crate) fn config_of_two(size: usize) -> Config {
    let mut config = config_with(size, 2 * addresses(size));
    config.dataplane.workers = 2;
    config
}

/// Port sets of an address.
const SETS: usize = 126;

fn addresses(size: usize) -> usize {
    size.div_ceil(PER_B4).div_ceil(SETS).next_power_of_two()
}

fn config_with(size: usize, addresses: usize) -> Config {
    let subscribers = size.div_ceil(PER_B4);
    let prefix = 32 - addresses.trailing_zeros();
    let text = format!(
        r#"
        [softwire]
        aftr-ipv6-addr = ["{AFTR}"]
        b4-prefixes = ["2001:db8:b4::/48"]
        [nat]
        port-quota = {{ new-mappings-per-second = 1000000, new-mappings-burst = 1000000 }}
        [[nat.external-ip-address-pool]]
        pool-id = 1
        external-ip-pool = ["198.18.0.0/{prefix}"]
        [nat.mapping-limits]
        limit-subscribers = {subscribers}
        limit-port-mappings = {size}
        limit-sessions = {size}
        "#
    );
    Config::parse(&text).unwrap_or_else(|errors| panic!("{errors:?}"))
}

pub(crate) fn flows(size: usize, shape: Shape) -> Vec<Flow> {
    let flow = |number: usize| {
        let b4 = 0x2001_0db8_00b4_0000_0000_0000_0000_0001 + ((number / PER_B4) as u128) * 0x1_0001;
        Flow { shape, b4: b4.into(), port: 1024 + (number % PER_B4) as u16, external: (HOST, 0) }
    };
    (0..size).map(flow).collect()
}

impl Flow {
    /// The packet that makes the mapping.
    pub(crate) fn opening(&self) -> Packet {
        const SYN: u8 = 0x02;
        let mut packet = Packet::with_capacity(1500);
        self.write(&mut packet, Side::B4, SYN);
        packet
    }

    /// The SYN-ACK from the Internet.
    pub(crate) fn answer(&self) -> Packet {
        const SYN_ACK: u8 = 0x12;
        let mut packet = Packet::with_capacity(1500);
        self.write(&mut packet, Side::Internet, SYN_ACK);
        packet
    }

    /// Learns the external address and port from the translated opening packet.
    pub(crate) fn learn(&mut self, translated: &[u8]) {
        let header = Ipv4::view(translated).expect("an IPv4 header");
        self.external = (header.source(), u16::from_be_bytes([translated[20], translated[21]]));
    }

    /// Writes a packet of the established flow.
    pub(crate) fn write_data(&self, packet: &mut Packet, side: Side) {
        const ACK: u8 = 0x10;
        self.write(packet, side, ACK);
    }

    fn write(&self, packet: &mut Packet, side: Side, tcp_flags: u8) {
        let length = self.shape.length;
        let outer = if side == Side::B4 { 40 } else { 0 };
        let (source, destination) =
            if side == Side::B4 { ((HOST, self.port), SERVER) } else { (SERVER, self.external) };
        let number = if self.shape.transport == Transport::Udp { protocol::UDP } else { protocol::TCP };
        let bytes = packet.receive_buffer();
        if side == Side::B4 {
            let header = Ipv6::new(self.b4, AFTR, next_header::IPV4, length as u16, 64, 0, 0);
            bytes[..outer].copy_from_slice(header.as_bytes());
        }
        let inner = &mut bytes[outer..outer + length];
        let header = Ipv4::new(number, source.0, destination.0, length as u16, 64, 0);
        inner[..20].copy_from_slice(header.as_bytes());
        inner[20..22].copy_from_slice(&source.1.to_be_bytes());
        inner[22..24].copy_from_slice(&destination.1.to_be_bytes());
        if self.shape.transport == Transport::Udp {
            inner[24..26].copy_from_slice(&((length - 20) as u16).to_be_bytes());
            inner[26..28].copy_from_slice(&[0x12, 0x34]);
        } else {
            inner[32] = 5 << 4;
            inner[33] = tcp_flags;
        }
        packet.received(outer + length, side);
    }
}

/// The numbers below `count` in random order, the same in every run.
pub(crate) fn shuffled(count: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for last in (1..count).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(last, ((state >> 33) as usize) % (last + 1));
    }
    order
}
