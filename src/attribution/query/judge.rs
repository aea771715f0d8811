//! The verdict: first whether anything can be said about that time at all, then who it was.

use std::io;
use std::net::SocketAddrV4;
use std::ops::RangeInclusive;

use aftr_config::{Config, Protocol, StaticMapping};
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

/// Own ranges (RFC 7422) and static mappings are not journalled: they follow from the configurations of that time.
fn by_configuration(
    source: &impl Source,
    question: &Question,
    found: &Found,
) -> Result<Vec<Evidence>, Reason> {
    let mut computed = Vec::new();
    let window = question.window();
    if found.spans.off.iter().any(|off| off.contains(window.start()) && off.contains(window.end())) {
        return Ok(computed);
    }
    for digest in found.spans.configurations_in(&window) {
        let config = source.configuration(digest).ok_or(Reason::LogGap(LogGap::Configuration))?;
        let mapped: Vec<Holding> = mapped(&config, question).collect();
        // Whom a static mapping of all that was asked for leaves nothing is no candidate.
        let is_left = question.port.is_none()
            || PROTOCOLS.iter().any(|&protocol| {
                question.protocol.is_none_or(|asked| asked == protocol)
                    && mapped.iter().all(|holding| holding.protocol != protocol)
            });
        let owners = is_left.then(|| owners(&config, question)).into_iter().flatten();
        let holdings = mapped.iter().copied().chain(owners);
        computed.extend(holdings.map(|holding| computed_evidence(holding, digest, question)));
    }
    Ok(computed)
}

/// What has ports, or identifiers in their place.
const PROTOCOLS: [u8; 3] = [1, 6, 17];

/// Static mappings of what was asked for.
fn mapped(config: &Config, question: &Question) -> impl Iterator<Item = Holding> {
    let is_asked = |entry: &&StaticMapping| {
        entry.external_src_address == question.address
            && question.port.is_none_or(|port| port == entry.external_src_port)
            && question.protocol.is_none_or(|protocol| protocol == number(entry.transport_protocol))
    };
    config.nat.mapping_table.iter().filter(is_asked).map(|entry| Holding {
        external: entry.external_src_address,
        first_port: entry.external_src_port,
        last_port: entry.external_src_port,
        protocol: number(entry.transport_protocol),
        b4: entry.b4_ipv6_address,
        prefix_len: config.softwire.subscriber_mask_v6,
        pool_id: 0,
        instance: 0,
        internal: Some(SocketAddrV4::new(entry.internal_src_address, entry.internal_src_port)),
    })
}

fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Icmp => 1,
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::query::marks::Began;
    use crate::attribution::record::Record;

    const DIGEST: Digest = Digest([7; 32]);

    /// A journal without holdings; its configuration holds from the start.
    struct Kept(Config, Vec<Record>);

    impl Source for Kept {
        fn find(&self, _: u32, _: &RangeInclusive<u16>, _: &RangeInclusive<Millis>) -> io::Result<Found> {
            let marks: Vec<(u64, Record)> = (1..).zip(self.1.iter().copied()).collect();
            let mut found = Found::default();
            let began = Began { configuration: Some(DIGEST), ..Began::default() };
            found.spans.add(&marks, (0, 100_000), began);
            Ok(found)
        }

        fn known_until(&self) -> Option<Millis> {
            Some(100_000)
        }

        fn known_from(&self) -> Millis {
            0
        }

        fn missing_behind(&self) -> LogGap {
            LogGap::End
        }

        fn configuration(&self, digest: Digest) -> Option<Config> {
            (digest == DIGEST).then(|| self.0.clone())
        }
    }

    fn kept(deterministic: &str, marks: &[Record]) -> Kept {
        let text = format!(
            "[softwire]\naftr-ipv6-addr = ['2001:db8:aaaa::1']\n\
             b4-prefixes = ['2001:db8:b4::/61']\nsubscriber-mask-v6 = 64\n\
             [[nat.external-ip-address-pool]]\npool-id = 1\nexternal-ip-pool = ['198.51.100.1']\n\
             {deterministic}\n[[nat.mapping-table]]\nb4-ipv6-address = '2001:db8:b4:5::1'\n\
             transport-protocol = 'tcp'\ninternal-src-address = '192.168.1.9'\ninternal-src-port = 80\n\
             external-src-address = '198.51.100.1'\nexternal-src-port = 2048\n"
        );
        Kept(Config::parse(&text).unwrap_or_else(|errors| panic!("{errors:?}")), marks.to_vec())
    }

    fn ask(kept: &Kept, port: u16, protocol: Option<u8>, time: Millis) -> Verdict {
        let address = "198.51.100.1".parse().unwrap();
        let question = Question { address, port: Some(port), time, uncertainty: 1000, protocol };
        judge(kept, &question).unwrap().verdict
    }

    fn home(text: &str) -> Ipv6Net {
        text.parse().unwrap()
    }

    const DETERMINISTIC: &str = "[nat.deterministic]\nsubscribers-per-address = 14\ndynamic-shares = 2";

    #[test]
    fn a_static_mapping_is_its_b4s_by_the_configuration() {
        let kept = kept("", &[]);
        let unique = Verdict::Unique(home("2001:db8:b4:5::/64"));
        assert_eq!(ask(&kept, 2048, Some(6), 50_000), unique);
        assert_eq!(ask(&kept, 2048, None, 50_000), unique);
        assert_eq!(ask(&kept, 2048, Some(17), 50_000), Verdict::None);
        assert_eq!(ask(&kept, 2049, Some(6), 50_000), Verdict::None);
    }

    #[test]
    fn a_static_mapping_in_the_own_range_of_another_is_not_the_others() {
        let kept = kept(DETERMINISTIC, &[]);
        let (mapped, owner) = (home("2001:db8:b4:5::/64"), home("2001:db8:b4::/64"));
        assert_eq!(ask(&kept, 2048, Some(6), 50_000), Verdict::Unique(mapped));
        assert_eq!(ask(&kept, 2048, Some(17), 50_000), Verdict::Unique(owner));
        assert_eq!(ask(&kept, 2048, None, 50_000), Verdict::Ambiguous(vec![owner, mapped]));
    }

    #[test]
    fn nobody_has_an_own_range_while_the_aftr_is_stopped() {
        let opened = Record::Opened { at: 60_000, last_known: 40_000, was_closed: true };
        let kept = kept(DETERMINISTIC, &[Record::Closed { at: 40_000 }, opened]);
        let owner = Verdict::Unique(home("2001:db8:b4::/64"));
        assert_eq!(ask(&kept, 2049, None, 50_000), Verdict::None);
        assert_eq!(ask(&kept, 2048, Some(6), 50_000), Verdict::None);
        assert_eq!(ask(&kept, 2049, None, 39_500), owner);
        assert_eq!(ask(&kept, 2049, None, 60_500), owner);
    }
}
