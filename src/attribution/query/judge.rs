//! The verdict: first whether anything can be said about that time at all, then who it was.

use std::io;
use std::ops::RangeInclusive;

use aftr_config::Config;
use ipnet::Ipv6Net;

use super::answer::{Answer, Evidence, LogGap, Place, Reason, Verdict};
use super::marks::{Hole, Spans, meet};
use super::question::Question;
use super::source::{Found, Source};
use crate::attribution::digest::Digest;
use crate::attribution::ledger::Interval;
use crate::attribution::record::{EndCause, Holding, Millis};
use crate::engine::{own_range, own_range_subscriber};

/// An end by a crash is known to the second (ATT-2); and a writer's last sign of life is that old at most.
const CRASH: Millis = 1000;

/// Answers a question. It never guesses: what the source does not prove is not said.
///
/// # Errors
/// A source that cannot be read.
pub(in crate::attribution) fn judge(source: &impl Source, question: &Question) -> io::Result<Answer> {
    let window = question.window();
    let mut found = source.find(question.address.to_bits(), &question.ports(), &window)?;
    found.evidence.retain(|evidence| concerns(&evidence.interval, question));
    let by_configuration = by_configuration(source, question, &found);
    let mut evidence = found.evidence;
    evidence.sort_by_key(|evidence| (evidence.interval.holding.first_port, evidence.interval.start));
    let verdict = match obstacle(source, &window, &found.spans) {
        Some(reason) => Verdict::Unknown(reason),
        None if evidence.iter().any(|evidence| is_uncertain(&evidence.interval, &window)) => {
            Verdict::Unknown(Reason::LogGap(LogGap::Unconfirmed))
        }
        None => match by_configuration {
            Err(reason) => Verdict::Unknown(reason),
            Ok(computed) => {
                evidence.extend(computed);
                let is_blind = found.spans.blind.iter().any(|blind| meet(blind, &window));
                let verdict = verdict(question, &evidence);
                if is_blind && matches!(verdict, Verdict::None | Verdict::Broad(_)) {
                    Verdict::Unknown(Reason::LogGap(LogGap::Blind))
                } else {
                    verdict
                }
            }
        },
    };
    Ok(Answer { question: *question, verdict, evidence, known_until: source.known_until().unwrap_or(0) })
}

/// Why nothing can be said about a time, whoever asks.
fn obstacle(source: &impl Source, window: &RangeInclusive<Millis>, spans: &Spans) -> Option<Reason> {
    let Some(known_until) = source.known_until() else {
        return Some(Reason::LogGap(source.missing_behind()));
    };
    if *window.start() < source.known_from() {
        return Some(Reason::BeforeRetention);
    }
    if let Some((_, hole)) = spans.holes.iter().find(|(hole, _)| meet(hole, window)) {
        return Some(Reason::LogGap(match hole {
            Hole::Gap(why) => LogGap::Lost(*why),
            Hole::Down => LogGap::Down,
            Hole::NotShipped => LogGap::NotShipped,
            Hole::Differs => LogGap::Differs,
        }));
    }
    if spans.doubts.iter().any(|doubt| meet(doubt, window)) {
        return Some(Reason::ClockDoubt);
    }
    (*window.end() > known_until + CRASH).then_some(Reason::LogGap(source.missing_behind()))
}

/// Own ranges are not journalled: they follow from the configurations of that time (RFC 7422).
fn by_configuration(
    source: &impl Source,
    question: &Question,
    found: &Found,
) -> Result<Vec<Evidence>, Reason> {
    let mut computed = Vec::new();
    for digest in found.spans.configurations_in(&question.window()) {
        let config = source.configuration(digest).ok_or(Reason::LogGap(LogGap::Configuration))?;
        computed
            .extend(owners(&config, question).map(|holding| computed_evidence(holding, digest, question)));
    }
    Ok(computed)
}

/// Whose own range the port is in; without a port, all own ranges of the address.
fn owners(config: &Config, question: &Question) -> impl Iterator<Item = Holding> {
    let ports: Vec<u16> = match question.port {
        Some(port) => vec![port],
        None => first_ports(config, question),
    };
    ports.into_iter().filter_map(move |port| {
        let subscriber = own_range_subscriber(config, question.address, port)?;
        let (external, range) = own_range(config, subscriber.network())?;
        Some(Holding {
            external,
            first_port: *range.start(),
            last_port: *range.end(),
            protocol: 0,
            b4: subscriber.network(),
            prefix_len: subscriber.prefix_len(),
            pool_id: 0,
            instance: 0,
            internal: None,
        })
    })
}

fn first_ports(config: &Config, question: &Question) -> Vec<u16> {
    let mut ports = Vec::new();
    let mut next = Some(*config.nat.external_port_range.start());
    while let Some(port) = next
        && let Some(subscriber) = own_range_subscriber(config, question.address, port)
        && let Some((_, range)) = own_range(config, subscriber.network())
    {
        ports.push(port);
        next = range.end().checked_add(1);
    }
    ports
}

fn computed_evidence(holding: Holding, digest: Digest, question: &Question) -> Evidence {
    let interval = Interval {
        holding,
        start: question.time,
        since: question.time,
        end: None,
        confirmed_until: None,
        start_record: 0,
        end_record: 0,
        start_doubtful: false,
        end_doubtful: false,
    };
    Evidence { interval, place: Place::Configuration(digest) }
}

/// Whether the interval has a moment of the window, and the protocol. An end by a crash may be a second later.
fn concerns(interval: &Interval, question: &Question) -> bool {
    let window = question.window();
    let end = interval.end.map_or(Millis::MAX, |(end, cause)| {
        if cause == EndCause::Crash { end.saturating_add(CRASH) } else { end }
    });
    let protocol = interval.holding.protocol;
    let is_protocol = protocol == 0 || question.protocol.is_none_or(|asked| asked == protocol);
    is_protocol && interval.start.min(end) <= *window.end() && interval.start.max(end) >= *window.start()
}

/// Whether the interval may have ended before, or within, the window without a record of it.
fn is_uncertain(interval: &Interval, window: &RangeInclusive<Millis>) -> bool {
    interval.confirmed_until.is_some_and(|until| until < *window.end())
}

/// What intervals that are certain say.
pub(in crate::attribution) fn verdict(question: &Question, evidence: &[Evidence]) -> Verdict {
    let mut subscribers: Vec<Ipv6Net> =
        evidence.iter().map(|evidence| evidence.interval.holding.subscriber()).collect();
    subscribers.sort();
    subscribers.dedup();
    match (subscribers.as_slice(), question.port) {
        ([], _) => Verdict::None,
        (_, None) => Verdict::Broad(subscribers),
        (&[only], Some(_)) => Verdict::Unique(only),
        (_, Some(_)) => Verdict::Ambiguous(subscribers),
    }
}
