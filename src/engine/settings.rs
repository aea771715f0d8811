//! The configuration as the packet path wants it: addresses as integers, decisions made.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use aftr_config::{Config, Filtering, PassThrough, PerProtocol, Protocol, Rule};
use ipnet::{Ipv4Net, Ipv6Net};

use super::aftr::TtlBy;

/// The AFTR inside every softwire (RFC 6333 section 6.5).
pub(super) const AFTR_IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 1);

pub(super) struct Settings {
    pub(super) config: Config,
    pub(super) ttl: TtlBy,
    /// The bits of a B4 address that name the subscriber.
    pub(super) subscriber_mask: u128,
    /// Whether there is any rule to look at for a packet.
    has_pass_through: bool,
    has_policy_from_b4: bool,
    has_policy_from_internet: bool,
    internal: Vec<(u32, u32)>,
    b4: Vec<RangeInclusive<u128>>,
}

impl Settings {
    pub(super) fn new(config: &Config, ttl: TtlBy) -> Settings {
        let softwire = &config.softwire;
        // RFC 6333 section 5.7: 192.0.0.0/29 is well known; .0 and .1 are nobody's source.
        let own = (Ipv4Addr::new(192, 0, 0, 2).to_bits(), Ipv4Addr::new(192, 0, 0, 7).to_bits());
        Settings {
            config: config.clone(),
            ttl,
            subscriber_mask: prefix_mask(softwire.subscriber_mask_v6),
            has_pass_through: !config.nat.nat_pass_through.is_empty(),
            has_policy_from_b4: !config.policy.deny_from_b4.is_empty(),
            has_policy_from_internet: !config.policy.deny_from_internet.is_empty(),
            internal: softwire.internal_prefixes.iter().map(range_v4).chain([own]).collect(),
            b4: softwire.b4_prefixes.iter().map(range_v6).collect(),
        }
    }

    /// Which of our addresses this is (RFC 6334: a B4 may pick any).
    #[inline(always)]
    pub(super) fn aftr_address(&self, address: Ipv6Addr) -> Option<u8> {
        let addresses = &self.config.softwire.aftr_ipv6_addr;
        addresses.iter().position(|own| *own == address).map(|at| at as u8)
    }

    /// Whether a B4 at this address may open a softwire (RFC 6333 section 11).
    pub(super) fn allows_b4(&self, address: Ipv6Addr) -> bool {
        self.b4.iter().any(|range| range.contains(&address.to_bits()))
    }

    /// Whether an inner source is translated (RFC 6333 section 11).
    #[inline(always)]
    pub(super) fn allows_internal(&self, address: Ipv4Addr) -> bool {
        let address = address.to_bits();
        self.internal.iter().any(|&(first, last)| first <= address && address <= last)
    }

    /// The subscriber's prefix, of a B4 address.
    #[inline]
    pub(super) fn subscriber_prefix(&self, b4: Ipv6Addr) -> u128 {
        b4.to_bits() & self.subscriber_mask
    }

    /// The prefix as a network, for events and views.
    pub(super) fn subscriber_net(&self, prefix: u128) -> Ipv6Net {
        Ipv6Net::new_assert(prefix.into(), self.config.softwire.subscriber_mask_v6)
    }

    /// What a SYN may ask for at most; none leaves it alone.
    #[inline]
    pub(super) fn mss_limit(&self) -> Option<u16> {
        let clamping = &self.config.softwire.mss_clamping;
        clamping.enable.then_some(clamping.mss_value)
    }

    #[inline]
    pub(super) fn filtering(&self, protocol: Protocol) -> Filtering {
        per_protocol(&self.config.nat.filtering_type, protocol)
    }

    /// Whether anything at all is left untranslated.
    pub(super) fn knows_pass_through(&self) -> bool {
        self.has_pass_through
    }

    /// Whether any rule leaves this destination address untranslated; ports are looked at later.
    #[inline(always)]
    pub(super) fn may_pass_through(&self, destination: Ipv4Addr) -> bool {
        self.has_pass_through
            && self.config.nat.nat_pass_through.iter().any(|rule| rule.prefix.contains(&destination))
    }

    /// RFC 6888 REQ-6: whether a remote address, protocol and port is reached untranslated.
    #[inline(always)]
    pub(super) fn passes_through(&self, remote: Ipv4Addr, protocol: Protocol, port: u16) -> bool {
        let applies = |rule: &PassThrough| {
            rule.prefix.contains(&remote)
                && rule.protocol.is_none_or(|only| only == protocol)
                && rule.port.is_none_or(|only| only == port)
        };
        self.has_pass_through && self.config.nat.nat_pass_through.iter().any(applies)
    }

    /// RFC 6908 section 2.5.1: whether policy refuses a packet from a B4.
    #[inline(always)]
    pub(super) fn denies_from_b4(
        &self,
        b4: Ipv6Addr,
        remote: Ipv4Addr,
        protocol: Protocol,
        port: u16,
    ) -> bool {
        let applies = |rule: &Rule| {
            rule.b4_prefix.is_none_or(|prefix| prefix.contains(&b4)) && matches(rule, remote, protocol, port)
        };
        self.has_policy_from_b4 && self.config.policy.deny_from_b4.iter().any(applies)
    }

    /// RFC 6908 section 2.5.2: whether policy refuses a packet from the Internet.
    #[inline(always)]
    pub(super) fn denies_from_internet(&self, remote: Ipv4Addr, protocol: Protocol, port: u16) -> bool {
        let applies = |rule: &Rule| matches(rule, remote, protocol, port);
        self.has_policy_from_internet && self.config.policy.deny_from_internet.iter().any(applies)
    }
}

fn matches(rule: &Rule, remote: Ipv4Addr, protocol: Protocol, port: u16) -> bool {
    rule.prefix.contains(&remote)
        && rule.protocol.is_none_or(|only| only == protocol)
        && rule.port.is_none_or(|only| only == port)
}

#[inline]
pub(super) fn per_protocol<T: Copy>(values: &PerProtocol<T>, protocol: Protocol) -> T {
    match protocol {
        Protocol::Tcp => values.tcp,
        Protocol::Udp => values.udp,
        Protocol::Icmp => values.icmp,
    }
}

/// The mask of a prefix length of 0 to 128.
pub(super) fn prefix_mask(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

fn range_v4(net: &Ipv4Net) -> (u32, u32) {
    (net.network().to_bits(), net.broadcast().to_bits())
}

fn range_v6(net: &Ipv6Net) -> RangeInclusive<u128> {
    net.network().to_bits()..=net.broadcast().to_bits()
}
