//! Small configurations. A family is what cannot change while the engine runs; a variant is what can.

use std::sync::OnceLock;

use aftr_config::Config;

/// The AFTR's addresses.
pub(super) const OURS: [&str; 2] = ["2001:db8:ff::1", "2001:db8:ff::2"];

/// Lines for `[softwire]`, lines for `[nat]`, and the sections that follow.
struct Lines(&'static str, &'static str, &'static str);

const TABLES: &str = "limit-subscribers = 64
limit-softwires = 64
limit-port-mappings = 256
limit-sessions = 128
limit-pass-through-sessions = 16
[softwire.reassembly]
limit = 8
limit-per-subscriber = 3
octets-per-subscriber = 131072
[nat.fragments]
limit = 8
limit-per-subscriber = 3
octets-per-subscriber = 131072
octets = 131072";
const FEW: &str = "limit-subscribers = 4
limit-softwires = 6
limit-port-mappings = 12
limit-sessions = 8
limit-pass-through-sessions = 2
[softwire.reassembly]
limit = 2
limit-per-subscriber = 1
octets-per-subscriber = 131072
octets = 131072
[nat.fragments]
limit = 2
limit-per-subscriber = 1
octets-per-subscriber = 131072
octets = 131072";

/// The last line of each names the tables.
const FAMILIES: &[(Lines, &str)] = &[
    (Lines("subscriber-mask-v6 = 56", "syn-held-max = 16", ""), TABLES),
    (Lines("subscriber-mask-v6 = 128", "syn-held-max = 16", ""), TABLES),
    (
        Lines(
            "subscriber-mask-v6 = 56",
            "syn-held-max = 2\nexternal-port-range = [1024, 1279]",
            "[nat.port-set]\nport-set-size = 64",
        ),
        FEW,
    ),
    (
        Lines(
            "subscriber-mask-v6 = 56",
            "syn-held-max = 16",
            r#"[[nat.mapping-table]]
b4-ipv6-address = "2001:db8:0:a00::1"
transport-protocol = "tcp"
internal-src-address = "10.0.0.2"
internal-src-port = 80
external-src-address = "192.0.2.9"
external-src-port = 8080
[[nat.mapping-table]]
b4-ipv6-address = "2001:db8:0:c00::1"
transport-protocol = "udp"
internal-src-address = "10.0.0.2"
internal-src-port = 53
external-src-address = "192.0.2.10"
external-src-port = 2053"#,
        ),
        TABLES,
    ),
    (
        Lines(
            "subscriber-mask-v6 = 56\nb4-prefixes = [\"2001:db8:0:800::/53\"]",
            "syn-held-max = 16\nexternal-port-range = [1024, 1535]",
            DETERMINISTIC,
        ),
        TABLES,
    ),
];

/// Eight prefixes of 56 bits with 64 ports each, seven at an address, where 64 more are granted on demand. A pool
/// of its own, because it cannot change.
const DETERMINISTIC: &str = r#"[nat.deterministic]
subscribers-per-address = 7
dynamic-shares = 1
[nat.port-set]
port-set-size = 64
max-port-sets = 2
[[nat.external-ip-address-pool]]
pool-id = 1
external-ip-pool = ["192.0.2.8/29"]"#;

const VARIANTS: &[Lines] = &[
    Lines("", "", POOL),
    Lines(
        "access-mtu = 1280\nencapsulation-limit = true\nflow-label = \"hash\"\nmax-softwires-per-subscriber = 3",
        "filtering-type = \"address-dependent\"\nudp-inbound-refresh = true\nport-parity-preservation = true\n\
         tcp-mid-session = \"rst\"\npool-echo = true\nudp-reject = true\nhold-down-max = 3\nexternal-mtu = 576\nipid-strict = true",
        POOL,
    ),
    Lines(
        "access-mtu = 1540\nanswer-unknown-b4 = true\nstate-migrate = false\nv6-v4-dscp-preservation = false\n\
         ecn = \"compat\"\nhop-limit = 255\nptb-clamp = true\n[softwire.mss-clamping]\nenable = false",
        "filtering-type = \"address-and-port-dependent\"",
        r#"[nat.port-quota]
tcp = 5
udp = 4
icmp = 2
new-mappings-per-second = 3
new-mappings-burst = 6
[nat.session-limits]
limit-per-subscriber = 6
limit-per-mapping = 3
inbound-half-open-per-mapping = 1
inbound-half-open-per-subscriber = 2
[nat.timers]
relaxed-timers = true
udp-timeout = 9
tcp-idle-timeout = 70
tcp-trans-open-timeout = 5
tcp-trans-close-timeout = 3
tcp-in-syn-timeout = 2
icmp-timeout = 4
fragment-min-timeout = 1
hold-down-timeout = 1
[[nat.timers.per-port-timeout]]
port-number = 53
timeout = 3
[policy]
downstream-dscp = 10
[icmp]
per-subscriber-rate = 1
per-subscriber-burst = 1
to-internet-rate = 5
echo-per-b4-rate = 1
POOL"#,
    ),
    Lines(
        "b4-address-change-limit = 0\ndf-policy = \"honour\"",
        "external-mtu = 1280\nunknown-ip-options = \"drop\"",
        r#"[[nat.nat-pass-through]]
prefix = "203.0.113.2/32"
[[nat.nat-pass-through]]
prefix = "10.99.0.0/16"
protocol = "tcp"
port = 80
[[policy.deny-from-b4]]
prefix = "0.0.0.0/0"
protocol = "tcp"
port = 25
[[policy.deny-from-b4]]
prefix = "203.0.113.4/32"
[[policy.deny-from-internet]]
prefix = "203.0.113.3/32"
[[nat.external-ip-address-pool]]
pool-id = 1
external-ip-pool = ["192.0.2.8/29"]
drain = ["192.0.2.11", "192.0.2.12"]
max-subscribers-per-address = 2"#,
    ),
    Lines(
        "b4-prefixes = [\"2001:db8:0:a00::/56\", \"2001:db8:0:c00::/54\"]",
        "syn-reject = false",
        r#"[icmp]
enable = false
[nat.timers]
hold-down-timeout = 0
[[nat.external-ip-address-pool]]
pool-id = 1
external-ip-pool = ["192.0.2.9-192.0.2.10"]
max-subscribers-per-address = 1
high-threshold = 10
low-threshold = 5
notify-interval = 900
[[nat.external-ip-address-pool]]
pool-id = 2
external-ip-pool = ["198.51.100.7"]
b4-prefixes = ["2001:db8:0:c00::/54"]"#,
    ),
];

const POOL: &str = r#"[[nat.external-ip-address-pool]]
pool-id = 1
external-ip-pool = ["192.0.2.8/29", "198.51.100.7"]"#;

/// Any two numbers name a configuration.
pub(super) fn config(family: u8, variant: u8) -> &'static Config {
    static ALL: OnceLock<Vec<Config>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let pairs =
            FAMILIES.iter().flat_map(|family| VARIANTS.iter().map(move |variant| text(family, variant)));
        pairs.map(|text| parse(&text)).collect()
    });
    &all[usize::from(family) % FAMILIES.len() * VARIANTS.len() + usize::from(variant) % VARIANTS.len()]
}

