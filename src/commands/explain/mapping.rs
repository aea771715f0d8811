//! Mappings, sessions and filters: what their steps say. State is not watched while it is made: it is
//! compared before and after.

use super::admission::untranslated_by;
use super::packet::{Ends, icmp_class, tcp_of};
use super::scene::{Hold, Scene};
use super::step::Step;
use super::words::{duration, flags, mapping, protocol_name};
use crate::engine::{DropReason, EventKind, MappingView, Protocol, Verdict};
use crate::wire::icmpv4::Class;
use crate::wire::tcp::flag;
use aftr_config::Filtering;

const SESSION_SOURCE: &str = "RFC 5382 REQ-2, RFC 7857 section 2";

pub(super) const SESSION_FROM_B4: Step = Step {
    name: "session",
    rule: "TCP: a SYN opens, all else belongs to a mapping (M35); nat.tcp-mid-session",
    source: SESSION_SOURCE,
    passed: |scene| {
        let flow = translated_flow(scene)?;
        session(scene, &flow, "its answers", scene.before.mapping_of(scene.b4()?, flow.protocol, flow.source))
    },
    drops: &[(DropReason::TcpNoSession, |scene| match scene.ends {
        Some(ends) => format!("{} opens nothing, and {}/tcp has no mapping", tcp_flags(scene), ends.source),
        None => String::new(),
    })],
    holds: &[],
};

/// What is said of the session of a packet that may need one.
fn session(scene: &Scene<'_>, flow: &Ends, lets_in: &str, known: Option<&MappingView>) -> Option<String> {
    let is_opened = scene.after.totals().1 > scene.before.totals().1;
    let remote = if scene.side == crate::wire::Side::B4 { flow.destination } else { flow.source };
    if flow.protocol != Protocol::Tcp {
        let filter = filtering(scene, flow.protocol);
        return is_opened
            .then(|| format!("a session with {remote} is opened, which lets {lets_in} in ({filter})"));
    }
    let bits = tcp_of(scene.inner()?)?.flags;
    let timeout = scene.config.nat.timers.tcp_trans_open_timeout;
    let lives = known.map_or(0, |known| known.sessions);
    Some(match (bits & (flag::SYN | flag::ACK) == flag::SYN, is_opened) {
        (true, true) => format!("SYN opens a session with {remote}: {timeout} s for the answer"),
        (true, false) if scene.forwarded().is_some() => format!("SYN of a session with {remote} that lives"),
        (true, false) => format!("SYN may open a session with {remote}"),
        (false, _) => format!("{} at a mapping with sessions: {lives}", flags(bits)),
    })
}

pub(super) const CALLED: Step = Step {
    name: "called mapping",
    rule: "a pool address, or an ICMP error, needs a mapping that exists; nat.filtering-type (M22, M51)",
    source: "RFC 4787 REQ-9, RFC 5508 REQ-5 and REQ-7",
    passed: |scene| {
        if let Some(quoted) = scene.quoted() {
            let known = scene.before.mapping_of(scene.b4()?, quoted.protocol, quoted.destination)?;
            return Some(format!("the quoted packet was for {}", mapping(known)));
        }
        let flow = translated_flow(scene).filter(|flow| scene.in_pool(*flow.destination.ip()))?;
        let called = scene.before.mapping_at(flow.protocol, flow.destination)?;
        Some(format!("{} of {}: this packet turns around here", mapping(called), called.b4))
    },
    drops: &[
        (DropReason::NatNoMapping, nobody),
        (DropReason::NatFilter, filtered),
        (DropReason::TcpInFlood, flood),
    ],
    holds: &[
        (Hold::Syn, |scene| waits(scene, nobody(scene))),
        (Hold::FilteredSyn, |scene| waits(scene, filtered(scene))),
    ],
};

