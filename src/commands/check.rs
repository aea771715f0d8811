//! `aftr check`: everything that is wrong with a configuration, or what it makes of the addresses.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::process::ExitCode;

use aftr_config::Pool;
use serde::Serialize;

use crate::daemon::load;
use crate::engine::{Aftr, Config};

/// Arguments of `aftr check`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration
    #[arg(value_name = "FILE", default_value = "/etc/aftr/aftr.toml")]
    file: PathBuf,
    /// For machines: one JSON object
    #[arg(long)]
    json: bool,
}

/// Checks the file and prints what it means.
///
/// # Errors
/// Everything that is wrong with the file.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let config = load(&arguments.file)?;
    let summary = Summary::new(&config);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
    } else {
        println!("{} is right.\n\n{summary}", arguments.file.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// What an operator plans with.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Summary {
    aftr_addresses: Vec<String>,
    b4_prefixes: Vec<String>,
    subscriber_mask_v6: u8,
    pools: usize,
    /// Addresses that new subscribers get: without those of `drain`.
    external_addresses: u64,
    port_set_size: u64,
    port_sets_per_address: u64,
    max_port_sets: u64,
    /// Subscribers that fit while each holds one port set, and when each holds all that it may.
    subscribers_at_most: u64,
    subscribers_at_least: u64,
    /// Subscribers that share one address, at most and at least.
    sharing_ratio_at_most: u64,
    sharing_ratio_at_least: u64,
    table_bytes: u64,
    advice: Vec<String>,
}

impl Summary {
    fn new(config: &Config) -> Summary {
        let nat = &config.nat;
        let range = &nat.external_port_range;
        let port_set_size = u64::from(nat.port_set.port_set_size);
        let port_sets = (u64::from(*range.end()) + 1 - u64::from(*range.start())) / port_set_size;
        let max_port_sets = u64::from(nat.port_set.max_port_sets);
        let (most, least) = match nat.deterministic {
            Some(deterministic) => {
                let sharing = u64::from(deterministic.subscribers_per_address);
                (sharing, sharing)
            }
            None => (port_sets, port_sets / max_port_sets),
        };
        let fit = |sharing: u64| {
            let pools = nat.external_ip_address_pool.iter();
            let fit: u64 = pools
                .map(|pool| addresses(pool) * sharing.min(u64::from(pool.max_subscribers_per_address)))
                .sum();
            fit.min(u64::from(nat.tables.limit_subscribers))
        };
        Summary {
            aftr_addresses: texts(&config.softwire.aftr_ipv6_addr),
            b4_prefixes: texts(&config.softwire.b4_prefixes),
            subscriber_mask_v6: config.softwire.subscriber_mask_v6,
            pools: nat.external_ip_address_pool.len(),
            external_addresses: nat.external_ip_address_pool.iter().map(addresses).sum(),
            port_set_size,
            port_sets_per_address: port_sets,
            max_port_sets,
            subscribers_at_most: fit(most),
            subscribers_at_least: fit(least),
            sharing_ratio_at_most: most,
            sharing_ratio_at_least: least,
            table_bytes: Aftr::memory(config),
            advice: advice(config),
        }
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let b4s = if self.b4_prefixes.is_empty() { "nobody".to_owned() } else { self.b4_prefixes.join(", ") };
        writeln!(f, "softwires     to {}, open to {b4s}", self.aftr_addresses.join(", "))?;
        writeln!(f, "subscriber    one for each /{} of B4 addresses", self.subscriber_mask_v6)?;
        let (addresses, pools) =
            (count(self.external_addresses, "address"), count(self.pools as u64, "pool"));
        writeln!(f, "Internet      {addresses} in {pools}")?;
        let sets = grouped(self.port_sets_per_address);
        writeln!(f, "ports         {sets} port sets of {} for each address", grouped(self.port_set_size))?;
        writeln!(
            f,
            "              a subscriber holds up to {}: {} ports",
            self.max_port_sets,
            grouped(self.max_port_sets * self.port_set_size)
        )?;
        writeln!(f, "subscribers   {}", span(self.subscribers_at_least, self.subscribers_at_most, "fit"))?;
        writeln!(
            f,
            "sharing       {}",
            span(self.sharing_ratio_at_least, self.sharing_ratio_at_most, "to an address")
        )?;
        write!(f, "memory        {} MiB for full tables", grouped(self.table_bytes.div_ceil(1 << 20)))?;
        if !self.advice.is_empty() {
            write!(f, "\n\nadvice")?;
        }
        self.advice.iter().try_for_each(|advice| write!(f, "\n  - {advice}"))
    }
}

/// What is allowed and seldom meant.
fn advice(config: &Config) -> Vec<String> {
    let mut advice = Vec::new();
    if config.softwire.b4_prefixes.is_empty() {
        advice.push("softwire.b4-prefixes is empty, so that nobody may open a softwire".to_owned());
    }
    if config.softwire.subscriber_mask_v6 == 128 {
        advice.push(
            "softwire.subscriber-mask-v6 is 128: each B4 address is a subscriber of its own, with limits of \
             its own; set it to the prefix length that you delegate to one home"
                .to_owned(),
        );
    }
    advice
}

fn addresses(pool: &Pool) -> u64 {
    let all: u64 = pool.external_ip_pool.iter().map(|prefix| 1 << (32 - prefix.prefix_len())).sum();
    all - pool.drain.len() as u64
}

fn texts(values: &[impl Display]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn span(least: u64, most: u64, what: &str) -> String {
    if least == most {
        format!("{} {what}", grouped(most))
    } else {
        format!("{} {what} with one port set each, {} with all", grouped(most), grouped(least))
    }
}

fn count(number: u64, what: &str) -> String {
    let plural = match (number, what.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{} {what}{plural}", grouped(number))
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_in_groups_of_three() {
        assert_eq!(
            [0, 999, 1000, 65536, 1_048_576].map(grouped),
            ["0", "999", "1,000", "65,536", "1,048,576"]
        );
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!(
            [count(1, "address"), count(16, "address"), count(2, "pool")],
            ["1 address", "16 addresses", "2 pools"]
        );
    }
}
