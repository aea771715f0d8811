//! The line that tells each minute how things are.

use std::fmt::Write;

use super::request::Snapshot;
use crate::engine::{Counters, DropReason};

/// Remembers the last snapshot, so that it can tell rates.
#[derive(Default)]
pub(super) struct Status {
    last: Option<Snapshot>,
}

/// What happened between two snapshots.
pub(super) struct Interval {
    pub(super) packets_per_second: u64,
    /// Reasons with what they dropped, the most frequent first: `drop.nat.nomap 7, drop.v6.acl 2`.
    pub(super) drops: String,
}

impl Status {
    /// Logs `now`, and gives the short form for the service manager.
    pub(super) fn report(&mut self, now: Snapshot) -> String {
        let interval = self.since_last(&now);
        let gauges = now.gauges;
        tracing::info!(
            subscribers = gauges.subscribers,
            softwires = gauges.softwires,
            mappings = gauges.mappings,
            sessions = gauges.sessions,
            packets_per_second = interval.packets_per_second,
            drops = interval.drops,
            unsent = now.losses.unsent,
            events_lost = now.losses.events + now.counters.events_lost,
            "status"
        );
        self.last = Some(now);
        format!(
            "{} subscribers, {} mappings, {} packets/s",
            gauges.subscribers, gauges.mappings, interval.packets_per_second
        )
    }

    fn since_last(&self, now: &Snapshot) -> Interval {
        let none = Counters::default();
        let before = self.last.as_ref().map_or(&none, |last| &last.counters);
        let since = self.last.as_ref().map_or(0, |last| last.at.millis());
        let millis = now.at.millis().saturating_sub(since).max(1);
        let packets = arrived(&now.counters) - arrived(before);
        Interval { packets_per_second: packets * 1000 / millis, drops: drops(before, &now.counters) }
    }
}

fn arrived(counters: &Counters) -> u64 {
    counters.from_b4.packets + counters.from_internet.packets
}

fn drops(before: &Counters, now: &Counters) -> String {
    let mut reasons: Vec<(u64, &str)> = DropReason::ALL
        .iter()
        .map(|&reason| (now.dropped(reason) - before.dropped(reason), reason.name()))
        .filter(|&(count, _)| count > 0)
        .collect();
    reasons.sort_by_key(|&(count, _)| std::cmp::Reverse(count));
    let mut text = String::new();
    for (count, name) in reasons {
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{separator}{name} {count}");
    }
    if text.is_empty() { "none".to_owned() } else { text }
}
