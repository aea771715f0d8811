//! Flows, and the packets of them: 46-byte inner IPv4, as the figures of the peers were made with.

use std::net::{Ipv4Addr, Ipv6Addr};

use aftr::engine::Config;
use aftr::wire::ipv4::{Ipv4, protocol};
use aftr::wire::ipv6::{Ipv6, next_header};
use aftr::wire::{Packet, Side};
use zerocopy::IntoBytes;

/// Total length of the inner packet.
const INNER: usize = 46;
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

pub(crate) struct Flow {
    pub(crate) transport: Transport,
    b4: Ipv6Addr,
    port: u16,
    external: (Ipv4Addr, u16),
}

const AFTR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xaaaa, 0, 0, 0, 0, 1);
const HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);
const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(203, 0, 113, 1), 443);

/// A configuration whose tables hold `size` mappings, and whose pool has one port set for each B4.
pub(crate) fn config(size: usize) -> Config {
    use aftr_config::*;
    let subscribers = (size.div_ceil(PER_B4)) as u32;
    let prefix = 32 - (subscribers as usize).div_ceil(126).next_power_of_two().trailing_zeros();
    Config {
        softwire: Softwire {
            aftr_ipv6_addr: vec![AFTR],
            b4_prefixes: vec!["2001:db8:b4::/48".parse().expect("p")],
            internal_prefixes: vec!["192.168.0.0/16".parse().expect("p")],
            subscriber_mask_v6: 128,
            max_softwires_per_subscriber: 1,
            b4_address_change_limit: 1800,
            state_migrate: true,
            access_mtu: 1500,
            dscp: Dscp::Uniform,
            ecn: Ecn::Normal,
            hop_limit: 64,
            flow_label: FlowLabel::Zero,
            encapsulation_limit: false,
            mss_clamping: MssClamping { enable: true, mss_value: 1420 },
            answer_unknown_b4: false,
        },
        nat: Nat {
            external_ip_address_pool: vec![Pool {
                pool_id: 1,
                external_ip_pool: vec![format!("198.18.0.0/{prefix}").parse().expect("p")],
                b4_prefixes: vec![],
                drain: vec![],
                max_subscribers_per_address: 126,
                high_threshold: 90,
                low_threshold: 70,
                notify_interval: 20,
            }],
            filtering_type: PerProtocol {
                tcp: Filtering::EndpointIndependent,
                udp: Filtering::EndpointIndependent,
                icmp: Filtering::EndpointIndependent,
            },
            external_port_range: 1024..=65535,
            port_set: PortSet { port_set_size: 512, max_port_sets: 4, port_set_timeout: 120 },
            deterministic: None,
            port_quota: PortQuota {
                tcp: 2048,
                udp: 2048,
                icmp: 256,
                new_mappings_per_second: 1_000_000,
                new_mappings_burst: 1_000_000,
            },
            session_limits: SessionLimits {
                limit_per_subscriber: 8192,
                limit_per_mapping: 1024,
                inbound_half_open_per_mapping: 256,
                inbound_half_open_per_subscriber: 1024,
            },
            tables: Tables {
                limit_subscribers: subscribers,
                limit_softwires: subscribers,
                limit_port_mappings: size as u32,
                limit_sessions: size as u32,
                limit_pass_through_sessions: 0,
            },
            timers: Timers {
                udp_timeout: 300,
                tcp_idle_timeout: 7440,
                tcp_trans_open_timeout: 240,
                tcp_trans_close_timeout: 240,
                tcp_in_syn_timeout: 6,
                icmp_timeout: 60,
                hold_down_timeout: 120,
                per_port_timeout: vec![],
            },
            hold_down_max: None,
            port_parity_preservation: false,
            udp_inbound_refresh: false,
            syn_reject: true,
            syn_held_max: 16384,
            tcp_mid_session: MidSession::Drop,
            pool_echo: false,
            udp_reject: false,
            nat_pass_through: vec![],
            mapping_table: vec![],
        },
        policy: Policy::default(),
        icmp: IcmpLimits {
            enable: true,
            per_subscriber_rate: 10,
            per_subscriber_burst: 20,
            to_b4_rate: 1000,
            to_internet_rate: 500,
            icmpv6_per_source_rate: 10,
            icmpv6_rate: 100,
            echo_per_b4_rate: 10,
            syn_reject_rate: 100,
        },
        dataplane: Dataplane {
            device: DeviceKind::Tun,
            interface: "aftr0".into(),
            workers: 1,
            manage_host: false,
        },
    }
}

pub(crate) fn flows(size: usize, transport: Transport) -> Vec<Flow> {
    let flow = |number: usize| {
        let b4 = 0x2001_0db8_00b4_0000_0000_0000_0000_0001 + ((number / PER_B4) as u128) * 0x1_0001;
        Flow { transport, b4: b4.into(), port: 1024 + (number % PER_B4) as u16, external: (HOST, 0) }
    };
    (0..size).map(flow).collect()
}

impl Flow {
    /// The packet that makes the mapping.
    pub(crate) fn opening(&self) -> Packet {
        const SYN: u8 = 0x02;
        let mut packet = Packet::with_capacity(256);
        self.write(&mut packet, Side::B4, SYN);
        packet
    }

    /// The SYN-ACK from the Internet.
    pub(crate) fn answer(&self) -> Packet {
        const SYN_ACK: u8 = 0x12;
        let mut packet = Packet::with_capacity(256);
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
        let outer = if side == Side::B4 { 40 } else { 0 };
        let (source, destination) =
            if side == Side::B4 { ((HOST, self.port), SERVER) } else { (SERVER, self.external) };
        let number = if self.transport == Transport::Udp { protocol::UDP } else { protocol::TCP };
        let bytes = packet.receive_buffer();
        if side == Side::B4 {
            let header = Ipv6::new(self.b4, AFTR, next_header::IPV4, INNER as u16, 64, 0, 0);
            bytes[..outer].copy_from_slice(header.as_bytes());
        }
        let inner = &mut bytes[outer..outer + INNER];
        let header = Ipv4::new(number, source.0, destination.0, INNER as u16, 64, 0);
        inner[..20].copy_from_slice(header.as_bytes());
        inner[20..22].copy_from_slice(&source.1.to_be_bytes());
        inner[22..24].copy_from_slice(&destination.1.to_be_bytes());
        if self.transport == Transport::Udp {
            inner[24..26].copy_from_slice(&((INNER - 20) as u16).to_be_bytes());
            inner[26..28].copy_from_slice(&[0x12, 0x34]);
        } else {
            inner[32] = 5 << 4;
            inner[33] = tcp_flags;
        }
        packet.received(outer + INNER, side);
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
