//! A first reading of the language, by serde: it stops at the first error. To be replaced by the reader
//! that finds everything at once.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::Deserialize;

use crate::*;

/// What is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(String);

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! section {
    ($name:ident { $($field:ident : $type:ty = $default:expr),* $(,)? }) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
        struct $name { $($field: $type),* }
        impl Default for $name { fn default() -> $name { $name { $($field: $default),* } } }
    };
}

fn nets(text: &[&str]) -> Vec<Ipv4Net> {
    text.iter().map(|net| net.parse().expect("a prefix")).collect()
}

section!(RawMss { enable: bool = true, mss_value: Option<u16> = None });
section!(RawSoftwire {
    aftr_ipv6_addr: Vec<Ipv6Addr> = vec![],
    b4_prefixes: Vec<Ipv6Net> = vec![],
    internal_prefixes: Vec<Ipv4Net> = nets(&["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]),
    subscriber_mask_v6: u8 = 128,
    max_softwires_per_subscriber: u8 = 1,
    b4_address_change_limit: u32 = 1800,
    state_migrate: bool = true,
    access_mtu: u16 = 1500,
    v6_v4_dscp_preservation: bool = true,
    ecn: String = "normal".into(),
    hop_limit: u8 = 64,
    flow_label: String = "zero".into(),
    encapsulation_limit: bool = false,
    mss_clamping: RawMss = RawMss::default(),
    answer_unknown_b4: bool = false,
});
section!(RawPool {
    pool_id: u32 = 0,
    external_ip_pool: Vec<String> = vec![],
    b4_prefixes: Vec<Ipv6Net> = vec![],
    drain: Vec<Ipv4Addr> = vec![],
    max_subscribers_per_address: Option<u16> = None,
    high_threshold: u8 = 90,
    low_threshold: u8 = 70,
    notify_interval: u32 = 20,
});
section!(RawPortSet { port_set_size: u16 = 512, max_port_sets: u8 = 4, port_set_timeout: u32 = 120 });
section!(RawQuota {
    tcp: u32 = 2048,
    udp: u32 = 2048,
    icmp: u32 = 256,
    new_mappings_per_second: u32 = 200,
    new_mappings_burst: u32 = 400
});
section!(RawSessions {
    limit_per_subscriber: u32 = 8192,
    limit_per_mapping: u32 = 1024,
    inbound_half_open_per_mapping: u32 = 256,
    inbound_half_open_per_subscriber: u32 = 1024,
});
section!(RawTables {
    limit_subscribers: u32 = 65536, limit_softwires: Option<u32> = None, limit_port_mappings: u32 = 1 << 20,
    limit_sessions: u32 = 1 << 20, limit_pass_through_sessions: Option<u32> = None,
});
section!(RawPerPort { port_number: u16 = 0, timeout: u32 = 0 });
section!(RawTimers {
    udp_timeout: u32 = 300, tcp_idle_timeout: u32 = 7440, tcp_trans_open_timeout: u32 = 240,
    tcp_trans_close_timeout: u32 = 240, tcp_in_syn_timeout: u32 = 6, icmp_timeout: u32 = 60,
    hold_down_timeout: u32 = 120, per_port_timeout: Vec<RawPerPort> = vec![], relaxed_timers: bool = false,
});
section!(RawDeterministic { subscribers_per_address: u16 = 14, dynamic_shares: u16 = 2 });

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum RawFiltering {
    EndpointIndependent,
    AddressDependent,
    AddressAndPortDependent,
}
#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum RawProtocol {
    Tcp,
    Udp,
    Icmp,
}
#[derive(Deserialize, Clone, Copy)]
#[serde(untagged)]
enum RawFilterings {
    All(RawFiltering),
    Each { tcp: RawFiltering, udp: RawFiltering, icmp: RawFiltering },
}
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawPass {
    prefix: Ipv4Net,
    protocol: Option<RawProtocol>,
    port: Option<u16>,
}
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawStatic {
    b4_ipv6_address: Ipv6Addr,
    transport_protocol: RawProtocol,
    internal_src_address: Ipv4Addr,
    internal_src_port: u16,
    external_src_address: Ipv4Addr,
    external_src_port: u16,
}
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawRule {
    b4_prefix: Option<Ipv6Net>,
    prefix: Ipv4Net,
    protocol: Option<RawProtocol>,
    port: Option<u16>,
}
section!(RawPolicy { deny_from_b4: Vec<RawRule> = vec![], deny_from_internet: Vec<RawRule> = vec![], downstream_dscp: Option<u8> = None });
section!(RawNat {
    external_ip_address_pool: Vec<RawPool> = vec![],
    filtering_type: RawFilterings = RawFilterings::All(RawFiltering::EndpointIndependent),
    external_port_range: (u16, u16) = (1024, 65535),
    port_set: RawPortSet = RawPortSet::default(),
    deterministic: Option<RawDeterministic> = None,
    port_quota: RawQuota = RawQuota::default(),
    session_limits: RawSessions = RawSessions::default(),
    mapping_limits: RawTables = RawTables::default(),
    timers: RawTimers = RawTimers::default(),
    hold_down_max: Option<u32> = None,
    port_parity_preservation: bool = false,
    udp_inbound_refresh: bool = false,
    syn_reject: bool = true,
    syn_held_max: u32 = 16384,
    tcp_mid_session: String = "drop".into(),
    pool_echo: bool = false,
    udp_reject: bool = false,
    nat_pass_through: Vec<RawPass> = vec![],
    mapping_table: Vec<RawStatic> = vec![],
});
section!(RawIcmp {
    enable: bool = true,
    per_subscriber_rate: u32 = 10,
    per_subscriber_burst: u32 = 20,
    to_b4_rate: u32 = 1000,
    to_internet_rate: u32 = 500,
    icmpv6_per_source_rate: u32 = 10,
    icmpv6_rate: u32 = 100,
    echo_per_b4_rate: u32 = 10,
    syn_reject_rate: u32 = 100,
});
section!(RawDataplane {
    device: String = "tun".into(),
    interface: String = "aftr0".into(),
    workers: u16 = 1,
    manage_host: bool = false
});
section!(Raw {
    softwire: RawSoftwire = RawSoftwire::default(),
    nat: RawNat = RawNat::default(),
    policy: RawPolicy = RawPolicy::default(),
    icmp: RawIcmp = RawIcmp::default(),
    dataplane: RawDataplane = RawDataplane::default(),
});

fn protocol(raw: RawProtocol) -> Protocol {
    match raw {
        RawProtocol::Tcp => Protocol::Tcp,
        RawProtocol::Udp => Protocol::Udp,
        RawProtocol::Icmp => Protocol::Icmp,
    }
}

fn filtering(raw: RawFiltering) -> Filtering {
    match raw {
        RawFiltering::EndpointIndependent => Filtering::EndpointIndependent,
        RawFiltering::AddressDependent => Filtering::AddressDependent,
        RawFiltering::AddressAndPortDependent => Filtering::AddressAndPortDependent,
    }
}

fn pool_net(text: &str) -> Result<Ipv4Net, Vec<ConfigError>> {
    let net = text.parse().or_else(|_| text.parse::<Ipv4Addr>().map(Ipv4Net::from));
    net.map_err(|_| vec![ConfigError(format!("`{text}` is no prefix"))])
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    #[allow(clippy::too_many_lines, reason = "provisional")]
    pub fn parse(text: &str) -> Result<Config, Vec<ConfigError>> {
        let raw: Raw = toml::from_str(text).map_err(|error| vec![ConfigError(error.to_string())])?;
        let (s, n) = (raw.softwire, raw.nat);
        let mut pools = Vec::new();
        let ports = u32::from(n.external_port_range.1) + 1 - u32::from(n.external_port_range.0);
        let sets = match &n.deterministic {
            Some(deterministic) => deterministic.subscribers_per_address,
            None => (ports / u32::from(n.port_set.port_set_size)) as u16,
        };
        for pool in n.external_ip_address_pool {
            pools.push(Pool {
                pool_id: pool.pool_id,
                external_ip_pool: pool
                    .external_ip_pool
                    .iter()
                    .map(|text| pool_net(text))
                    .collect::<Result<_, _>>()?,
                b4_prefixes: pool.b4_prefixes,
                drain: pool.drain,
                max_subscribers_per_address: pool.max_subscribers_per_address.unwrap_or(sets),
                high_threshold: pool.high_threshold,
                low_threshold: pool.low_threshold,
                notify_interval: pool.notify_interval,
            });
        }
        let mut softwire = Softwire {
            aftr_ipv6_addr: s.aftr_ipv6_addr,
            b4_prefixes: s.b4_prefixes,
            internal_prefixes: s.internal_prefixes,
            subscriber_mask_v6: s.subscriber_mask_v6,
            max_softwires_per_subscriber: s.max_softwires_per_subscriber,
            b4_address_change_limit: s.b4_address_change_limit,
            state_migrate: s.state_migrate,
            access_mtu: s.access_mtu,
            dscp: if s.v6_v4_dscp_preservation { Dscp::Uniform } else { Dscp::Pipe },
            ecn: if s.ecn == "compat" { Ecn::Compat } else { Ecn::Normal },
            hop_limit: s.hop_limit,
            flow_label: if s.flow_label == "hash" { FlowLabel::Hash } else { FlowLabel::Zero },
            encapsulation_limit: s.encapsulation_limit,
            mss_clamping: MssClamping { enable: s.mss_clamping.enable, mss_value: 0 },
            answer_unknown_b4: s.answer_unknown_b4,
        };
        softwire.mss_clamping.mss_value = s.mss_clamping.mss_value.unwrap_or(softwire.tunnel_mtu() - 40);
        let filtering_type = match n.filtering_type {
            RawFilterings::All(all) => {
                PerProtocol { tcp: filtering(all), udp: filtering(all), icmp: filtering(all) }
            }
            RawFilterings::Each { tcp, udp, icmp } => {
                PerProtocol { tcp: filtering(tcp), udp: filtering(udp), icmp: filtering(icmp) }
            }
        };
        let (q, l, t, m) = (n.port_quota, n.session_limits, n.timers, n.mapping_limits);
        let rule = |rule: RawRule| Rule {
            b4_prefix: rule.b4_prefix,
            prefix: rule.prefix,
            protocol: rule.protocol.map(protocol),
            port: rule.port,
        };
        let passes = !n.nat_pass_through.is_empty();
        Ok(Config {
            softwire,
            nat: Nat {
                external_ip_address_pool: pools,
                filtering_type,
                external_port_range: n.external_port_range.0..=n.external_port_range.1,
                port_set: PortSet {
                    port_set_size: n.port_set.port_set_size,
                    max_port_sets: n.port_set.max_port_sets,
                    port_set_timeout: n.port_set.port_set_timeout,
                },
                deterministic: n.deterministic.map(|d| Deterministic {
                    subscribers_per_address: d.subscribers_per_address,
                    dynamic_shares: d.dynamic_shares,
                }),
                port_quota: PortQuota {
                    tcp: q.tcp,
                    udp: q.udp,
                    icmp: q.icmp,
                    new_mappings_per_second: q.new_mappings_per_second,
                    new_mappings_burst: q.new_mappings_burst,
                },
                session_limits: SessionLimits {
                    limit_per_subscriber: l.limit_per_subscriber,
                    limit_per_mapping: l.limit_per_mapping,
                    inbound_half_open_per_mapping: l.inbound_half_open_per_mapping,
                    inbound_half_open_per_subscriber: l.inbound_half_open_per_subscriber,
                },
                tables: Tables {
                    limit_subscribers: m.limit_subscribers,
                    limit_softwires: m
                        .limit_softwires
                        .unwrap_or(m.limit_subscribers * u32::from(s.max_softwires_per_subscriber)),
                    limit_port_mappings: m.limit_port_mappings,
                    limit_sessions: m.limit_sessions,
                    limit_pass_through_sessions: m.limit_pass_through_sessions.unwrap_or(if passes {
                        65536
                    } else {
                        0
                    }),
                },
                timers: Timers {
                    udp_timeout: t.udp_timeout,
                    tcp_idle_timeout: t.tcp_idle_timeout,
                    tcp_trans_open_timeout: t.tcp_trans_open_timeout,
                    tcp_trans_close_timeout: t.tcp_trans_close_timeout,
                    tcp_in_syn_timeout: t.tcp_in_syn_timeout,
                    icmp_timeout: t.icmp_timeout,
                    hold_down_timeout: t.hold_down_timeout,
                    per_port_timeout: t
                        .per_port_timeout
                        .iter()
                        .map(|p| PerPortTimeout { port_number: p.port_number, timeout: p.timeout })
                        .collect(),
                },
                hold_down_max: n.hold_down_max,
                port_parity_preservation: n.port_parity_preservation,
                udp_inbound_refresh: n.udp_inbound_refresh,
                syn_reject: n.syn_reject,
                syn_held_max: n.syn_held_max,
                tcp_mid_session: if n.tcp_mid_session == "rst" { MidSession::Rst } else { MidSession::Drop },
                pool_echo: n.pool_echo,
                udp_reject: n.udp_reject,
                nat_pass_through: n
                    .nat_pass_through
                    .iter()
                    .map(|p| PassThrough {
                        prefix: p.prefix,
                        protocol: p.protocol.map(protocol),
                        port: p.port,
                    })
                    .collect(),
                mapping_table: n
                    .mapping_table
                    .iter()
                    .map(|e| StaticMapping {
                        b4_ipv6_address: e.b4_ipv6_address,
                        transport_protocol: protocol(e.transport_protocol),
                        internal_src_address: e.internal_src_address,
                        internal_src_port: e.internal_src_port,
                        external_src_address: e.external_src_address,
                        external_src_port: e.external_src_port,
                    })
                    .collect(),
            },
            policy: Policy {
                deny_from_b4: raw.policy.deny_from_b4.into_iter().map(rule).collect(),
                deny_from_internet: raw.policy.deny_from_internet.into_iter().map(rule).collect(),
                downstream_dscp: raw.policy.downstream_dscp,
            },
            icmp: IcmpLimits {
                enable: raw.icmp.enable,
                per_subscriber_rate: raw.icmp.per_subscriber_rate,
                per_subscriber_burst: raw.icmp.per_subscriber_burst,
                to_b4_rate: raw.icmp.to_b4_rate,
                to_internet_rate: raw.icmp.to_internet_rate,
                icmpv6_per_source_rate: raw.icmp.icmpv6_per_source_rate,
                icmpv6_rate: raw.icmp.icmpv6_rate,
                echo_per_b4_rate: raw.icmp.echo_per_b4_rate,
                syn_reject_rate: raw.icmp.syn_reject_rate,
            },
            dataplane: Dataplane {
                device: DeviceKind::Tun,
                interface: raw.dataplane.interface,
                workers: raw.dataplane.workers,
                manage_host: raw.dataplane.manage_host,
            },
        })
    }
}
