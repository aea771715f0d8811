//! The rounds: in each, every forwarder has its turn at every measurement, so that what else the machine does
//! hits all of them alike.

use std::time::Duration;

use super::bed::{self, NOBODY};
use super::figures;
use super::forwarders::{Forwarder, Kind};
use super::frames::Hop;
use super::generator::Pace;
use super::meters::Cpus;
use super::plan::Plan;
use super::results::{QualityScene, Results, Row, Share, ThroughputScene};
use super::stand::{Stand, Way};
use super::tcp::TcpBed;

/// Packets per second when nothing else goes on.
const IDLE: f64 = 1000.0;
/// Flows of one home, where flows are opened all the time.
const NEW_PER_B4: u32 = 1000;

/// What is to be measured.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) kinds: Vec<Kind>,
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
    pub(super) cpus: Cpus,
}

/// A forwarder with packets sent through it.
struct Candidate {
    forwarder: Forwarder,
    stand: Stand,
}

impl Candidate {
    fn build(kind: Kind, b4s: u32, flows: u32, cpus: Cpus) -> anyhow::Result<Candidate> {
        let plan = Plan { access: kind.access()?, b4s, flows };
        let (mut ports, router) = bed::build()?;
        if kind == Kind::BareRing {
            // It takes all frames, and the kernel is to drop them: it has nothing else that would.
            (ports.b4s.hop.to, ports.internet.hop.to) = (NOBODY, NOBODY);
        }
        let forwarder = Forwarder::start(kind, router, &plan, cpus.forwarder)?;
        Ok(Candidate { forwarder, stand: Stand::new(ports, plan, cpus) })
    }

    fn learn(&mut self) -> anyhow::Result<()> {
        let learnt = self.stand.learn();
        learnt.map_err(|error| {
            error.context(format!("{}{}", self.forwarder.kind.name(), self.forwarder.complaint()))
        })
    }
}

/// Measures all of it. `say` is told what is going on.
pub(super) fn play(order: &Order, say: impl Fn(&str)) -> anyhow::Result<Results> {
    let mut results = Results::default();
    let kinds = present(&order.kinds, "", Kind::missing, &mut results.skipped);
    let tcp_kinds = present(&kinds, ", TCP", Kind::missing_for_tcp, &mut results.skipped);
    results.throughput = empty_throughput(order, &kinds);
    results.quality = empty_quality(order, &kinds);
    results.new_flows = rows(&kinds);
    results.tcp = rows(&tcp_kinds);
    let mut candidates = kinds
        .iter()
        .map(|&kind| Candidate::build(kind, order.b4s, order.flows, order.cpus))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let tcp_beds =
        tcp_kinds.iter().map(|&kind| TcpBed::build(kind, order.cpus)).collect::<anyhow::Result<Vec<_>>>()?;
    for round in 1..=order.rounds {
        let say = |what: &str| say(&format!("round {round} of {}: {what}", order.rounds));
        for candidate in &mut candidates {
            // Idle mappings may be gone, and others hold their ports.
            candidate.learn()?;
        }
        say("throughput");
        throughput(order, &candidates, &mut results.throughput)?;
        say("loss and latency");
        quality(order, &candidates, &mut results)?;
        say("new flows");
        for (&kind, row) in kinds.iter().zip(&mut results.new_flows) {
            row.rounds.push(new_flows(order, kind)?);
        }
        say("TCP");
        for (bed, row) in tcp_beds.iter().zip(&mut results.tcp) {
            row.rounds.push(bed.measure(order.streams, order.time)?);
        }
    }
    Ok(results)
}

/// Those of the forwarders that this host can have; `skipped` is told of the others.
fn present(
    kinds: &[Kind],
    what: &str,
    missing: impl Fn(Kind) -> Option<String>,
    skipped: &mut Vec<String>,
) -> Vec<Kind> {
    let is_there = |kind: &&Kind| match missing(**kind) {
        Some(why) => {
            skipped.push(format!("{}{what}: {why}", kind.name()));
            false
        }
        None => true,
    };
    kinds.iter().filter(is_there).copied().collect()
}

fn rows<T>(kinds: &[Kind]) -> Vec<Row<T>> {
    kinds.iter().map(|kind| Row::of(kind.name())).collect()
}

fn empty_throughput(order: &Order, kinds: &[Kind]) -> Vec<ThroughputScene> {
    let mut scenes = Vec::new();
    for &size in &order.sizes {
        for ways in &order.directions {
            let (sender_alone, rows) = (Vec::new(), rows(kinds));
            scenes.push(ThroughputScene { ways: ways.clone(), size, sender_alone, rows });
        }
    }
    scenes
}

/// Loss and latency are looked at in each direction by itself.
fn empty_quality(order: &Order, kinds: &[Kind]) -> Vec<QualityScene> {
    let mut scenes = Vec::new();
    for load in [Share::Idle, Share::Half] {
        for way in [Way::FromB4, Way::FromInternet] {
            if order.directions.iter().any(|ways| ways.contains(&way)) {
                scenes.push(QualityScene { way, load, rows: rows(kinds) });
            }
        }
    }
    scenes
}

fn throughput(order: &Order, candidates: &[Candidate], scenes: &mut [ThroughputScene]) -> anyhow::Result<()> {
    for scene in scenes {
        let Some(any) = candidates.last() else { return Ok(()) };
        // An address that is nobody's: the kernel drops the frame as soon as it sees it.
        let nowhere = Hop { from: [2, 0, 0, 0, 0, 1], to: NOBODY };
        let alone = figures::throughput(&any.stand, &scene.ways, scene.size, order.time, &[], Some(nowhere))?;
        scene.sender_alone.push(alone);
        for (candidate, row) in candidates.iter().zip(&mut scene.rows) {
            let threads = &candidate.forwarder.threads;
            let figures =
                figures::throughput(&candidate.stand, &scene.ways, scene.size, order.time, threads, None)?;
            row.rounds.push(figures);
        }
    }
    Ok(())
}

fn quality(order: &Order, candidates: &[Candidate], results: &mut Results) -> anyhow::Result<()> {
    let Some(&size) = order.sizes.first() else { return Ok(()) };
    for scene in &mut results.quality {
        for (candidate, row) in candidates.iter().zip(&mut scene.rows) {
            let passed = results
                .throughput
                .iter()
                .filter(|throughput| throughput.size == size && throughput.ways.contains(&scene.way))
                .find_map(|throughput| throughput.row(candidate.forwarder.kind.name())?.rounds.last())
                .map_or(IDLE, |round| round.arrived / 2.0);
            let rate = if scene.load == Share::Idle { IDLE } else { passed.max(IDLE) };
            row.rounds.push(figures::quality(&candidate.stand, scene.way, size, rate, order.time)?);
        }
    }
    Ok(())
}

/// In namespaces of their own each time: the tables are empty then.
fn new_flows(order: &Order, kind: Kind) -> anyhow::Result<figures::NewFlows> {
    let candidate =
        Candidate::build(kind, order.new_flows.div_ceil(NEW_PER_B4), order.new_flows, order.cpus)?;
    figures::new_flows(&candidate.stand, &candidate.forwarder.threads, order.new_pace)
}
