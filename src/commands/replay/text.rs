//! A replay in words.

use std::fmt::Write as _;

use super::driver::{Cause, Entry};
use crate::commands::describe::{describe, protocol_name};
use crate::engine::{Counters, Event, EventKind, Grant, Instant, MappingRecord, Verdict};
use crate::wire::Side;

/// The lines of an entry: what came, what became of it, and what leaves.
#[must_use]
pub fn entry_lines(entry: &Entry) -> String {
    let mut text = String::new();
    let at = seconds(entry.at);
    let outcome = match &entry.cause {
        Cause::Packet { number, side, bytes, verdict } => {
            let from = from(*side);
            writeln!(text, "{number:>4} {at:>10} {from:<13} {}", describe(bytes)).unwrap_or_default();
            verdict_words(*verdict)
        }
        Cause::Time => {
            let to = entry.output.as_ref().map_or("", |(side, _)| to(*side));
            writeln!(text, "   - {at:>10} time          {to}").unwrap_or_default();
            "sends".to_owned()
        }
        Cause::Expiry { reason, count } => {
            return format!("   - {at:>10} time          drops {} {count}\n", reason.name());
        }
    };
    text += &" ".repeat(16);
    text += &outcome;
    if let Some((_, bytes)) = &entry.output {
        let gap = 13usize.saturating_sub(outcome.len());
        write!(text, "{} {}", " ".repeat(gap), describe(bytes)).unwrap_or_default();
    }
    text.push('\n');
    text
}

/// The line of an event.
#[must_use]
pub fn event_line(event: &Event) -> String {
    let what = match event.kind {
        EventKind::PortSetGranted(grant) => format!("port-set-granted {}", grant_words(&grant)),
        EventKind::PortSetReleased(grant) => format!("port-set-released {}", grant_words(&grant)),
        EventKind::MappingCreated(record) => format!("mapping-created {}", mapping_words(&record)),
        EventKind::MappingRemoved(record) => format!("mapping-removed {}", mapping_words(&record)),
        EventKind::SoftwireMoved { subscriber, from, to } => {
            format!("softwire-moved subscriber {subscriber} from {from} to {to}")
        }
        EventKind::PoolHigh { pool_id, percent } => format!("pool-high {pool_id} at {percent} %"),
        EventKind::PoolLow { pool_id, percent } => format!("pool-low {pool_id} at {percent} %"),
        EventKind::TableHigh { table, percent } => format!("table-high {} at {percent} %", table.name()),
        EventKind::TableLow { table, percent } => format!("table-low {} at {percent} %", table.name()),
        EventKind::EcnAnomalies { count } => format!("ecn-anomalies {count}"),
        EventKind::LimitReached(limit) => format!("limit-reached {limit}"),
        EventKind::Refused { reason, count } => format!("refused {} {count}", reason.name()),
    };
    format!("{:>15} {what}\n", seconds(event.at))
}

/// One line for each counter that is not 0.
#[must_use]
pub fn counter_lines(counters: &Counters) -> String {
    counters
        .named()
        .filter(|&(_, value)| value != 0)
        .fold(String::new(), |text, (name, value)| text + &format!("{name} {value}\n"))
}

/// The words for a verdict.
pub(in crate::commands) fn verdict_words(verdict: Verdict) -> String {
    match verdict {
        Verdict::ToInternet => "to-internet".to_owned(),
        Verdict::ToB4 => "to-b4".to_owned(),
        Verdict::Reply => "reply".to_owned(),
        Verdict::ToWorker(worker) => format!("to-worker {worker}"),
        Verdict::Hold => "hold".to_owned(),
        Verdict::Drop(reason) => format!("drop {}", reason.name()),
        Verdict::Reject(reason) => format!("reject {}", reason.name()),
    }
}

/// Seconds with milliseconds: as exact as the engine's time.
pub(in crate::commands) fn seconds(at: Instant) -> String {
    format!("{}.{:03}", at.millis() / 1000, at.millis() % 1000)
}

fn from(side: Side) -> &'static str {
    match side {
        Side::B4 => "from-b4",
        Side::Internet => "from-internet",
    }
}

fn to(side: Side) -> &'static str {
    match side {
        Side::B4 => "to-b4",
        Side::Internet => "to-internet",
    }
}

fn grant_words(grant: &Grant) -> String {
    let Grant { subscriber, b4, internal, pool_id, external, first_port, last_port } = grant;
    format!(
        "{external}:{first_port}-{last_port} of pool {pool_id} to {subscriber} for {internal} behind {b4}"
    )
}

fn mapping_words(record: &MappingRecord) -> String {
    let protocol = protocol_name(record.protocol);
    format!("{protocol} {} > {} of {}", record.internal, record.external, record.b4)
}
