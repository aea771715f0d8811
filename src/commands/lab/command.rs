//! The command: isolate, build, play, and stay if asked to.

use std::fs::OpenOptions;
use std::process::ExitCode;
use std::time::Instant;

use super::collector;
use super::evidence;
use super::report::Report;
use super::topology::{CONFIGURATION, PACKET, Topology};
use super::{live, scenes};
use crate::engine::Config;

/// Exit status of a command that this host lacks something for.
const HOST_LACKS: u8 = 3;

/// Arguments of `aftr lab`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How the AFTR takes packets
    #[arg(long, value_enum, value_name = "DEVICE", default_value = "tun")]
    device: LabDevice,
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

/// A device that needs no hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LabDevice {
    /// A tun interface, routed by the kernel
    Tun,
    /// AF_PACKET rings at both interfaces
    Packet,
}

/// Plays the lab. Status 1 when a scene does not hold.
///
/// # Errors
/// What this host lacks to build it.
#[expect(clippy::disallowed_methods, reason = "the lab measures real time")]
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let device = match arguments.device {
        LabDevice::Tun => "",
        LabDevice::Packet => PACKET,
    };
    let configuration = [CONFIGURATION, device, collector::CONFIGURATION].concat();
    if arguments.print_config {
        print!("{configuration}");
        return Ok(ExitCode::SUCCESS);
    }
    if let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/net/tun") {
        eprintln!(
            "aftr: the lab's B4s need /dev/net/tun: {error}\n  where it is missing:    sudo modprobe tun\n  \
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
    let mut config = Config::parse(&configuration).map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
    let place = evidence::Place::new()?;
    config.journal = Some(place.journal());
    let lab = Topology::build(config)?;
    scenes::play(&lab, &mut report)?;
    let holds = report.finish(start.elapsed().as_secs_f64());
    if arguments.keep {
        live::watch(&lab)?;
    }
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
