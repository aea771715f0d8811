//! `aftr check`: everything that is wrong with a configuration, or what it makes of the addresses.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::process::ExitCode;

use aftr_config::Capacity;
use serde_json::json;

use super::configuration::configuration;
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
    let config = configuration(&arguments.file, "name the file: aftr check FILE")?;
    let summary = Summary::new(&config);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&summary.to_json())?);
    } else {
        println!("{} is right.\n\n{summary}", arguments.file.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// What an operator plans with.
struct Summary {
    softwires: String,
    subscriber_mask_v6: u8,
    capacity: Capacity,
    /// Bytes of all tables, when they are full.
    table_bytes: u64,
    advice: Vec<String>,
}

impl Summary {
    fn new(config: &Config) -> Summary {
        let list = |items: Vec<String>| if items.is_empty() { "nobody".to_owned() } else { items.join(", ") };
        let aftr = config.softwire.aftr_ipv6_addr.iter().map(ToString::to_string).collect();
        let b4s = config.softwire.b4_prefixes.iter().map(ToString::to_string).collect();
        Summary {
            softwires: format!("to {}, open to {}", list(aftr), list(b4s)),
            subscriber_mask_v6: config.softwire.subscriber_mask_v6,
            capacity: config.capacity(),
            table_bytes: Aftr::memory(config),
            advice: config.advice(),
        }
    }

    fn to_json(&self) -> serde_json::Value {
        let capacity = &self.capacity;
        json!({
            "subscriber-mask-v6": self.subscriber_mask_v6,
            "external-addresses": capacity.external_addresses,
            "drained-addresses": capacity.drained_addresses,
            "port-sets-per-address": capacity.port_sets_per_address,
            "ports-per-set": capacity.ports_per_set,
            "own-range": capacity.own_range,
            "subscribers": capacity.subscribers,
            "subscribers-with-all-sets": capacity.subscribers_with_all_sets,
            "sharing-ratio": capacity.sharing_ratio,
            "ports-per-subscriber": capacity.ports_per_subscriber,
            "mappings-per-protocol": capacity.mappings_per_protocol,
            "table-bytes": self.table_bytes,
            "advice": self.advice,
        })
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "softwires               {}", self.softwires)?;
        writeln!(f, "subscriber              one for each /{} of B4 addresses", self.subscriber_mask_v6)?;
        writeln!(f, "{}", self.capacity)?;
        write!(f, "memory                  {} MiB for full tables", self.table_bytes.div_ceil(1 << 20))?;
        if !self.advice.is_empty() {
            write!(f, "\n\nadvice")?;
        }
        self.advice.iter().try_for_each(|advice| write!(f, "\n  - {advice}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let text = include_str!("../../aftr-config/examples/minimal.toml");
        let config = Config::parse(text).unwrap_or_else(|errors| panic!("{errors:?}"));
        let summary = Summary::new(&config);
        let (words, json) = (summary.to_string(), summary.to_json());
        assert_eq!((&json["external-addresses"], &json["subscribers"]), (&json!(16), &json!(2016)));
        assert!(words.contains("2016, 126 to an address"), "{words}");
        let advice = json["advice"].as_array().expect("a list");
        assert!(advice.iter().all(|line| words.contains(line.as_str().expect("text"))));
    }
}
