//! A replay for machines: one JSON object per line.

use serde::Serialize;

use super::driver::{Cause, Entry};
use super::text::{event_line, verdict_words};
use crate::commands::describe;
use crate::engine::{Counters, Event};
use crate::wire::Side;

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Line<'a> {
    Packet { number: u64, time: f64, from: &'a str, packet: String, verdict: String, output: Option<Output> },
    Made { time: f64, output: Option<Output> },
    Expired { time: f64, reason: &'a str, count: u64 },
    Event { time: f64, event: &'a str },
    Counters { counters: serde_json::Map<String, serde_json::Value> },
}

#[derive(Serialize)]
struct Output {
    to: &'static str,
    packet: String,
}

/// An entry.
pub(super) fn entry_json(entry: &Entry) -> serde_json::Result<String> {
    let time = entry.at.millis() as f64 / 1000.0;
    let output = entry
        .output
        .as_ref()
        .map(|(side, bytes)| Output { to: side_name(*side), packet: describe(bytes).to_string() });
    serde_json::to_string(&match &entry.cause {
        Cause::Packet { number, side, bytes, verdict } => Line::Packet {
            number: *number,
            time,
            from: side_name(*side),
            packet: describe(bytes).to_string(),
            verdict: verdict_words(*verdict),
            output,
        },
        Cause::Time => Line::Made { time, output },
        Cause::Expiry { reason, count } => Line::Expired { time, reason: reason.name(), count: *count },
    })
}

/// An event.
pub(super) fn event_json(event: &Event) -> serde_json::Result<String> {
    let line = event_line(event);
    let words = line.trim().split_once(' ').map_or("", |(_, words)| words);
    serde_json::to_string(&Line::Event { time: event.at.millis() as f64 / 1000.0, event: words })
}

/// Every counter.
pub(super) fn counters_json(counters: &Counters) -> serde_json::Result<String> {
    let counters = counters.named().map(|(name, value)| (name.to_owned(), value.into())).collect();
    serde_json::to_string(&Line::Counters { counters })
}

/// A side as JSON names it.
pub(in crate::commands) fn side_name(side: Side) -> &'static str {
    match side {
        Side::B4 => "b4",
        Side::Internet => "internet",
    }
}
