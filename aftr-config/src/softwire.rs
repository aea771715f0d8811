//! `[softwire]`: the IPv4-in-IPv6 tunnels of RFC 6333, with the leaf names of RFC 8513.

use std::net::Ipv6Addr;

use ipnet::{Ipv4Net, Ipv6Net};

use crate::MOST_SECONDS;
use crate::fragments::{FragmentLimits, REASSEMBLY};
use crate::prefixes::{PRIVATE, not_unicast, range_v4, range_v6, refuse_overlaps};
use crate::reader::Table;

/// The engine numbers the AFTR addresses by an octet.
const MOST_AFTR_ADDRESSES: usize = 255;
/// Least and most that a TCP MSS option may say here: RFC 9293 section 3.7.1, and what IPv4 can carry.
const MSS: std::ops::RangeInclusive<u32> = 536..=65495;

/// `[softwire]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Softwire {
    /// `aftr-ipv6-addr`: the addresses that B4s send to; at least one (RFC 6334: a B4 may pick any).
    pub aftr_ipv6_addr: Vec<Ipv6Addr>,
    /// `b4-prefixes`: who may open a softwire; empty means nobody (RFC 6333 section 11).
    pub b4_prefixes: Vec<Ipv6Net>,
    /// `internal-prefixes`: inner sources that are translated, besides 192.0.0.2 to 192.0.0.7.
    /// Default: the three blocks of RFC 1918.
    pub internal_prefixes: Vec<Ipv4Net>,
    /// `subscriber-mask-v6`: bits of a B4 address that name the subscriber, 0 to 128, default 128
    /// (RFC 7785 section 3; set it to the length that you delegate).
    pub subscriber_mask_v6: u8,
    /// `max-softwires-per-subscriber`: 1 to 255, default 1 (RFC 7785 section 4.1).
    pub max_softwires_per_subscriber: u8,
    /// `b4-address-change-limit`: seconds between two address changes, default 1800 (RFC 7785 section 4.3).
    pub b4_address_change_limit: u32,
    /// `state-migrate`: mappings follow a B4 that changes its address, default true.
    pub state_migrate: bool,
    /// `access-mtu`: IPv6 MTU towards the B4s, 1280 to 65535, default 1500.
    pub access_mtu: u16,
    /// `df-policy`: what a packet with DF set meets that is larger than the tunnel's MTU, default
    /// [`DfPolicy::FragmentOuter`].
    pub df_policy: DfPolicy,
    /// `ptb-clamp`: an ICMP 3/4 from the Internet names no more than the tunnel takes, default false (RFC 5508
    /// section 7.1.2 leaves the field alone).
    pub ptb_clamp: bool,
    /// `[softwire.reassembly]`: outer packets that wait for their fragments (RFC 6333 section 6.3).
    pub reassembly: FragmentLimits,
    /// `v6-v4-dscp-preservation`: how DSCP crosses, default [`Dscp::Uniform`] (RFC 2983, RFC 6908 section 2.10).
    pub dscp: Dscp,
    /// `ecn`: RFC 6040 mode of the encapsulation, default normal.
    pub ecn: Ecn,
    /// `hop-limit`: outer hop limit, 1 to 255, default 64 (RFC 2473 section 6.3).
    pub hop_limit: u8,
    /// `flow-label`: outer flow label, default zero (RFC 6438).
    pub flow_label: FlowLabel,
    /// `encapsulation-limit`: adds a Tunnel Encapsulation Limit option of 4 (RFC 2473 section 5.1), default false.
    pub encapsulation_limit: bool,
    /// `mss-clamping`
    pub mss_clamping: MssClamping,
    /// `answer-unknown-b4`: ICMPv6 1/5 to a source outside `b4-prefixes`, default false: silence
    /// (RFC 4213 section 3.6).
    pub answer_unknown_b4: bool,
}

impl Softwire {
    pub(crate) fn read(mut table: Table<'_>) -> Softwire {
        let mut softwire = Softwire {
            aftr_ipv6_addr: read_aftr_addresses(&mut table),
            b4_prefixes: read_b4_prefixes(&mut table),
            internal_prefixes: read_internal_prefixes(&mut table),
            subscriber_mask_v6: table.number("subscriber-mask-v6", 0..=128, 128),
            max_softwires_per_subscriber: table.number("max-softwires-per-subscriber", 1..=255, 1),
            b4_address_change_limit: table.number("b4-address-change-limit", 0..=MOST_SECONDS, 1800),
            state_migrate: table.value("state-migrate", true),
            access_mtu: table.number("access-mtu", 1280..=65535, 1500),
            df_policy: table
                .choice(
                    "df-policy",
                    &[("fragment-outer", DfPolicy::FragmentOuter), ("honour", DfPolicy::Honour)],
                )
                .unwrap_or(DfPolicy::FragmentOuter),
            ptb_clamp: table.value("ptb-clamp", false),
            reassembly: FragmentLimits::read(table.table("reassembly"), &REASSEMBLY),
            dscp: if table.value("v6-v4-dscp-preservation", true) { Dscp::Uniform } else { Dscp::Pipe },
            ecn: table
                .choice("ecn", &[("normal", Ecn::Normal), ("compat", Ecn::Compat)])
                .unwrap_or(Ecn::Normal),
            hop_limit: table.number("hop-limit", 1..=255, 64),
            flow_label: table
                .choice("flow-label", &[("zero", FlowLabel::Zero), ("hash", FlowLabel::Hash)])
                .unwrap_or(FlowLabel::Zero),
            encapsulation_limit: table.value("encapsulation-limit", false),
            mss_clamping: MssClamping { enable: true, mss_value: 0 },
            answer_unknown_b4: table.value("answer-unknown-b4", false),
        };
        let mut clamping = table.table("mss-clamping");
        softwire.mss_clamping = MssClamping {
            enable: clamping.value("enable", true),
            mss_value: clamping.number("mss-value", MSS, softwire.tunnel_mtu() - 40),
        };
        clamping.finish();
        table.finish();
        softwire
    }

