//! What a configuration allows, and an operator may not have meant.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::prefixes::{PRIVATE, touch};
use crate::softwire::not_a_tunnel_end;
use crate::{Capacity, Config, DfPolicy, Filtering};

/// A page of today opens as many connections as this.
const FEW_PORTS: u32 = 64;
/// An inner packet of 1500 octets and the outer header.
const WHOLE_PACKET: u16 = 1540;
const OUTER_HEADER: u16 = 40;
/// Octets that a link of Ethernet takes.
const ETHERNET: u16 = 1500;
/// More than this share an address only with fewer than 512 ports each.
const MANY_SUBSCRIBERS: u32 = 128;
/// A home with a few devices holds about as many mappings.
const MAPPINGS_OF_A_HOME: u64 = 64;

pub(crate) fn advice(config: &Config) -> Vec<String> {
    let capacity = config.capacity();
    let mut advice = Vec::new();
    on_softwires(config, &mut advice);
    on_internal_prefixes(config, &mut advice);
    on_pools(config, &mut advice);
    on_pool_b4_prefixes(config, &mut advice);
    on_ports(config, &capacity, &mut advice);
    on_tables(config, &capacity, &mut advice);
    on_timers(config, &mut advice);
    on_filtering(config, &mut advice);
    on_policy(config, &mut advice);
    crate::workers::advise(config, &mut advice);
    crate::export::advice(&config.export, &mut advice);
    advice
}

fn on_softwires(config: &Config, advice: &mut Vec<String>) {
    let softwire = &config.softwire;
    if softwire.b4_prefixes.is_empty() {
        advice.push("softwire.b4-prefixes is empty: nobody may open a softwire (RFC 6333 section 11)".into());
    }
    for prefix in softwire.b4_prefixes.iter().filter(|prefix| prefix.prefix_len() > 0) {
        if let Some(what) = not_a_tunnel_end(prefix.network()) {
            advice.push(format!(
                "softwire.b4-prefixes: {prefix} begins with {what}, which is never answered (RFC 4213 section 3.6)"
            ));
        }
    }
    if softwire.subscriber_mask_v6 == 128 {
        advice.push(
            "softwire.subscriber-mask-v6 = 128: every IPv6 address is a subscriber with port sets and quotas of \
             its own, so a home with a delegated /56 may be 2^72 of them; set it to the length that is \
             delegated (RFC 7785 section 3)"
                .into(),
        );
        if softwire.max_softwires_per_subscriber > 1 {
            advice.push(format!(
                "softwire.max-softwires-per-subscriber = {} has no effect at subscriber-mask-v6 = 128: a \
                 subscriber has one address",
                softwire.max_softwires_per_subscriber
            ));
        }
    }
    on_sizes(config, advice);
}

/// What does not fit: the softwire, the segments that hosts send, the Internet side.
fn on_sizes(config: &Config, advice: &mut Vec<String>) {
    let softwire = &config.softwire;
    let (access, tunnel) = (softwire.access_mtu, softwire.tunnel_mtu());
    let whole = WHOLE_PACKET + (access - tunnel - OUTER_HEADER);
    if access < whole {
        let what = match softwire.df_policy {
            DfPolicy::FragmentOuter => {
                format!(
                    "softwire.access-mtu = {access}: packets of more than {tunnel} octets cross the softwire in fragments"
                )
            }
            DfPolicy::Honour => format!(
                "softwire.access-mtu = {access} with df-policy = \"honour\": packets of more than {tunnel} octets are \
                 refused when they have DF, and cross the softwire in fragments without it"
            ),
        };
        advice.push(format!(
            "{what}; raise the MTU of the access network to {whole} or more (RFC 6333 section 5.3)"
        ));
    }
    if softwire.df_policy == DfPolicy::Honour && access < whole && !softwire.mss_clamping.enable {
        advice.push(
            "softwire.mss-clamping is off with df-policy = \"honour\": full TCP segments are refused, and a \
             connection hangs where its sender does not get the error; set mss-clamping.enable = true"
                .into(),
        );
    }
    let most = tunnel - 40;
    if softwire.mss_clamping.enable && softwire.mss_clamping.mss_value > most {
        advice.push(format!(
            "softwire.mss-clamping.mss-value = {} is above {most}, access-mtu less {}: full TCP segments {}",
            softwire.mss_clamping.mss_value,
            access - most,
            match softwire.df_policy {
                DfPolicy::FragmentOuter => "are fragmented",
                DfPolicy::Honour => "are refused",
            }
        ));
    }
    if config.nat.external_mtu > ETHERNET {
        advice.push(format!(
            "nat.external-mtu = {} is above {ETHERNET}: few paths in the Internet take that; what is larger is lost \
             further on where it has DF and its sender does not get the error",
            config.nat.external_mtu
        ));
    }
}

