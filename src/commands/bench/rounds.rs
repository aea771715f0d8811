//! What happens in a round, whoever forwards: each candidate has its turn at each measurement, so that what
//! else the machine does hits all of them alike.

use std::time::Duration;

use super::bed::NOBODY;
use super::figures;
use super::forwarders::Forwarder;
use super::frames::Hop;
use super::generator::Pace;
use super::meters::Cpus;
use super::results::{LosslessScene, QualityScene, Results, Row, Share, ThroughputScene};
use super::stand::{Stand, Way};

/// Packets per second when nothing else goes on.
const IDLE: f64 = 1000.0;
/// Of a rate.
const SHORTEST_TRIAL: Duration = Duration::from_millis(50);
/// Flows of one home, where flows are opened all the time.
pub(super) const NEW_PER_B4: u32 = 1000;

/// What is to be measured.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) b4s: u32,
    pub(super) flows: u32,
    pub(super) sizes: Vec<usize>,
    pub(super) directions: Vec<Vec<Way>>,
    /// Flows that are opened in one measurement, and how fast.
    pub(super) new_flows: u32,
    pub(super) new_pace: Pace,
    pub(super) streams: usize,
    /// Of each measurement.
    pub(super) time: Duration,
    pub(super) rounds: u32,
    /// Rates that are tried to find the highest without loss.
    pub(super) trials: u32,
    /// Of the AFTR.
    pub(super) workers: u16,
    pub(super) cpus: Cpus,
}

/// Something that forwards, with packets sent through it.
pub(super) struct Candidate {
    pub(super) name: &'static str,
    pub(super) stand: Stand,
    /// None when it runs elsewhere.
    pub(super) forwarder: Option<Forwarder>,
}

impl Candidate {
    /// Opens the flows, and learns how the Internet sees them.
    pub(super) fn learn(&mut self) -> anyhow::Result<()> {
        let learnt = self.stand.learn();
        learnt.map_err(|error| {
            let complaint = self.forwarder.as_ref().map(Forwarder::complaint).unwrap_or_default();
            error.context(format!("{}{complaint}", self.name))
        })
    }

    /// Its threads, as far as they are here.
    pub(super) fn threads(&self) -> &[i32] {
        self.forwarder.as_ref().map_or(&[], |forwarder| &forwarder.threads)
    }
}

/// Results without a round, for candidates of these names.
pub(super) fn empty_results(order: &Order, names: &[&'static str]) -> Results {
    let mut results = Results { new_flows: rows(names), ..Results::default() };
    for &size in &order.sizes {
        for ways in &order.directions {
            let (sender_alone, rows) = (Vec::new(), rows(names));
            results.throughput.push(ThroughputScene { ways: ways.clone(), size, sender_alone, rows });
        }
    }
    // Loss and latency are looked at in each direction by itself.
    let mut ways = vec![Way::FromB4, Way::FromInternet];
    ways.retain(|way| order.directions.iter().any(|ways| ways.contains(way)));
    for load in [Share::Idle, Share::Half] {
        results.quality.extend(ways.iter().map(|&way| QualityScene { way, load, rows: rows(names) }));
    }
    results.lossless.extend(ways.iter().map(|&way| LosslessScene { way, rows: rows(names) }));
    results
}

pub(super) fn rows<T>(names: &[&'static str]) -> Vec<Row<T>> {
    names.iter().map(|name| Row::of(name)).collect()
}

/// As much as can be sent, in every direction and size.
pub(super) fn throughput(
    order: &Order,
    candidates: &[Candidate],
    scenes: &mut [ThroughputScene],
) -> anyhow::Result<()> {
    for scene in scenes {
        // Only where nobody else is on the wire can be sent what is for nobody.
        if let Some(here) = candidates.iter().rfind(|candidate| candidate.forwarder.is_some()) {
            // The kernel drops such a frame as soon as it sees it.
            let nowhere = Some(Hop { from: [2, 0, 0, 0, 0, 1], to: NOBODY });
            let alone = figures::throughput(&here.stand, &scene.ways, scene.size, order.time, &[], nowhere)?;
            scene.sender_alone.push(alone);
        }
        for (candidate, row) in candidates.iter().zip(&mut scene.rows) {
            let (stand, threads) = (&candidate.stand, candidate.threads());
            let found = figures::throughput(stand, &scene.ways, scene.size, order.time, threads, None)?;
            row.rounds.push(found);
        }
    }
    Ok(())
}

/// What a candidate passed in this direction, with packets of the first size, in the last round.
fn passed(order: &Order, scenes: &[ThroughputScene], way: Way, name: &str) -> f64 {
    let mut alike =
        scenes.iter().filter(|scene| order.sizes.first() == Some(&scene.size) && scene.ways.contains(&way));
    alike.find_map(|scene| scene.row(name)?.rounds.last()).map_or(0.0, |round| round.arrived)
}

/// Loss and latency, with packets of the first size.
pub(super) fn quality(order: &Order, candidates: &[Candidate], results: &mut Results) -> anyhow::Result<()> {
    let Some(&size) = order.sizes.first() else { return Ok(()) };
    for scene in &mut results.quality {
        for (candidate, row) in candidates.iter().zip(&mut scene.rows) {
            let half = passed(order, &results.throughput, scene.way, candidate.name) / 2.0;
            let rate = if scene.load == Share::Idle { IDLE } else { half.max(IDLE) };
            row.rounds.push(figures::quality(&candidate.stand, scene.way, size, rate, order.time)?);
        }
    }
    for scene in &mut results.lossless {
        for (candidate, row) in candidates.iter().zip(&mut scene.rows) {
            let most = passed(order, &results.throughput, scene.way, candidate.name);
            let (trials, time) = (order.trials, (order.time / 4).max(SHORTEST_TRIAL));
            row.rounds.push(figures::lossless(&candidate.stand, scene.way, size, most, trials, time)?);
        }
    }
    Ok(())
}
