//! `[nat]`: translation, with the leaf names of RFC 8512.

use std::ops::RangeInclusive;

use toml::de::DeValue;

use crate::MOST_ENTRIES;
use crate::fragments::{FRAGMENTS, FragmentLimits};
use crate::limits::{SessionLimits, Tables};
use crate::mapping_table::StaticMapping;
use crate::pass_through::PassThrough;
use crate::pool::{Pool, read_pools};
use crate::ports::{Deterministic, PortQuota, PortSet, PortShares};
use crate::protocol::PerProtocol;
use crate::reader::{Table, Wrong, choose, kind, number};
use crate::softwire::Softwire;
use crate::timers::Timers;

/// `[nat]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nat {
    /// `[[nat.external-ip-address-pool]]`: at least one; none overlaps another (RFC 6333 section 8.1).
    pub external_ip_address_pool: Vec<Pool>,
    /// `filtering-type`, for all or per protocol; default endpoint-independent (RFC 4787 REQ-8).
    pub filtering_type: PerProtocol<Filtering>,
    /// `external-port-range = [first, last]`; default 1024 to 65535 (RFC 6908 section 2.11).
    pub external_port_range: RangeInclusive<u16>,
    /// `port-set`
    pub port_set: PortSet,
    /// `[nat.deterministic]` (RFC 7422); none means port sets on demand.
    pub deterministic: Option<Deterministic>,
    /// `port-quota`: external ports and ICMP identifiers of one subscriber (RFC 6888 REQ-4).
    pub port_quota: PortQuota,
    /// `[nat.session-limits]` (RFC 6888 REQ-5)
    pub session_limits: SessionLimits,
    /// `[nat.mapping-limits]`: sizes of the tables, fixed at start.
    pub tables: Tables,
    /// `[nat.timers]`
    pub timers: Timers,
    /// `hold-down-max`: most ports held at a time; none is unlimited (RFC 6888 REQ-8).
    pub hold_down_max: Option<u32>,
    /// `port-parity-preservation`: even stays even; default false (RFC 7857 section 8).
    pub port_parity_preservation: bool,
    /// `udp-inbound-refresh`: packets from the Internet keep a UDP mapping; default false (RFC 4787 REQ-6).
    pub udp_inbound_refresh: bool,
    /// `syn-reject`: ICMP 3/3 for an unsolicited SYN after `tcp-in-syn-timeout`; default true (RFC 5382 REQ-4).
    pub syn_reject: bool,
    /// `syn-held-max`: unsolicited SYNs remembered at a time; default 16384.
    pub syn_held_max: u32,
    /// `tcp-mid-session`: a packet from inside that opens nothing and belongs to nothing; default drop.
    pub tcp_mid_session: MidSession,
    /// `pool-echo`: pool addresses answer ICMP echo from the Internet; default false.
    pub pool_echo: bool,
    /// `udp-reject`: ICMP 3/3 for UDP from the Internet without a mapping; default false: silence.
    pub udp_reject: bool,
    /// `external-mtu`: largest packet that leaves to the Internet, 576 to 65535, default 1500 (RFC 4787 REQ-13).
    pub external_mtu: u16,
    /// `ipid-strict`: a packet whose identification would come again within 120 s is dropped, not only
    /// counted; default false (RFC 6864 section 5.3.1).
    pub ipid_strict: bool,
    /// `unknown-ip-options`: packets with IPv4 options that nobody knows; default forward (RFC 7126 section 4.23).
    pub unknown_ip_options: UnknownOptions,
    /// `[nat.fragments]`: IPv4 datagrams that cross in fragments (RFC 4787 REQ-14).
    pub fragments: FragmentLimits,
    /// `[[nat.nat-pass-through]]`: destinations that are reached untranslated (RFC 6888 REQ-6).
    pub nat_pass_through: Vec<PassThrough>,
    /// `[[nat.mapping-table]]`: static mappings.
    pub mapping_table: Vec<StaticMapping>,
}

/// `filtering-type` (RFC 4787 section 5)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filtering {
    /// `"endpoint-independent"`
    EndpointIndependent,
    /// `"address-dependent"`
    AddressDependent,
    /// `"address-and-port-dependent"`
    AddressAndPortDependent,
}

/// `tcp-mid-session`: what meets a TCP packet from inside without SYN, session or mapping (RFC 5382 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MidSession {
    /// `"drop"`: silence.
    Drop,
    /// `"rst"`: a RST to the host.
    Rst,
}

/// `unknown-ip-options` (RFC 7126 section 4.23)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownOptions {
    /// `"forward"`: as if they were not there (RFC 1122 section 3.2.1.8).
    Forward,
    /// `"drop"`
    Drop,
}