fn on_internal_prefixes(config: &Config, advice: &mut Vec<String>) {
    if config.softwire.internal_prefixes.is_empty() {
        advice.push(
            "softwire.internal-prefixes is empty: only packets from 192.0.0.2 to 192.0.0.7 are translated, and \
             hosts behind a B4 that does not translate are refused"
                .into(),
        );
    }
}

fn on_pools(config: &Config, advice: &mut Vec<String>) {
    let pools = &config.nat.external_ip_address_pool;
    for pool in pools {
        let id = pool.pool_id;
        for net in &pool.external_ip_pool {
            if let Some(block) = PRIVATE.iter().find(|block| touch(**block, *net)) {
                advice.push(format!("pool {id}: {net} is in {block}, which the Internet does not route"));
            }
        }
        if pool.drain.len() as u64 == pool.addresses() {
            advice.push(format!("pool {id}: every address is drained, so it takes no new subscriber"));
        }
    }
}

/// Who has a pool, and which pool has anybody.
fn on_pool_b4_prefixes(config: &Config, advice: &mut Vec<String>) {
    let (pools, softwire) = (&config.nat.external_ip_address_pool, &config.softwire);
    for pool in pools {
        for prefix in &pool.b4_prefixes {
            if !softwire.b4_prefixes.iter().any(|b4| b4.contains(prefix) || prefix.contains(b4)) {
                advice.push(format!(
                    "pool {}: {prefix} is in none of softwire.b4-prefixes, so nobody there has a softwire",
                    pool.pool_id
                ));
            }
            if prefix.prefix_len() > softwire.subscriber_mask_v6 {
                advice.push(format!(
                    "pool {}: {prefix} is a part of one subscriber at subscriber-mask-v6 = {}; all of it keeps \
                     the address that it was given first",
                    pool.pool_id, softwire.subscriber_mask_v6
                ));
            }
        }
    }
    if pools.iter().any(|pool| pool.b4_prefixes.is_empty()) {
        return;
    }
    for b4 in &softwire.b4_prefixes {
        if !pools.iter().flat_map(|pool| &pool.b4_prefixes).any(|prefix| prefix.contains(b4)) {
            advice.push(format!("{b4} of softwire.b4-prefixes is not wholly in the b4-prefixes of a pool"));
        }
    }
}

fn on_ports(config: &Config, capacity: &Capacity, advice: &mut Vec<String>) {
    let first = *config.nat.external_port_range.start();
    if first < 1024 {
        advice.push(format!(
            "nat.external-port-range begins at {first}: ports below 1024 are not for sharing (RFC 6908 section \
             2.11)"
        ));
    }
    if capacity.sharing_ratio > MANY_SUBSCRIBERS {
        advice.push(format!(
            "{} subscribers may share an address, at {} ports each: pages fail when ports run out (RFC 6269 \
             section 5); lower max-subscribers-per-address",
            capacity.sharing_ratio,
            capacity.own_range.unwrap_or(capacity.ports_per_set)
        ));
    }
    if let Some(own) = capacity.own_range.filter(|own| *own < FEW_PORTS) {
        advice.push(format!(
            "nat.deterministic leaves {own} ports to a subscriber: a page of today opens more connections; lower \
             subscribers-per-address"
        ));
    }
    let quota = &config.nat.port_quota;
    for (key, value) in [("tcp", quota.tcp), ("udp", quota.udp), ("icmp", quota.icmp)] {
        if value > capacity.ports_per_subscriber {
            advice.push(format!(
                "nat.port-quota.{key} = {value} cannot be reached: the port sets of a subscriber hold {} ports",
                capacity.ports_per_subscriber
            ));
        }
    }
}

fn on_tables(config: &Config, capacity: &Capacity, advice: &mut Vec<String>) {
    let tables = &config.nat.tables;
    let subscribers = capacity.subscribers.min(u64::from(tables.limit_subscribers));
    if u64::from(tables.limit_subscribers) < capacity.subscribers {
        advice.push(format!(
            "nat.mapping-limits.limit-subscribers = {} is below the {} subscribers that the pools hold",
            tables.limit_subscribers, capacity.subscribers
        ));
    }
    if tables.limit_softwires < tables.limit_subscribers {
        advice.push(format!(
            "nat.mapping-limits.limit-softwires = {} is below limit-subscribers = {}: some have none",
            tables.limit_softwires, tables.limit_subscribers
        ));
    }
    for (key, limit) in
        [("limit-port-mappings", tables.limit_port_mappings), ("limit-sessions", tables.limit_sessions)]
    {
        if u64::from(limit) < subscribers * MAPPINGS_OF_A_HOME {
            advice.push(format!(
                "nat.mapping-limits.{key} = {limit} is {} for each of {subscribers} subscribers",
                u64::from(limit) / subscribers
            ));
        }
    }
}

