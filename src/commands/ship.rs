//! `aftr journal ship`, and the ClickHouse that both it and `aftr attribute` talk to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;

use super::attribute::now;
use super::refusal::Refusal;
use crate::attribution::Directory;
use crate::attribution::fleet::{Address, Check, Clickhouse, Shipment, Shipper, check, create};

/// Arguments of `aftr journal ship`.
#[derive(Debug, clap::Args)]
pub(super) struct Ship {
    /// Where to: clickhouse://[user[:password]@]host[:port]/[database]; clickhouses:// with TLS
    #[arg(long, value_name = "URL")]
    to: Address,
    /// The directory of the journal
    #[arg(long, value_name = "DIR", default_value = "/var/lib/aftr/journal")]
    journal: PathBuf,
    /// The name of this AFTR, of its own in the fleet; the host's name if left out
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    /// Make the database and its tables where they are not there
    #[arg(long)]
    create: bool,
    /// With --create: ClickHouse removes what is older, 1 to 730 days
    #[arg(long, value_name = "DAYS", default_value_t = 180, value_parser = clap::value_parser!(u16).range(1..=730))]
    retention_days: u16,
    /// Ship nothing: compare everything that is there with the journal, interval by interval
    #[arg(long, conflicts_with_all = ["create", "repair"])]
    verify: bool,
    /// Compare everything, and ship anew what is not there as it was sealed
    #[arg(long)]
    repair: bool,
    /// For machines: one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: Access,
}

/// How a ClickHouse lets somebody in.
#[derive(Debug, clap::Args)]
pub(super) struct Access {
    /// A file with the password of the URL's user: a command line can be read by everybody on the host
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// With TLS: a file with the certificate of the authority to believe, in PEM
    #[arg(long, value_name = "FILE")]
    authority: Option<PathBuf>,
}

/// Status 1 where something is wrong.
pub(super) fn run(ship: &Ship) -> anyhow::Result<ExitCode> {
    let clickhouse = clickhouse(&ship.to, &ship.access)?;
    let directory = Directory::new(&ship.journal);
    let aftr = name(ship.name.as_deref())?;
    if ship.verify {
        return Ok(tell_check(&check(&clickhouse, &directory, &aftr, now())?, &aftr, ship));
    }
    if ship.create {
        create(&clickhouse, ship.retention_days)?;
    }
    let mut anew = BTreeSet::new();
    if ship.repair {
        let found = check(&clickhouse, &directory, &aftr, now())?;
        found.findings.iter().for_each(|finding| eprintln!("found: {}", finding.text));
        anew.extend(found.findings.iter().map(|finding| finding.segment));
    }
    let chance = u64::from(std::process::id());
    let shipper =
        Shipper { clickhouse: &clickhouse, directory: &directory, aftr: &aftr, clock: &now, chance };
    let shipment =
        shipper.ship(&anew).with_context(|| format!("cannot ship the journal {}", ship.journal.display()))?;
    Ok(tell_shipment(&shipment, &aftr, ship))
}

/// The ClickHouse at an address, with what the files say.
pub(super) fn clickhouse(address: &Address, access: &Access) -> anyhow::Result<Clickhouse> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let mut address = address.clone();
    if let Some(path) = &access.password_file {
        let password = read(path)?;
        address.password = String::from_utf8_lossy(&password).trim_end_matches(['\r', '\n']).to_owned();
    }
    let authority = access.authority.as_deref().map(read).transpose()?;
    Clickhouse::new(&address, authority.as_deref()).context("the authority's certificate cannot be read")
}

fn name(given: Option<&str>) -> Result<String, Refusal> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name = given.map_or(host, str::to_owned);
    if name.trim().is_empty() || name == "localhost" || name == "(none)" {
        let why = format!("{name:?} is no name that one AFTR of a fleet has alone");
        return Err(Refusal { why, cure: "give it one: --as NAME".to_owned() });
    }
    Ok(name)
}

fn tell_shipment(shipment: &Shipment, aftr: &str, ship: &Ship) -> ExitCode {
    let Shipment { shipped, rows, octets, before, removed, findings } = shipment;
    if ship.json {
        let line = json!({
            "aftr": aftr, "to": ship.to.to_string(), "shipped": shipped, "intervals": rows, "octets": octets,
            "before": before, "removed": removed, "findings": findings,
        });
        println!("{line}");
    } else {
        println!(
            "shipped {} partitions with {rows} intervals ({octets} octets) of {aftr} to {}, each proved; {before} \
             were there before",
            shipped.len(),
            ship.to
        );
        if *removed > 0 {
            println!("removed what {removed} earlier attempts had left there");
        }
        findings.iter().for_each(|finding| println!("WRONG: {finding}"));
    }
    status(findings.is_empty())
}

fn tell_check(check: &Check, aftr: &str, ship: &Ship) -> ExitCode {
    let Check { segments, rows, waiting, findings } = check;
    if ship.json {
        let line = json!({
            "aftr": aftr, "to": ship.to.to_string(), "partitions": segments, "intervals": rows, "waiting": waiting,
            "findings": findings.iter().map(|finding| &finding.text).collect::<Vec<_>>(),
        });
        println!("{line}");
    } else {
        println!("{segments} partitions with {rows} intervals of {aftr} in {}", ship.to);
        if let (Some(first), Some(last)) = (waiting.first(), waiting.last()) {
            println!("{} sealed partitions are not shipped yet: {first} to {last}", waiting.len());
        }
        findings.iter().for_each(|finding| println!("WRONG: {}", finding.text));
        let all = if findings.is_empty() {
            "none is missing, doubled or changed"
        } else {
            "it does not fit: `aftr journal ship --repair` ships anew what is wrong"
        };
        println!("{all}");
    }
    status(findings.is_empty())
}

fn status(is_right: bool) -> ExitCode {
    if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
