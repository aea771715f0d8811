//! What is said of a packet: a value, to be told to people or to machines.

use super::counter::CounterRow;
use crate::commands::replay::verdict_words;
use crate::engine::{Event, Instant, Verdict};
use crate::wire::Side;

/// How a packet left a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It went on.
    Passed,
    /// It was dropped.
    Dropped,
    /// It waits.
    Held,
    /// It was for the AFTR itself, which took it.
    Taken,
}

/// A step that the packet took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepTaken {
    /// Its name.
    pub name: &'static str,
    /// The configuration key that it goes by, or the rule in a few words.
    pub rule: &'static str,
    /// Where the rule comes from.
    pub source: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What was decided, with the values of this packet.
    pub sentence: String,
}

/// The whole of it.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// Its place among the packets that were played, from 1.
    pub number: u64,
    /// When it came.
    pub at: Instant,
    /// Where from.
    pub side: Side,
    /// As it came.
    pub packet: Vec<u8>,
    /// Its path; the last step is where it ended.
    pub steps: Vec<StepTaken>,
    /// What became of it.
    pub verdict: Verdict,
    /// Octets that were on the wire and are not in the capture that it came out of.
    pub cut_off: usize,
    /// Of a drop: its counter, as `docs/counters.md` explains it.
    pub counter: Option<CounterRow>,
    /// Of a fragment that waits: the counter of the drop that it becomes when the others do not come.
    pub otherwise: Option<CounterRow>,
    /// Of a drop: what its sender learns.
    pub told: Option<String>,
    /// What left because of it, in order, with the side.
    pub leaves: Vec<(Side, Vec<u8>)>,
    /// What the engine told the world.
    pub events: Vec<Event>,
}

impl Explanation {
    /// The verdict in words. An error that the AFTR took is held by nobody: `tunnel_errors` counts it.
    pub(super) fn verdict_words(&self) -> String {
        match self.steps.last() {
            Some(StepTaken { outcome: Outcome::Taken, .. }) => "taken".to_owned(),
            _ => verdict_words(self.verdict),
        }
    }
}