/// With `WORKERS=2` in the environment, two workers play together what two can.
fn parse(text: &str) -> Config {
    if let Ok(workers) = std::env::var("WORKERS")
        && let Ok(config) = Config::parse(&format!("{text}\n[dataplane]\nworkers = {workers}"))
    {
        return config;
    }
    Config::parse(text).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"))
}

fn text((fixed, tables): &(Lines, &str), variant: &Lines) -> String {
    let is_deterministic = fixed.2.contains("deterministic");
    let (softwire, sections) = if is_deterministic {
        // Neither its pool nor its prefixes can change.
        let pool = variant.2.find("[[nat.external-ip-address-pool]]").unwrap_or(variant.2.len());
        (String::new(), variant.2[..pool].replace("POOL", ""))
    } else if variant.0.contains("b4-prefixes") {
        (String::new(), variant.2.replace("POOL", POOL))
    } else {
        ("b4-prefixes = [\"2001:db8::/48\"]".to_owned(), variant.2.replace("POOL", POOL))
    };
    let own = if is_deterministic && variant.0.contains("b4-prefixes") { "" } else { variant.0 };
    format!(
        "[softwire]\naftr-ipv6-addr = [\"{}\", \"{}\"]\n{softwire}\n{}\n{own}\n[nat]\n{}\n{}\n[nat.mapping-limits]\n{tables}\n{}\n{sections}\n",
        OURS[0], OURS[1], fixed.0, fixed.1, variant.1, fixed.2
    )
}