pub(super) const LIMITS: Step = Step {
    name: "limits",
    rule: "nat.port-quota, nat.session-limits, nat.port-set, nat.mapping-limits (M50)",
    source: "RFC 6888 REQ-4, REQ-5, REQ-11",
    passed: |scene| {
        let (made, protocol) = (mapping_made(scene)?, translated_flow(scene)?.protocol);
        let subscriber = scene.after.subscriber_of(made.b4)?;
        Some(format!(
            "{} mapping {} of {}, port set {} of {}",
            protocol_name(protocol),
            subscriber.mappings[protocol as usize],
            quota(scene, protocol),
            subscriber.port_sets.len(),
            scene.config.nat.port_set.max_port_sets
        ))
    },
    drops: &[
        (DropReason::NatQuota, used_up),
        (DropReason::NatRate, |scene| {
            let quota = &scene.config.nat.port_quota;
            let (rate, burst) = (quota.new_mappings_per_second, quota.new_mappings_burst);
            format!("more than {rate} new mappings in a second, behind a burst of {burst}")
        }),
        (DropReason::NatPool, |scene| {
            let subscriber = scene.b4().and_then(|b4| scene.before.subscriber_of(b4));
            match subscriber.and_then(|subscriber| subscriber.external) {
                Some(address) => {
                    format!("no port set is free at {address}, which the subscriber is paired with")
                }
                None => "no address of its pool takes another subscriber".to_owned(),
            }
        }),
        (DropReason::NatJournal, |_| {
            "the record of another port set cannot be kept, and on-loss grants none without".to_owned()
        }),
        (DropReason::NatMem, full),
    ],
    holds: &[],
};

pub(super) const MAPPING_FROM_B4: Step = Step::open(
    "mapping",
    "one external end for all destinations, at the subscriber's address; nat.timers",
    "RFC 4787 REQ-1 and REQ-2, RFC 6333 section 6.6",
    |scene| {
        let ends = scene.ends.filter(|_| scene.forwarded().is_some() && untranslated_by(scene).is_none())?;
        let now = scene.after.mapping_of(scene.b4()?, ends.protocol, ends.source)?;
        let Some(known) = scene.before.mapping_at(now.protocol, now.external) else {
            let granted = scene.events.iter().find_map(|event| {
                let EventKind::PortSetGranted(grant) = event.kind else { return None };
                Some(format!(", of the ports {} to {} granted now", grant.first_port, grant.last_port))
            });
            return Some(format!("{}, made now{}", mapping(now), granted.unwrap_or_default()));
        };
        Some(found(known))
    },
);

pub(super) const MAPPING_FROM_INTERNET: Step = Step {
    name: "mapping",
    rule: "the mapping of the external address and port (M42)",
    source: "RFC 6333 section 6.6, RFC 5508 REQ-4",
    passed: |scene| {
        if scene.verdict == Verdict::Reply {
            return Some("an echo request, which the pool address answers itself (nat.pool-echo)".to_owned());
        }
        if let Some(quoted) = scene.quoted() {
            let known = scene.before.mapping_at(quoted.protocol, quoted.source)?;
            return Some(format!("the quoted packet came from {}; errors keep nothing alive", found(known)));
        }
        let ends = scene.ends?;
        let known = scene.before.mapping_at(ends.protocol, ends.destination)?;
        Some(format!("{}; its softwire is that of {}", found(known), known.b4))
    },
    drops: &[(DropReason::NatNoMapping, nobody)],
    holds: &[(Hold::Syn, |scene| waits(scene, nobody(scene)))],
};

pub(super) const FILTER: Step = Step {
    name: "filter",
    rule: "nat.filtering-type (M43)",
    source: "RFC 4787 REQ-8, RFC 5382 REQ-3",
    passed: |scene| {
        let flow = scene.flow().filter(|_| scene.verdict != Verdict::Reply)?;
        let known = scene.before.mapping_at(flow.protocol, flow.destination)?;
        let filter = filtering(scene, flow.protocol);
        Some(match known.is_static {
            true => format!("a static mapping lets {} in", flow.source),
            false => format!("{filter}: {} may come in", flow.source),
        })
    },
    drops: &[(DropReason::NatFilter, filtered)],
    holds: &[(Hold::FilteredSyn, |scene| waits(scene, filtered(scene)))],
};

pub(super) const SESSION_FROM_INTERNET: Step = Step {
    name: "session",
    rule: "nat.session-limits",
    source: SESSION_SOURCE,
    passed: |scene| {
        let flow = scene.flow().filter(|_| scene.verdict != Verdict::Reply)?;
        let known = scene.before.mapping_at(flow.protocol, flow.destination)?;
        session(scene, &flow, "it", Some(known))
    },
    drops: &[(DropReason::TcpInFlood, flood), (DropReason::NatQuota, used_up), (DropReason::NatMem, full)],
    holds: &[],
};

const NOBODY: &str = "nobody has it";

