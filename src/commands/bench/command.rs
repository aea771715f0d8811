//! The command.

use std::process::ExitCode;
use std::time::Duration;

use super::forwarders::{Forwarder, Kind};
use super::meters::Cpus;
use super::plan::Plan;
use super::stand::{Stand, Way};
use super::{bed, figures};
use crate::commands::lab::topology::Topology;

/// Arguments of `aftr bench`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// B4s
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    b4s: u32,
    /// Flows of all B4s together
    #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
    flows: u32,
}

/// Measures.
///
/// # Errors
/// What this host lacks.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    Topology::isolate()?;
    let cpus = Cpus::choose();
    for kind in [Kind::AftrTun, Kind::BareTun, Kind::Routing, Kind::Masquerade] {
        if let Some(why) = kind.missing() {
            println!("SKIPPED: {}: {why}", kind.name());
            continue;
        }
        let plan = Plan { access: kind.access()?, b4s: arguments.b4s, flows: arguments.flows };
        let (ports, router) = bed::build()?;
        let forwarder = Forwarder::start(kind, router, &plan, cpus.forwarder)?;
        let mut stand = Stand::new(ports, plan, cpus);
        let learned = stand.learn();
        if let Err(error) = learned {
            println!("{error:#}{}", forwarder.complaint());
        }
        for ways in [&[Way::FromB4][..], &[Way::FromInternet], &[Way::FromB4, Way::FromInternet]] {
            let t = figures::throughput(&stand, ways, 46, Duration::from_secs(1), &forwarder.threads, None)?;
            println!("{} {ways:?} {t:.0?}", kind.name());
        }
        for rate in [1000.0, 100_000.0] {
            let q = figures::quality(&stand, Way::FromB4, 46, rate, Duration::from_secs(1))?;
            println!("{} {q:?}", kind.name());
        }
    }
    Ok(ExitCode::SUCCESS)
}
