//! The command.

use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;

use super::about::About;
use super::drive::{self, Target};
use super::forwarders::Kind;
use super::generator::Pace;
use super::meters::Cpus;
use super::plan::MOST_PER_B4;
use super::report;
use super::rounds::Order;
use super::scenes;
use super::stand::Way;
use super::table::Style;
use crate::commands::lab::topology::Topology;

/// Arguments of `aftr bench`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The device of the AFTR; several are measured beside each other
    #[arg(long, value_enum, value_name = "DEVICE", value_delimiter = ',', default_values_t = [Device::Tun])]
    device: Vec<Device>,
    /// Workers of the AFTR, each on a CPU of its own
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// B4s
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    b4s: u32,
    /// Flows of all B4s together
    #[arg(long, value_name = "NUMBER", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    flows: u32,
    /// Inner packets, in octets; several are measured one after the other
    #[arg(long, value_name = "OCTETS", value_delimiter = ',', default_values_t = [46, 1400], value_parser = clap::value_parser!(u16).range(46..=1500))]
    size: Vec<u16>,
    /// Where packets come from [default: each, and both at once]
    #[arg(long, value_enum, value_name = "DIRECTION")]
    direction: Option<Direction>,
    /// Flows opened per second where every packet opens one [default: as fast as they go]
    #[arg(long, value_name = "RATE", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    new_flows: Option<u32>,
    /// TCP streams, where there are several
    #[arg(long, value_name = "NUMBER", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    streams: u16,
    /// Of each measurement
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    seconds: f64,
    /// Rounds; medians are shown
    #[arg(long, value_name = "NUMBER", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// One short round of everything: to see that it works, not how well
    #[arg(long)]
    short: bool,
    #[command(flatten)]
    target: Target,
    /// One JSON document with every round instead of tables
    #[arg(long)]
    json: bool,
    /// The tables as Markdown
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Device {
    /// As it is by default
    Tun,
    /// tun with offload = false
    TunPlain,
    /// AF_PACKET rings
    Packet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Direction {
    #[value(alias = "up")]
    FromB4,
    #[value(alias = "down")]
    FromInternet,
    Both,
}

/// Exit status of a command that this host lacks something for.
const HOST_LACKS: u8 = 3;
/// Rates tried, each a half closer: one in sixty of what was passed is where it ends.
const TRIALS: u32 = 7;
/// Flows opened in one measurement.
const NEW_FLOWS: u32 = 200_000;

/// Measures, and prints what was found.
///
/// # Errors
/// What this host lacks.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let order = order(&arguments)?;
    let say = |what: &str| eprintln!("aftr bench: {what}");
    let mut about = About::this_host(&order.cpus);
    (about.b4s, about.flows, about.rounds) = (order.b4s, order.flows, order.rounds);
    (about.seconds, about.streams) = (order.time.as_secs_f64(), order.streams);
    let (kinds, results) = if arguments.target.is_given() {
        about.target = Some(arguments.target.describe());
        (Vec::new(), drive::play(&order, &arguments.target, say)?)
    } else {
        if let Err(error) = Topology::isolate() {
            eprintln!("aftr: {error:#}");
            return Ok(ExitCode::from(HOST_LACKS));
        }
        let kinds = kinds(&arguments.device);
        let results = scenes::play(&order, &kinds, say)?;
        (kinds, results)
    };
    if arguments.json {
        println!("{}", report::json(&about, &results)?);
    } else {
        let style = if arguments.markdown { Style::Markdown } else { Style::Terminal };
        println!("{}", report::text(&about, &results, &kinds, style));
    }
    Ok(ExitCode::SUCCESS)
}

fn order(arguments: &Arguments) -> anyhow::Result<Order> {
    let (b4s, flows, rounds) =
        if arguments.short { (8, 64, 1) } else { (arguments.b4s, arguments.flows, arguments.rounds) };
    anyhow::ensure!(
        flows.div_ceil(b4s) <= MOST_PER_B4,
        "{flows} flows are more than {MOST_PER_B4} for each of {b4s} B4s: more B4s, or fewer flows"
    );
    anyhow::ensure!((0.05..=3600.0).contains(&arguments.seconds), "--seconds takes 0.05 to 3600");
    let seconds = if arguments.short { 0.2 } else { arguments.seconds };
    let (new_flows, new_pace) = match arguments.new_flows {
        _ if arguments.short => (2000, Pace::Rate(20_000.0)),
        Some(rate) => (((f64::from(rate) * seconds) as u32).clamp(1, 2_000_000), Pace::Rate(rate.into())),
        None => (NEW_FLOWS, Pace::Flood),
    };
    let directions = match arguments.direction {
        Some(Direction::FromB4) => vec![vec![Way::FromB4]],
        Some(Direction::FromInternet) => vec![vec![Way::FromInternet]],
        Some(Direction::Both) => vec![vec![Way::FromB4, Way::FromInternet]],
        None => vec![vec![Way::FromB4], vec![Way::FromInternet], vec![Way::FromB4, Way::FromInternet]],
    };
    let sizes =
        if arguments.short { vec![46] } else { arguments.size.iter().copied().map(usize::from).collect() };
    Ok(Order {
        b4s,
        flows,
        sizes,
        directions,
        new_flows,
        new_pace,
        streams: if arguments.short { 2 } else { arguments.streams.into() },
        time: Duration::from_secs_f64(seconds),
        rounds,
        trials: if arguments.short { 2 } else { TRIALS },
        workers: arguments.workers,
        cpus: Cpus::choose(usize::from(arguments.workers)),
    })
}

/// The AFTR and what it is measured beside.
fn kinds(devices: &[Device]) -> Vec<Kind> {
    let on = |device: &Device| match device {
        Device::Tun => [Kind::AftrTun, Kind::BareTun],
        Device::TunPlain => [Kind::AftrTunPlain, Kind::BareTun],
        Device::Packet => [Kind::AftrPacket, Kind::BareRing],
    };
    let mut kinds: Vec<Kind> = Vec::new();
    for kind in devices.iter().flat_map(on).chain([Kind::Routing, Kind::Masquerade]) {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}
