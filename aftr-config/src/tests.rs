//! The language as a whole: that the reference is complete and true, and what an empty text misses.

use super::*;

const MINIMAL: &str = include_str!("../examples/minimal.toml");
const CARRIER: &str = include_str!("../examples/carrier.toml");
const REFERENCE: &str = include_str!("../examples/reference.toml");

#[test]
fn the_reference_sets_every_key_to_its_default() {
    assert_eq!(parsed(REFERENCE), parsed(MINIMAL));
}

#[test]
fn the_reference_shows_every_key() {
    let text = with_absent_keys(REFERENCE);
    let document = DeTable::parse(&text).expect("the reference without its comment signs is TOML");
    let report = Report::new(&text, document.get_ref());
    Config::read(Table::root(document.get_ref(), &report));
    assert_eq!(report.absent(), [""; 0], "keys that the reference does not name");
    // Two defaults are others once there are own ranges and a rule; two keys are for another device, and
    // one for another transport.
    let errors: Vec<_> = report.into_errors().into_iter().map(|error| error.key).collect();
    assert_eq!(
        errors,
        [
            "nat.mapping-limits.limit-pass-through-sessions",
            "nat.external-ip-address-pool[0].max-subscribers-per-address",
            "dataplane.interfaces",
            "dataplane.proxy-neighbours",
            "ipfix.collector[0].template-refresh",
        ]
    );
}

#[test]
fn the_carrier_serves_fifty_thousand_homes_without_advice() {
    let config = parsed(CARRIER);
    let capacity = config.capacity();
    assert!(capacity.subscribers_with_all_sets >= 50_000, "{capacity}");
    assert_eq!(config.advice(), [""; 0]);
}

#[test]
fn an_empty_text_lacks_an_aftr_address_and_a_pool() {
    let errors = Config::parse("").unwrap_err();
    let keys: Vec<_> = errors.iter().map(|error| error.key.as_str()).collect();
    assert_eq!(keys, ["softwire.aftr-ipv6-addr", "nat.external-ip-address-pool"]);
    assert!(errors.iter().all(|error| !error.cure.is_empty() && error.line == 1));
}

#[test]
fn defaults_that_follow_from_other_keys() {
    let text = MINIMAL.replace(
        "b4-prefixes = [\"2001:db8:b4::/48\"]",
        "b4-prefixes = [\"2001:db8:b4::/48\"]\nsubscriber-mask-v6 = 56\nmax-softwires-per-subscriber = 3\n\
         encapsulation-limit = true",
    );
    let config = parsed(&format!(
        "{text}\n[nat.deterministic]\nsubscribers-per-address = 20\n\
         [[nat.nat-pass-through]]\nprefix = '203.0.113.0/24'"
    ));
    assert_eq!(config.softwire.mss_clamping.mss_value, 1500 - 48 - 40);
    assert_eq!(config.nat.tables.limit_softwires, 3 * 65536);
    assert_eq!(config.nat.tables.limit_pass_through_sessions, 65536);
    assert_eq!(config.nat.external_ip_address_pool[0].max_subscribers_per_address, 20);
    assert_eq!(config.nat.deterministic.map(|deterministic| deterministic.dynamic_shares), Some(2));
}

#[test]
fn an_error_stands_where_the_key_stands() {
    let errors = Config::parse(&MINIMAL.replace("pool-id = 1", "  pool-id = -1")).unwrap_err();
    let [error] = errors.as_slice() else { panic!("{errors:?}") };
    assert_eq!((error.key.as_str(), error.line), ("nat.external-ip-address-pool[0].pool-id", 8));
    assert_eq!(error.column, 3);
}

#[test]
fn an_element_keeps_its_place_behind_a_wrong_one() {
    let text = MINIMAL
        .replace("[\"198.51.100.0/28\"]", "[\"nonsense\", \"198.51.100.0-198.51.100.5\", \"10.0.0.1\"]");
    let errors = Config::parse(&text).unwrap_err();
    let keys: Vec<_> = errors.iter().map(|error| error.key.rsplit('.').next().unwrap_or_default()).collect();
    assert_eq!(keys, ["external-ip-pool[0]", "external-ip-pool[2]"]);
}

/// The text with the keys that are absent by default: their lines begin with `#` and no space.
fn with_absent_keys(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn parsed(text: &str) -> Config {
    Config::parse(text).unwrap_or_else(|errors| {
        panic!("{}", errors.iter().map(|error| format!("{error}\n")).collect::<String>())
    })
}
