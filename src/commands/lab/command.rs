//! The command: isolate, build, play, and stay if asked to.

use std::process::ExitCode;
use std::time::Instant;

use super::report::Report;
use super::topology::{CONFIGURATION, Topology};
use super::{live, scenes};
use crate::engine::Config;

/// Arguments of `aftr lab`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Stay up afterwards, with a live view, and say how to enter each host
    #[arg(long)]
    keep: bool,
    /// One JSON document instead of words
    #[arg(long, conflicts_with = "keep")]
    json: bool,
    /// Print the configuration that the lab's AFTR runs with, and stop
    #[arg(long)]
    print_config: bool,
}

/// Plays the lab. Status 1 when a scene does not hold.
///
/// # Errors
/// What this host lacks to build it.
#[expect(clippy::disallowed_methods, reason = "the lab measures real time")]
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    if arguments.print_config {
        print!("{CONFIGURATION}");
        return Ok(ExitCode::SUCCESS);
    }
    let start = Instant::now();
    Topology::isolate()?;
    let mut report = Report::new(arguments.json);
    report.say("A DS-Lite network of two homes with the same private addresses:\n");
    report.say("  lan-1 192.168.1.10 ── b4-1 ─┐                     203.0.113.1");
    report.say("                              ├─ IPv6 ── aftr ── IPv4 ── internet");
    report.say("  lan-2 192.168.1.10 ── b4-2 ─┘    198.51.100.1 outside\n");
    let config = Config::parse(CONFIGURATION).map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
    let lab = Topology::build(config)?;
    scenes::play(&lab, &mut report)?;
    let holds = report.finish(start.elapsed().as_secs_f64());
    if arguments.keep {
        live::watch(&lab)?;
    }
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
