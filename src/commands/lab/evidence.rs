//! The journal of the lab's AFTR, what collectors are told, and the question that both are there for: who was
//! that?

use std::path::{Path, PathBuf};

use aftr_config::Journal;

use super::collector::{Collector, Granted};
use super::hosts;
use super::report::Outcome;
use super::topology::Topology;
use crate::attribution::query::{Answer, Archive, Evidence, Question, Verdict};
use crate::attribution::{Directory, Millis};
use crate::commands::attribute::now;
use anyhow::Context as _;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// The journal knows nothing of the last second: its alive marks come that often.
const SETTLED: Duration = Duration::from_millis(2500);

/// How far the mirror's answer and the journal may be apart, in milliseconds. Both have one clock, and the
/// journal may have begun less than a second ago: a wider question would reach before it.
const UNCERTAINTY: Millis = 100;

/// A directory for a journal that goes with the lab.
pub(super) struct Place(PathBuf);

impl Place {
    pub(super) fn new() -> anyhow::Result<Place> {
        let path = std::env::temp_dir().join(format!("aftr-lab-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Place(path))
    }

    /// What the configuration has for it.
    pub(super) fn journal(&self) -> Journal {
        let directory = self.0.join("journal");
        Journal { directory, retention_days: 1, on_loss: aftr_config::OnLoss::RefuseNewBlocks }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A home as a server saw it: external address and port, and when.
type Seen = (SocketAddrV4, Millis);

/// Both homes are seen by a server, from one external address.
pub(super) fn seen_outside(lab: &Topology) -> anyhow::Result<Vec<Seen>> {
    let mut seen = Vec::new();
    for home in &lab.homes {
        let socket = hosts::bind_udp(&home.host, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 5004))?;
        seen.push((hosts::seen_by_mirror(&socket)?, now()));
    }
    Ok(seen)
}

/// The grant of each home's ports, as the collector decoded it.
pub(super) fn what_collectors_are_told(
    lab: &Topology,
    seen: &[Seen],
    collector: &Collector,
) -> anyhow::Result<Outcome> {
    let mut told = Vec::new();
    for (home, &(external, _)) in lab.homes.iter().zip(seen) {
        let granted = collector.granted(external)?;
        anyhow::ensure!(granted.b4 == home.b4, "{external} belongs to {}, not to {}", home.b4, granted.b4);
        told.push(granted.to_string());
    }
    Ok(Outcome::new(told.join("\n      "), json!({ "told": told })))
}

/// Later the journal is asked who they were. It and the collector have one story.
pub(super) fn who_was_it(lab: &Topology, seen: &[Seen], collector: &Collector) -> anyhow::Result<Outcome> {
    let directory = lab.gateway.config()?.journal.context("the lab has no journal")?.directory;
    anyhow::ensure!(seen.len() == lab.homes.len(), "the homes were not seen");
    std::thread::sleep(SETTLED);
    let mut told = Vec::new();
    for (home, &(external, time)) in lab.homes.iter().zip(seen) {
        let answer = ask(&directory, external, time)?;
        let Verdict::Unique(subscriber) = answer.verdict else {
            anyhow::bail!("{external} a moment ago: {:?}", answer.verdict);
        };
        anyhow::ensure!(subscriber.contains(&home.b4), "{external} was {}, not {subscriber}", home.b4);
        compare(&answer, &collector.granted(external)?)?;
        told.push(format!("{external} was {subscriber}"));
    }
    let text = format!("both were 192.168.1.10; {}; the collector knows the same", told.join(", "));
    Ok(Outcome::new(text, json!({ "told": told })))
}

/// The journal's interval begins with what the collector was told.
fn compare(answer: &Answer, granted: &Granted) -> anyhow::Result<()> {
    let [Evidence { interval, .. }] = answer.evidence.as_slice() else {
        anyhow::bail!("the answer rests on {} intervals", answer.evidence.len());
    };
    let holding = &interval.holding;
    let journal = (interval.start, holding.external, holding.first_port..=holding.last_port, holding.b4);
    let told = (granted.at, granted.external, granted.ports.clone(), granted.b4);
    anyhow::ensure!(journal == told, "the journal has {journal:?}, the collector {told:?}");
    Ok(())
}

fn ask(directory: &Path, external: SocketAddrV4, time: Millis) -> anyhow::Result<Answer> {
    let (address, port) = (*external.ip(), Some(external.port()));
    let archive = Archive::open(&Directory::new(directory)).context("the journal cannot be read")?;
    let question = Question { address, port, time, uncertainty: UNCERTAINTY, protocol: Some(17) };
    archive.ask(&question).context("the journal gives no answer")
}
