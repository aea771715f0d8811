//! The command line of `aftr replay`.

use std::fs::File;
use std::io::{BufWriter, Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use super::captures::merged;
use super::driver::{Cause, Entry, Replay};
use super::{json, text};
use crate::commands::configuration::configuration;
use crate::engine::{Event, Instant, Seed, TtlBy};
use crate::io::pcap;

/// Arguments of `aftr replay`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration that the engine runs with
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
    /// Captures of IP packets (pcap); several are merged by time. IPv6 comes from the B4s, IPv4 from the
    /// Internet
    #[arg(value_name = "PCAP", required = true)]
    captures: Vec<PathBuf>,
    /// Run the timers on until this many seconds after the first packet
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, allow_negative_numbers = true)]
    until: Option<Instant>,
    /// The seed of every random choice
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,
    /// Who takes one from the TTL of what crosses
    #[arg(long, value_enum, value_name = "WHO", default_value = "engine")]
    ttl: Ttl,
    /// Write everything that leaves to this capture
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
    /// Only the summary
    #[arg(long)]
    quiet: bool,
}

/// The choices of `--ttl`.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(in crate::commands) enum Ttl {
    /// The engine, the only router
    Engine,
    /// The kernel, as on a tun
    Kernel,
}

/// Replays and prints.
///
/// # Errors
/// What could not be read or written, by its name.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let config = configuration(&arguments.config, "CONFIG comes first, then PCAP")?;
    let records = merged(&arguments.captures, &config)?;
    let mut replay = Replay::new(&config, arguments.ttl.into(), &Seed::from_number(arguments.seed));
    let mut report = Report::new(&arguments, records.first().map_or(Duration::ZERO, |first| first.at))?;
    for record in records {
        let since = record.at.saturating_sub(report.origin);
        let entries = replay.packet(Instant::ZERO + since, &record.bytes);
        report.entries(&entries)?;
        report.events.extend(replay.take_events());
    }
    if let Some(until) = arguments.until {
        report.entries(&replay.run_until(until))?;
        report.events.extend(replay.take_events());
    }
    report.summary(&replay)?;
    Ok(ExitCode::SUCCESS)
}

impl From<Ttl> for TtlBy {
    fn from(ttl: Ttl) -> TtlBy {
        match ttl {
            Ttl::Engine => TtlBy::Engine,
            Ttl::Kernel => TtlBy::Kernel,
        }
    }
}

pub(in crate::commands) fn parse_seconds(text: &str) -> Result<Instant, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.map(|time| Instant::ZERO + time).ok_or("it wants seconds, 0 or more".to_owned())
}

/// Where the replay is written to.
struct Report {
    to: BufWriter<std::io::Stdout>,
    capture: Option<pcap::Writer<BufWriter<File>>>,
    /// Time of the first record.
    origin: Duration,
    events: Vec<Event>,
    packets: u64,
    made: u64,
    json: bool,
    quiet: bool,
}

impl Report {
    fn new(arguments: &Arguments, origin: Duration) -> anyhow::Result<Report> {
        let capture = match &arguments.out {
            None => None,
            Some(path) => {
                let file = File::create(path).with_context(|| format!("capture {}", path.display()))?;
                Some(pcap::Writer::new(BufWriter::new(file))?)
            }
        };
        let (json, quiet) = (arguments.json, arguments.quiet);
        let to = BufWriter::new(stdout());
        Ok(Report { to, capture, origin, events: Vec::new(), packets: 0, made: 0, json, quiet })
    }

    fn entries(&mut self, entries: &[Entry]) -> anyhow::Result<()> {
        for entry in entries {
            match entry.cause {
                Cause::Packet { .. } => self.packets += 1,
                Cause::Time => self.made += 1,
                Cause::Expiry { .. } => {}
            }
            if let (Some(capture), Some((_, bytes))) = (&mut self.capture, &entry.output) {
                capture.write(self.origin + (entry.at - Instant::ZERO), bytes)?;
            }
            if !self.quiet && self.json {
                writeln!(self.to, "{}", json::entry_json(entry)?)?;
            } else if !self.quiet {
                self.to.write_all(text::entry_lines(entry).as_bytes())?;
            }
        }
        Ok(())
    }

    fn summary(mut self, replay: &Replay) -> anyhow::Result<()> {
        if self.json {
            for event in self.events.iter().filter(|_| !self.quiet) {
                writeln!(self.to, "{}", json::event_json(event)?)?;
            }
            writeln!(self.to, "{}", json::counters_json(&replay.counters())?)?;
        } else {
            if !self.quiet {
                writeln!(self.to, "\nEvents")?;
                for event in &self.events {
                    self.to.write_all(text::event_line(event).as_bytes())?;
                }
                writeln!(self.to)?;
            }
            writeln!(self.to, "Counters")?;
            self.to.write_all(text::counter_lines(&replay.counters()).as_bytes())?;
            let live = replay.aftr().mappings(replay.now()).count();
            let time = (replay.now() - Instant::ZERO).as_secs_f64();
            writeln!(
                self.to,
                "\n{} packets in {time:.3} s; {} sent by time; {} events; {live} mappings live at the end",
                self.packets,
                self.made,
                self.events.len()
            )?;
        }
        if let Some(capture) = &mut self.capture {
            capture.flush().context("the capture of what leaves")?;
        }
        self.to.flush().context("standard output")
    }
}