fn on_timers(config: &Config, advice: &mut Vec<String>) {
    let timers = &config.nat.timers;
    for (floor, value) in timers.floored() {
        if value < floor.seconds {
            advice.push(format!(
                "nat.timers.{} = {value} does not conform to {}, whose floor is {} s: for a lab only",
                floor.key, floor.source, floor.seconds
            ));
        }
    }
    if timers.hold_down_timeout < 120 {
        advice.push(format!(
            "nat.timers.hold-down-timeout = {}: a freed port may be another subscriber's before 120 s are over \
             (RFC 6888 REQ-8)",
            timers.hold_down_timeout
        ));
    }
}

fn on_filtering(config: &Config, advice: &mut Vec<String>) {
    let filtering = &config.nat.filtering_type;
    let all = [filtering.tcp, filtering.udp, filtering.icmp];
    if all.iter().any(|filtering| *filtering != Filtering::EndpointIndependent) {
        advice.push(
            "nat.filtering-type is not endpoint-independent for all: applications that meet peers through a \
             server may fail (RFC 6888 REQ-7)"
                .into(),
        );
    }
}

fn on_policy(config: &Config, advice: &mut Vec<String>) {
    for rule in &config.policy.deny_from_b4 {
        let b4s = &config.softwire.b4_prefixes;
        if let Some(prefix) = rule.b4_prefix
            && !b4s.iter().any(|b4| b4.contains(&prefix) || prefix.contains(b4))
        {
            advice.push(format!(
                "policy.deny-from-b4: {prefix} is in none of softwire.b4-prefixes, so the rule never matches"
            ));
        }
    }
    let everybody = Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0);
    for rule in &config.policy.deny_from_internet {
        if rule.prefix == everybody && rule.protocol.is_none() {
            advice.push("policy.deny-from-internet refuses every packet: no reply reaches a B4".into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        [softwire]
        aftr-ipv6-addr = ["2001:db8:aaaa::1"]
        b4-prefixes = ["2001:db8:b4::/48"]
        subscriber-mask-v6 = 56
        access-mtu = 1540
        [[nat.external-ip-address-pool]]
        pool-id = 1
        external-ip-pool = ["198.51.100.0/28"]
        [nat.mapping-limits]
        limit-subscribers = 2016
    "#;
    const B4: &str = "b4-prefixes = [\"2001:db8:b4::/48\"]";
    const MASK: &str = "subscriber-mask-v6 = 56";
    const MTU: &str = "access-mtu = 1540";
    const POOL: &str = "external-ip-pool = [\"198.51.100.0/28\"]";
    const LIMITS: &str = "[nat.mapping-limits]";

    /// The advice on the text with `more` in front of `at`, or in its place.
    fn advice_on(at: &str, more: &str, keep: bool) -> Vec<String> {
        assert!(TEXT.contains(at), "{at}");
        let text = TEXT.replace(at, &format!("{more}\n{}", if keep { at } else { "" }));
        Config::parse(&text).unwrap_or_else(|errors| panic!("{more}: {errors:?}")).advice()
    }

    #[test]
    fn there_is_none_on_what_conforms_and_fits() {
        assert_eq!(advice_on(LIMITS, "", true), [""; 0]);
    }

    #[test]
    fn what_replaces_a_key_is_advised_on() {
        for (key, replacement, said) in [
            (B4, "", "nobody may open a softwire"),
            (B4, "b4-prefixes = ['2001:db8:b4::/48', 'fe80::/10']", "a link-local address"),
            (MASK, "", "subscriber-mask-v6 = 128"),
            (
                MTU,
                "access-mtu = 1539",
                "packets of more than 1499 octets cross the softwire in fragments; raise",
            ),
            (
                MTU,
                "access-mtu = 1500\ndf-policy = 'honour'",
                "more than 1460 octets are refused when they have DF, and cross the softwire in fragments without it",
            ),
            (POOL, "external-ip-pool = ['100.64.0.0/28']", "100.64.0.0/10"),
            (POOL, "external-ip-pool = ['192.0.2.1']\ndrain = ['192.0.2.1']", "every address is drained"),
        ] {
            one_sentence(&advice_on(key, replacement, false), said);
        }
    }

    #[test]
    fn what_is_added_is_advised_on() {
        for (at, more, said) in [
            (MTU, "encapsulation-limit = true", "to 1548 or more"),
            (
                MASK,
                "mss-clamping.mss-value = 1461",
                "above 1460, access-mtu less 80: full TCP segments are fragmented",
            ),
            (LIMITS, "[nat]\nexternal-mtu = 1501", "nat.external-mtu = 1501 is above 1500"),
            (MASK, "internal-prefixes = []", "internal-prefixes is empty"),
            (LIMITS, "[nat]\nexternal-port-range = [512, 65023]", "begins at 512"),
            (LIMITS, "[nat.port-quota]\ntcp = 2049", "hold 2048 ports"),
            (LIMITS, "[nat.timers]\nhold-down-timeout = 0", "RFC 6888 REQ-8"),
            (
                LIMITS,
                "[nat.timers]\nrelaxed-timers = true\nudp-timeout = 60",
                "not conform to RFC 4787 REQ-5",
            ),
            (LIMITS, "[nat]\nfiltering-type = 'address-dependent'", "REQ-7"),
            (
                LIMITS,
                "[[policy.deny-from-b4]]\nprefix = '0.0.0.0/0'\nb4-prefix = '2001:db8::/64'",
                "never matches",
            ),
            (LIMITS, "[[policy.deny-from-internet]]\nprefix = '0.0.0.0/0'", "no reply reaches a B4"),
            (
                LIMITS,
                "[[ipfix.collector]]\naddress = '127.0.0.1'\npreset = 'nfdump'",
                "all go by UDP, which loses records in silence",
            ),
            (
                LIMITS,
                "[[ipfix.collector]]\naddress = '127.0.0.1'\nqueue-mib = 7",
                "the ipfix.collector at 127.0.0.1, port 4739, has no spool: what does not fit in 7 MiB",
            ),
            (
                LIMITS,
                "[[ipfix.collector]]\naddress = '192.0.2.1'\nspool = { directory = '/s' }",
                "are not encrypted and name subscribers",
            ),
        ] {
            one_sentence(&advice_on(at, more, true), said);
        }
    }

    #[test]
    fn honour_without_clamping_is_advised_on_where_segments_do_not_fit() {
        let honour = "df-policy = 'honour'\nmss-clamping.enable = false";
        assert_eq!(advice_on(MTU, honour, true), [""; 0]);
        let advice = advice_on(MTU, &format!("access-mtu = 1500\n{honour}"), false);
        assert!(advice.iter().any(|sentence| sentence.contains("mss-clamping.enable = true")), "{advice:#?}");
    }

    #[test]
    fn tables_that_are_smaller_than_the_pools_are_advised_on() {
        for (limits, said) in [
            ("limit-subscribers = 2015", "below the 2016 subscribers"),
            ("limit-subscribers = 2016\nlimit-softwires = 7", "some have none"),
            ("limit-subscribers = 2016\nlimit-sessions = 100000", "is 49 for each"),
            ("limit-subscribers = 2016\nlimit-port-mappings = 100000", "is 49 for each"),
        ] {
            one_sentence(&advice_on("limit-subscribers = 2016", limits, false), said);
        }
    }

    #[test]
    fn a_full_address_with_small_sets_is_many_subscribers() {
        let advice = advice_on(LIMITS, "[nat.port-set]\nport-set-size = 64", true);
        assert!(advice.iter().any(|sentence| sentence.starts_with("1008 subscribers")), "{advice:#?}");
    }

    #[test]
    fn a_short_own_range_is_advised_on() {
        let more = "[nat.deterministic]\nsubscribers-per-address = 1100\ndynamic-shares = 8";
        let advice = advice_on(LIMITS, more, true);
        assert!(advice.iter().any(|sentence| sentence.contains("leaves 58 ports")), "{advice:#?}");
    }

    #[test]
    fn a_b4_without_a_pool_and_a_pool_without_a_b4() {
        assert_eq!(advice_on(POOL, "b4-prefixes = ['2001:db8:b4::/48']", true), [""; 0]);
        let advice = advice_on(POOL, "b4-prefixes = ['2001:db8:b5::/64']", true);
        for said in ["nobody there has a softwire", "a part of one subscriber", "is not wholly in"] {
            assert!(advice.iter().any(|sentence| sentence.contains(said)), "{said}: {advice:#?}");
        }
    }

    fn one_sentence(advice: &[String], said: &str) {
        assert!(matches!(advice, [only] if only.contains(said)), "{said}: {advice:#?}");
    }
}
