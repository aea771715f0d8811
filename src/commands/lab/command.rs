//! The command: isolate, build, play, and stay if asked to.

use std::fs::OpenOptions;
use std::process::ExitCode;
use std::time::Instant;

use super::report::Report;
use super::topology::{CONFIGURATION, Topology};
use super::{live, scenes};
use crate::engine::Config;

/// Exit status of a command that this host lacks something for.
const HOST_LACKS: u8 = 3;

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
    if let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/net/tun") {
        eprintln!(
            "aftr: the lab needs /dev/net/tun: {error}\n  where it is missing:    sudo modprobe tun\n  \
             where it is forbidden:  sudo chmod 0666 /dev/net/tun  (as Debian has it), or sudo aftr lab\n  \
             in a container:         add --device /dev/net/tun"
        );
        return Ok(ExitCode::from(HOST_LACKS));
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