impl Nat {
    pub(crate) fn read(mut table: Table<'_>, softwire: &Softwire) -> Nat {
        let external_port_range = read_port_range(&mut table);
        let port_set = PortSet::read(table.table("port-set"));
        let deterministic =
            table.has("deterministic").then(|| Deterministic::read(table.table("deterministic")));
        let shares = PortShares::of(&external_port_range, port_set, deterministic);
        shares.check(&table, port_set, deterministic);
        let nat_pass_through = table.tables("nat-pass-through", PassThrough::read);
        let nat = Nat {
            external_ip_address_pool: read_pools(&mut table, shares),
            filtering_type: read_filtering(&mut table),
            port_quota: PortQuota::read(table.table("port-quota")),
            session_limits: SessionLimits::read(table.table("session-limits")),
            tables: Tables::read(table.table("mapping-limits"), softwire, !nat_pass_through.is_empty()),
            timers: Timers::read(table.table("timers")),
            hold_down_max: table.optional_number("hold-down-max", 1..=MOST_ENTRIES),
            port_parity_preservation: table.value("port-parity-preservation", false),
            udp_inbound_refresh: table.value("udp-inbound-refresh", false),
            syn_reject: table.value("syn-reject", true),
            syn_held_max: table.number("syn-held-max", 1..=MOST_ENTRIES, 16384),
            tcp_mid_session: table
                .choice("tcp-mid-session", &[("drop", MidSession::Drop), ("rst", MidSession::Rst)])
                .unwrap_or(MidSession::Drop),
            pool_echo: table.value("pool-echo", false),
            udp_reject: table.value("udp-reject", false),
            external_mtu: table.number("external-mtu", 576..=65535, 1500),
            ipid_strict: table.value("ipid-strict", false),
            unknown_ip_options: table
                .choice(
                    "unknown-ip-options",
                    &[("forward", UnknownOptions::Forward), ("drop", UnknownOptions::Drop)],
                )
                .unwrap_or(UnknownOptions::Forward),
            fragments: FragmentLimits::read(table.table("fragments"), &FRAGMENTS),
            mapping_table: table.tables("mapping-table", StaticMapping::read),
            external_port_range,
            port_set,
            deterministic,
            nat_pass_through,
        };
        table.finish();
        nat
    }
}

/// `[first, last]`. Port 0 is nobody's (RFC 6335 section 6).
fn read_port_range(table: &mut Table<'_>) -> RangeInclusive<u16> {
    const CURE: &str = "write [first, last], as [1024, 65535]";
    let range = table.read_with("external-port-range", |value| {
        let ends = value.as_array().map(|array| array.iter().collect::<Vec<_>>());
        let Some([first, last]) = ends.as_deref() else {
            return Err(Wrong::new(format!("is {}", wrong_range(value)), CURE));
        };
        let first = number(first.get_ref(), &(1..=65535)).map_err(|wrong| wrong.of("the first port"))?;
        let last = number(last.get_ref(), &(1..=65535)).map_err(|wrong| wrong.of("the last port"))?;
        if first > last {
            return Err(Wrong::new(
                format!("ends before it begins: {first} is above {last}"),
                format!("write [{last}, {first}]"),
            ));
        }
        Ok(first as u16..=last as u16)
    });
    range.unwrap_or(1024..=65535)
}

fn wrong_range(value: &DeValue<'_>) -> &'static str {
    if value.is_array() { "not two numbers" } else { kind(value) }
}

/// One for all three protocols, or a table with one for each.
fn read_filtering(table: &mut Table<'_>) -> PerProtocol<Filtering> {
    const NAMES: [(&str, Filtering); 3] = [
        ("endpoint-independent", Filtering::EndpointIndependent),
        ("address-dependent", Filtering::AddressDependent),
        ("address-and-port-dependent", Filtering::AddressAndPortDependent),
    ];
    const DEFAULT: Filtering = Filtering::EndpointIndependent;
    if !table.is_table("filtering-type") {
        let all = table.read_with("filtering-type", |value| choose(value, &NAMES)).unwrap_or(DEFAULT);
        return PerProtocol { tcp: all, udp: all, icmp: all };
    }
    let mut each = table.table("filtering-type");
    let filtering = PerProtocol {
        tcp: each.choice("tcp", &NAMES).unwrap_or(DEFAULT),
        udp: each.choice("udp", &NAMES).unwrap_or(DEFAULT),
        icmp: each.choice("icmp", &NAMES).unwrap_or(DEFAULT),
    };
    each.finish();
    filtering
}