fn nobody(scene: &Scene<'_>) -> String {
    if let Some(quoted) = scene.quoted() {
        let host = if scene.side == crate::wire::Side::B4 { quoted.destination } else { quoted.source };
        return format!("the quoted {host}/{} has no mapping here", protocol_name(quoted.protocol));
    }
    if scene.inner().and_then(icmp_class) == Some(Class::Request) {
        return "an ICMP request can mean no host behind a pool address".to_owned();
    }
    scene.ends.map_or(NOBODY.to_owned(), |ends| {
        format!("{}/{}: {NOBODY}", ends.destination, protocol_name(ends.protocol))
    })
}

fn filtered(scene: &Scene<'_>) -> String {
    let Some(ends) = scene.ends else { return String::new() };
    let filter = filtering(scene, ends.protocol);
    format!("{filter}: the host at {} sent nothing to {}", ends.destination, ends.source.ip())
}

fn waits(scene: &Scene<'_>, why: String) -> String {
    let silence = scene.config.nat.timers.tcp_in_syn_timeout;
    format!(
        "{why}; the SYN waits {silence} s in silence, in case the called host opens too (RFC 5382 REQ-4), else its sender is told: ICMP 3/3"
    )
}

fn flood(scene: &Scene<'_>) -> String {
    let limits = &scene.config.nat.session_limits;
    format!(
        "{} connections from the Internet to this mapping, or {} to its subscriber, wait for an answer",
        limits.inbound_half_open_per_mapping, limits.inbound_half_open_per_subscriber
    )
}

fn used_up(scene: &Scene<'_>) -> String {
    let Some(ends) = scene.ends else { return String::new() };
    let called = scene.before.mapping_at(ends.protocol, ends.destination).map(|called| called.b4);
    let b4 = scene.b4().or(called);
    let Some(subscriber) = b4.and_then(|b4| scene.before.subscriber_of(b4)) else {
        return "the subscriber has all that it may have".to_owned();
    };
    let nat = &scene.config.nat;
    format!(
        "{} has {} of {} {} mappings, {} of {} port sets, {} of {} sessions",
        subscriber.prefix,
        subscriber.mappings[ends.protocol as usize],
        quota(scene, ends.protocol),
        protocol_name(ends.protocol),
        subscriber.port_sets.len(),
        nat.port_set.max_port_sets,
        subscriber.sessions,
        nat.session_limits.limit_per_subscriber
    )
}

fn full(scene: &Scene<'_>) -> String {
    let (mappings, sessions) = scene.before.totals();
    let tables = &scene.config.nat.tables;
    format!(
        "{mappings} of {} mappings and {sessions} of {} sessions are there",
        tables.limit_port_mappings, tables.limit_sessions
    )
}

/// Both ends of a packet from a B4 that is to be translated by a mapping of its own.
fn translated_flow(scene: &Scene<'_>) -> Option<Ends> {
    scene.flow().filter(|_| scene.verdict != Verdict::Reply && untranslated_by(scene).is_none())
}

/// The mapping that this packet made.
fn mapping_made<'s>(scene: &'s Scene<'_>) -> Option<&'s MappingView> {
    let flow = translated_flow(scene)?;
    let now = scene.after.mapping_of(scene.b4()?, flow.protocol, flow.source)?;
    scene.before.mapping_at(now.protocol, now.external).is_none().then_some(now)
}

fn found(known: &MappingView) -> String {
    if known.is_static {
        return format!("{}, static", mapping(known));
    }
    let age = match known.age.as_secs() {
        0 => "less than 1 s".to_owned(),
        age => format!("{age} s"),
    };
    format!("{}, found: made {age} ago, last used {} ago", mapping(known), duration(known.idle))
}

fn quota(scene: &Scene<'_>, protocol: Protocol) -> u32 {
    let quota = &scene.config.nat.port_quota;
    match protocol {
        Protocol::Tcp => quota.tcp,
        Protocol::Udp => quota.udp,
        Protocol::Icmp => quota.icmp,
    }
}

fn filtering(scene: &Scene<'_>, protocol: Protocol) -> &'static str {
    let filtering = &scene.config.nat.filtering_type;
    let value = match protocol {
        Protocol::Tcp => filtering.tcp,
        Protocol::Udp => filtering.udp,
        Protocol::Icmp => filtering.icmp,
    };
    match value {
        Filtering::EndpointIndependent => "endpoint-independent",
        Filtering::AddressDependent => "address-dependent",
        Filtering::AddressAndPortDependent => "address-and-port-dependent",
    }
}

fn tcp_flags(scene: &Scene<'_>) -> String {
    flags(scene.inner().and_then(tcp_of).map_or(0, |header| header.flags))
}
