//! The AFTR of this program beside what it is measured against, each in namespaces of its own.

use super::bed::{self, NOBODY};
use super::figures;
use super::forwarders::{Forwarder, Kind};
use super::plan::Plan;
use super::results::Results;
use super::rounds::{self, Candidate, NEW_PER_B4, Order};
use super::stand::Stand;
use super::tcp::TcpBed;

/// Measures all of it. `say` is told what is going on.
pub(super) fn play(order: &Order, kinds: &[Kind], say: impl Fn(&str)) -> anyhow::Result<Results> {
    let mut skipped = Vec::new();
    let kinds = present(kinds, "", Kind::missing, &mut skipped);
    let carriers: Vec<Kind> = kinds.iter().copied().filter(|kind| kind.carries_tcp()).collect();
    let tcp_kinds = present(&carriers, ", TCP", Kind::missing_for_tcp, &mut skipped);
    let mut results = rounds::empty_results(order, &names(&kinds));
    results.tcp = rounds::rows(&names(&tcp_kinds));
    results.skipped = skipped;
    let mut candidates = kinds
        .iter()
        .map(|&kind| candidate(kind, order, order.b4s, order.flows))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let tcp_beds = tcp_kinds
        .iter()
        .map(|&kind| TcpBed::build(kind, order.workers, &order.cpus))
        .collect::<anyhow::Result<Vec<_>>>()?;
    for round in 1..=order.rounds {
        let say = |what: &str| say(&format!("round {round} of {}: {what}", order.rounds));
        // Idle mappings may be gone, and others hold their ports.
        candidates.iter_mut().try_for_each(Candidate::learn)?;
        say("throughput");
        rounds::throughput(order, &candidates, &mut results.throughput)?;
        say("loss and latency");
        rounds::quality(order, &candidates, &mut results)?;
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

fn candidate(kind: Kind, order: &Order, b4s: u32, flows: u32) -> anyhow::Result<Candidate> {
    let plan = Plan { access: kind.access()?, servers: bed::SERVERS, first_b4: 0, b4s, flows };
    let (mut ports, router) = bed::build()?;
    if kind == Kind::BareRing {
        // It takes all frames, and the kernel is to drop them: it has nothing else that would.
        (ports.b4s.hop.to, ports.internet.hop.to) = (NOBODY, NOBODY);
    }
    let forwarder = Forwarder::start(kind, router, &plan, order.workers, &order.cpus)?;
    Ok(Candidate {
        name: kind.name(),
        stand: Stand::new(ports, plan, &order.cpus),
        forwarder: Some(forwarder),
    })
}

/// In namespaces of their own each time: the tables are empty then.
fn new_flows(order: &Order, kind: Kind) -> anyhow::Result<figures::NewFlows> {
    let b4s = order.new_flows.div_ceil(NEW_PER_B4);
    let candidate = candidate(kind, order, b4s, order.new_flows)?;
    figures::new_flows(&candidate.stand, candidate.threads(), order.new_pace)
}

fn names(kinds: &[Kind]) -> Vec<&'static str> {
    kinds.iter().map(|kind| kind.name()).collect()
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
