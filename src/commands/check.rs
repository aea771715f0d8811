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
    let summary = Summary::new(&config, std::thread::available_parallelism().map_or(0, usize::from));
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
    workers: u16,
    /// Bytes of all tables, when they are full.
    table_bytes: u64,
    /// Subscribers, mappings and sessions that a worker has room for.
    room: [u32; 3],
    advice: Vec<String>,
}

impl Summary {
    /// `processors`: how many this host gives us, 0 where that is not known.
    fn new(config: &Config, processors: usize) -> Summary {
        let list = |items: Vec<String>| if items.is_empty() { "nobody".to_owned() } else { items.join(", ") };
        let aftr = config.softwire.aftr_ipv6_addr.iter().map(ToString::to_string).collect();
        let b4s = config.softwire.b4_prefixes.iter().map(ToString::to_string).collect();
        let workers = config.dataplane.workers;
        let part = config.of_one_worker();
        let tables = &part.nat.tables;
        let mut advice = config.advice();
        advice.extend(too_few(processors, workers));
        Summary {
            softwires: format!("to {}, open to {}", list(aftr), list(b4s)),
            subscriber_mask_v6: config.softwire.subscriber_mask_v6,
            capacity: config.capacity(),
            workers,
            table_bytes: table_bytes(&part, workers),
            room: [tables.limit_subscribers, tables.limit_port_mappings, tables.limit_sessions],
            advice,
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
            "workers": self.workers,
            "table-bytes": self.table_bytes,
            "room-of-a-worker": {
                "subscribers": self.room[0],
                "port-mappings": self.room[1],
                "sessions": self.room[2],
            },
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
        if self.workers > 1 {
            let [subscribers, mappings, sessions] = self.room;
            write!(
                f,
                " of all workers\nworkers                 {}; each has room for {subscribers} subscribers, \
                 {mappings} mappings, {sessions} sessions",
                self.workers
            )?;
        }
        if !self.advice.is_empty() {
            write!(f, "\n\nadvice")?;
        }
        self.advice.iter().try_for_each(|advice| write!(f, "\n  - {advice}"))
    }
}

/// `part` is what each of the workers has. What goes by external addresses is reserved by all of them and used by
/// the owner of each.
fn table_bytes(part: &Config, workers: u16) -> u64 {
    let mut without_addresses = part.clone();
    without_addresses.nat.external_ip_address_pool.clear();
    let own = Aftr::memory(&without_addresses);
    u64::from(workers) * own + (Aftr::memory(part) - own)
}

fn too_few(processors: usize, workers: u16) -> Option<String> {
    let is_less = processors != 0 && usize::from(workers) > processors;
    is_less.then(|| {
        format!(
            "dataplane.workers = {workers}: this host has {processors} processors for us, and workers that share \
             one gain nothing"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let text = include_str!("../../aftr-config/examples/minimal.toml");
        let config = Config::parse(text).unwrap_or_else(|errors| panic!("{errors:?}"));
        let summary = Summary::new(&config, 8);
        let (words, json) = (summary.to_string(), summary.to_json());
        assert_eq!((&json["external-addresses"], &json["subscribers"]), (&json!(16), &json!(2016)));
        assert!(words.contains("2016, 126 to an address"), "{words}");
        let advice = json["advice"].as_array().expect("a list");
        assert!(advice.iter().all(|line| words.contains(line.as_str().expect("text"))));
    }

    #[test]
    fn of_several_workers_the_part_of_each_is_told() {
        let text = include_str!("../../aftr-config/examples/minimal.toml");
        let one = Config::parse(text).unwrap_or_else(|errors| panic!("{errors:?}"));
        let mut four = one.clone();
        four.dataplane.workers = 4;
        let (alone, together) = (Summary::new(&one, 2), Summary::new(&four, 2));
        assert!(!alone.to_string().contains("workers"), "{alone}");
        assert_eq!(alone.table_bytes, Aftr::memory(&one));
        // The index by external address is there once; of everything else there is a little more.
        assert!((alone.table_bytes..4 * alone.table_bytes).contains(&together.table_bytes));
        let mappings = four.of_one_worker().nat.tables.limit_port_mappings;
        assert!(mappings < one.nat.tables.limit_port_mappings);
        let words = together.to_string();
        assert!(words.contains("of all workers"), "{words}");
        assert!(
            words.contains("4; each has room for") && words.contains(&format!("{mappings} mappings")),
            "{words}"
        );
        assert!(words.contains("this host has 2 processors"), "{words}");
        assert_eq!(together.to_json()["room-of-a-worker"]["port-mappings"], json!(mappings));
        assert!(!Summary::new(&four, 4).to_string().contains("processors"));
    }
}
