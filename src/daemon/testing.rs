//! What the tests of this folder share.

use crate::engine::Config;

/// The smallest configuration, with one pool of this prefix.
pub(super) fn config(pool: &str, workers: u16) -> Config {
    let text = format!(
        r#"
[softwire]
aftr-ipv6-addr = ["2001:db8:aaaa::1"]
b4-prefixes = ["2001:db8:b4::/48"]
[[nat.external-ip-address-pool]]
pool-id = 1
external-ip-pool = ["{pool}"]
[dataplane]
workers = {workers}
"#
    );
    Config::parse(&text).unwrap()
}