    /// The largest inner packet that needs no fragment: `access-mtu` less 40, and less 8 more when the encapsulation
    /// limit is added.
    #[must_use]
    pub fn tunnel_mtu(&self) -> u16 {
        self.access_mtu - 40 - if self.encapsulation_limit { 8 } else { 0 }
    }
}

/// `df-policy`: a packet with DF set that the tunnel does not take whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DfPolicy {
    /// `"fragment-outer"`: it is encapsulated and the IPv6 packet is cut, whatever DF says (RFC 6333
    /// section 6.3 and erratum 5847).
    FragmentOuter,
    /// `"honour"`: it is dropped, and its sender is told the MTU (RFC 2473 section 7.2 a).
    Honour,
}

/// How the DSCP crosses the tunnel (RFC 2983 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dscp {
    /// `true`: inner to outer on the way in, outer to inner on the way out.
    Uniform,
    /// `false`: the inner field is never touched; the outer one is 0.
    Pipe,
}

/// ECN on encapsulation (RFC 6040 section 4.3). Decapsulation follows section 4.2 in both modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ecn {
    /// `"normal"`: copied to the outer header.
    Normal,
    /// `"compat"`: the outer header says Not-ECT.
    Compat,
}

/// Outer flow label (RFC 6438).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowLabel {
    /// `"zero"`
    Zero,
    /// `"hash"`: 20 bits of a keyed hash of the inner flow.
    Hash,
}

/// `mss-clamping` (RFC 8513)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MssClamping {
    /// `enable`: default true.
    pub enable: bool,
    /// `mss-value`: upper limit; default `access-mtu` less 80, and less 8 more with the encapsulation limit.
    pub mss_value: u16,
}

fn read_aftr_addresses(table: &mut Table<'_>) -> Vec<Ipv6Addr> {
    let (report, key) = (table.report(), table.key("aftr-ipv6-addr"));
    table.require("aftr-ipv6-addr", "name the address that B4s send to, as [\"2001:db8:aaaa::1\"]");
    let addresses: Vec<Ipv6Addr> = table.list("aftr-ipv6-addr").unwrap_or_default();
    if table.has("aftr-ipv6-addr") && addresses.is_empty() && !report.is_wrong(&key) {
        report.wrong_value(&key, "is empty", "name the address that B4s send to");
    }
    if addresses.len() > MOST_AFTR_ADDRESSES {
        let problem = format!("has {} addresses", addresses.len());
        report.wrong(&key, problem, format!("give {MOST_AFTR_ADDRESSES} at most"));
    }
    for (at, address) in addresses.iter().enumerate() {
        let element = report.element(&key, at);
        if let Some(what) = not_a_tunnel_end(*address) {
            let cure = "give a unicast address that the access network routes to this AFTR";
            report.wrong_value(&element, format!("is {what}"), cure);
        } else if let Some(first) = addresses[..at].iter().position(|other| other == address) {
            let problem = format!("is {} again", report.element(&key, first));
            report.wrong_value(&element, problem, "leave one of the two out");
        }
    }
    addresses
}

/// Why an address cannot be the end of a tunnel, if so.
pub(crate) fn not_a_tunnel_end(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_unspecified() {
        Some("the unspecified address")
    } else if address.is_loopback() {
        Some("the loopback address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if address.is_unicast_link_local() {
        Some("a link-local address")
    } else if address.to_ipv4_mapped().is_some() {
        Some("an IPv4-mapped address")
    } else {
        None
    }
}

fn read_b4_prefixes(table: &mut Table<'_>) -> Vec<Ipv6Net> {
    let key = table.key("b4-prefixes");
    let prefixes: Vec<Ipv6Net> = table.list("b4-prefixes").unwrap_or_default();
    refuse_overlaps(table.report(), &key, &prefixes.iter().map(|net| range_v6(*net)).collect::<Vec<_>>());
    prefixes
}

fn read_internal_prefixes(table: &mut Table<'_>) -> Vec<Ipv4Net> {
    let (report, key) = (table.report(), table.key("internal-prefixes"));
    // RFC 6333 section 11; 100.64.0.0/10 only when asked for.
    let prefixes: Vec<Ipv4Net> =
        table.list("internal-prefixes").unwrap_or_else(|| PRIVATE.iter().take(3).copied().collect());
    for (at, prefix) in prefixes.iter().enumerate() {
        if let Some(block) = not_unicast(*prefix) {
            let cure = "leave it out; 192.0.0.2 to 192.0.0.7 are translated without it";
            report.wrong_value(&report.element(&key, at), format!("touches {block}"), cure);
        }
    }
    refuse_overlaps(report, &key, &prefixes.iter().map(|net| range_v4(*net)).collect::<Vec<_>>());
    prefixes
}
