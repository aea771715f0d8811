//! `aftr journal`: what an operator and an auditor do with a journal.

use std::io::{BufWriter, Write, stdout};
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::attribute::asker;
use super::ship::Ship;
use crate::attribution::query::Archive;
use crate::attribution::{Directory, Interval, append_lines, parse_time, time_text, verify};

/// Arguments of `aftr journal`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, clap::Subcommand)]
enum Task {
    /// Check every hash, every number and every file; the first that is wrong is named first
    Verify(Place),
    /// Say what it holds, from when to when, and how large it is
    Stat(Place),
    /// Write every interval, one JSON object a line, in the order of address, port and start of each partition
    Export(ForCase),
    /// Say which external address and ports were a B4's own at a moment (RFC 7422)
    Range(Range),
    /// Put sealed partitions into a ClickHouse, and prove that none of their intervals is missing or doubled there
    Ship(Ship),
}

#[derive(Debug, clap::Args)]
struct Place {
    /// The directory of the journal
    #[arg(long, value_name = "DIR", default_value = "/var/lib/aftr/journal")]
    journal: PathBuf,
    /// For machines: one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct ForCase {
    /// The directory of the journal
    #[arg(long, value_name = "DIR", default_value = "/var/lib/aftr/journal")]
    journal: PathBuf,
    /// The case that this is for; it is kept in the record of queries
    #[arg(long, value_name = "REF")]
    case: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Range {
    /// The address of the B4
    #[arg(value_name = "B4")]
    b4: Ipv6Addr,
    /// The moment, as 2026-11-21T12:00:00Z
    #[arg(value_name = "TIME", value_parser = parse_time)]
    time: u64,
    #[command(flatten)]
    of: ForCase,
}

/// Does it.
///
/// # Errors
/// A journal that cannot be read.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.task {
        Task::Verify(place) => run_verify(&place),
        Task::Stat(place) => stat(&place),
        Task::Export(of) => export(&of),
        Task::Range(range) => own_range(&range),
        Task::Ship(ship) => super::ship::run(&ship),
    }
}

/// Status 1 where something is wrong.
fn run_verify(place: &Place) -> anyhow::Result<ExitCode> {
    let directory = opened(place.journal.clone()).map(|(directory, _)| directory).or_else(|error| {
        // A damaged catalogue is a finding, not a reason to stop.
        let directory = Directory::new(&place.journal);
        if directory.path().is_dir() { Ok(directory) } else { Err(error) }
    })?;
    let found = verify(&directory)?;
    if place.json {
        let line = json!({
            "partitions": found.partitions,
            "intervals": found.intervals,
            "records": found.records,
            "queries": found.queries,
            "findings": found.findings,
            "notes": found.notes,
        });
        println!("{line}");
    } else {
        println!(
            "{} partitions with {} intervals, {} records of the log, {} queries",
            found.partitions, found.intervals, found.records, found.queries
        );
        found.notes.iter().for_each(|note| println!("note: {note}; recovery cuts it off"));
        found.findings.iter().for_each(|finding| println!("WRONG: {finding}"));
        println!("{}", if found.findings.is_empty() { "everything fits" } else { "it does not fit" });
    }
    Ok(if found.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn stat(place: &Place) -> anyhow::Result<ExitCode> {
    let (directory, archive) = opened(place.journal.clone())?;
    let partitions = &archive.catalogue().partitions;
    let octets = |path: PathBuf| -> u64 {
        let files = std::fs::read_dir(path).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).map(|data| data.len()).sum()
    };
    let rows: u64 = partitions.iter().map(|partition| partition.rows).sum();
    let until = archive.known_until();
    let (sealed, wal) = (octets(directory.path().join("sealed")), octets(directory.path().join("wal")));
    let line = json!({
        "partitions": partitions.len(),
        "intervals-sealed": rows,
        "intervals-recent": archive.recent().len(),
        "next-record": archive.end().sequence,
        "known-from": until.map(|_| time_text(archive.known_from())),
        "known-until": until.map(time_text),
        "octets-sealed": sealed,
        "octets-log": wal,
        "faults": archive.faults().iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    if place.json {
        println!("{line}");
    } else if let Value::Object(fields) = line {
        for (name, value) in fields {
            println!("{name:<18} {}", value.as_str().map_or(value.to_string(), str::to_owned));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn export(of: &ForCase) -> anyhow::Result<ExitCode> {
    let asker = asker(of.case.as_deref())?;
    let (directory, archive) = opened(of.journal.clone())?;
    note(&directory, &asker, json!({ "export": "everything" }))?;
    let mut out = BufWriter::new(stdout().lock());
    for partition in &archive.catalogue().partitions {
        for interval in archive.rows_of(partition)? {
            writeln!(out, "{}", interval_json(&interval, &partition.name))?;
        }
    }
    for interval in archive.recent() {
        writeln!(out, "{}", interval_json(interval, "log"))?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn own_range(range: &Range) -> anyhow::Result<ExitCode> {
    let asker = asker(range.of.case.as_deref())?;
    let (directory, archive) = opened(range.of.journal.clone())?;
    let found = archive.own_ranges(range.b4, range.time)?;
    note(
        &directory,
        &asker,
        json!({ "range-of": range.b4, "time": time_text(range.time), "found": found.len() }),
    )?;
    for own in &found {
        let (first, last) = (own.ports.start(), own.ports.end());
        println!("{} {first}-{last}, by configuration {}", own.address, own.configuration);
    }
    if found.is_empty() {
        println!("none: no configuration of that moment gives {} ports of its own", range.b4);
    }
    Ok(ExitCode::SUCCESS)
}

fn note(directory: &Directory, asker: &crate::attribution::Asker, what: Value) -> anyhow::Result<()> {
    let mut entry = json!({
        "at": time_text(asker.at),
        "who": asker.who,
        "from": asker.from,
        "case": asker.case,
    });
    if let (Value::Object(entry), Value::Object(what)) = (&mut entry, what) {
        entry.extend(what);
    }
    append_lines(&directory.audit(), &[entry]).context("cannot write the record of queries")?;
    Ok(())
}

fn opened(path: PathBuf) -> anyhow::Result<(Directory, Archive)> {
    let directory = Directory::new(&path);
    let archive =
        Archive::open(&directory).with_context(|| format!("cannot read the journal {}", path.display()))?;
    Ok((directory, archive))
}

fn interval_json(interval: &Interval, place: &str) -> Value {
    let holding = &interval.holding;
    json!({
        "external-address": holding.external,
        "first-port": holding.first_port,
        "last-port": holding.last_port,
        "protocol": holding.protocol,
        "subscriber": holding.subscriber(),
        "b4": holding.b4,
        "internal": holding.internal,
        "pool-id": holding.pool_id,
        "instance": holding.instance,
        "start": time_text(interval.start),
        "end": interval.end.map(|(end, _)| time_text(end)),
        "end-cause": interval.end.map(|(_, cause)| cause.name()),
        "certain-until": interval.confirmed_until.map(time_text),
        "records": [interval.start_record, interval.end_record],
        "in": place,
    })
}
