//! Whose packet it is: softwire and subscriber, and destinations that are not translated.

use std::net::SocketAddrV4;

use super::packet::Ends;
use super::scene::Scene;
use super::step::Step;
use crate::engine::{Config, DropReason, EventKind, Protocol, Verdict};
use crate::wire::ipv6::Ipv6;
use aftr_config::PassThrough;

pub(super) const SOFTWIRE: Step = Step {
    name: "softwire",
    rule: "softwire.subscriber-mask-v6, softwire.max-softwires-per-subscriber (M48, M49)",
    source: "RFC 7785 section 4",
    passed: |scene| {
        let b4 = scene.b4().filter(|_| scene.inner().is_some() && scene.verdict != Verdict::Reply)?;
        // Untranslated, the size comes before the softwire.
        if scene.reason() == Some(DropReason::InMtu) && untranslated_by(scene).is_some() {
            return None;
        }
        let moved = scene.events.iter().find_map(|event| {
            let EventKind::SoftwireMoved { subscriber, from, to } = event.kind else { return None };
            Some(format!("the softwire of subscriber {subscriber} moves from {from} to {to}"))
        });
        if moved.is_some() {
            return moved;
        }
        let subscriber =
            scene.after.subscriber_of(b4).map_or(String::new(), |found| found.prefix.to_string());
        Some(match (scene.before.has_softwire(b4), scene.after.has_softwire(b4)) {
            (true, _) => format!("{b4} has an open softwire, of subscriber {subscriber}"),
            (false, true) => format!("a softwire of {b4} is opened, for subscriber {subscriber}"),
            (false, false) => {
                format!("{b4} has no softwire, and gets none for a packet that goes no further")
            }
        })
    },
    drops: &[
        (DropReason::B4Flap, |scene| {
            let limit = scene.config.softwire.b4_address_change_limit;
            let at = softwires(scene);
            format!(
                "its subscriber, whose softwire ends at {at}, changed its B4 address less than {limit} s ago"
            )
        }),
        (DropReason::B4Limit, |scene| {
            let most = scene.config.softwire.max_softwires_per_subscriber;
            let has = match softwires(scene).as_str() {
                "" => "its subscriber is new".to_owned(),
                at => format!("its subscriber has a softwire at {at}, of {most} that it may have"),
            };
            format!("{has}; or the tables are full")
        }),
    ],
    holds: &[],
};

/// Where the softwires of the subscriber end.
fn softwires(scene: &Scene<'_>) -> String {
    let subscriber = scene.b4().and_then(|b4| scene.before.subscriber_of(b4));
    let ends = subscriber.into_iter().flat_map(|subscriber| &subscriber.softwires);
    ends.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

const PASS_THROUGH_RULE: &str = "nat.nat-pass-through";
const PASS_THROUGH_SOURCE: &str = "RFC 6888 REQ-6";

pub(super) const PASS_THROUGH_FROM_B4: Step = Step {
    name: "pass-through",
    rule: PASS_THROUGH_RULE,
    source: PASS_THROUGH_SOURCE,
    passed: |scene| {
        let rule = untranslated_by(scene)?;
        Some(format!("the rule for {} leaves it untranslated; its answers find this softwire", rule.prefix))
    },
    drops: &[(DropReason::PassClash, |scene| match scene.ends {
        Some(Ends { source, destination, .. }) => {
            format!("another softwire has the same untranslated session, {source} > {destination}")
        }
        None => String::new(),
    })],
    holds: &[],
};

pub(super) const PASS_THROUGH_FROM_INTERNET: Step =
    Step::open("pass-through", PASS_THROUGH_RULE, PASS_THROUGH_SOURCE, |scene| {
        let ends = scene.ends.filter(|ends| !scene.in_pool(*ends.destination.ip()))?;
        let rule = rule_for(scene.config, ends.protocol, ends.source)?;
        let b4 = scene.output.and_then(|(_, bytes)| Ipv6::view(bytes)).map(Ipv6::destination)?;
        let passes = scene.verdict == Verdict::ToB4;
        passes
            .then(|| format!("an answer of an untranslated session of {b4}, by the rule for {}", rule.prefix))
    });

/// The rule that leaves a packet from a B4 untranslated.
pub(super) fn untranslated_by<'s>(scene: &Scene<'s>) -> Option<&'s PassThrough> {
    let ends = scene.ends?;
    rule_for(scene.config, ends.protocol, ends.destination)
}

/// The first rule for a remote side.
fn rule_for(config: &Config, protocol: Protocol, remote: SocketAddrV4) -> Option<&PassThrough> {
    config.nat.nat_pass_through.iter().find(|rule| {
        rule.prefix.contains(remote.ip())
            && rule.protocol.is_none_or(|only| only == protocol)
            && rule.port.is_none_or(|only| only == remote.port())
    })
}
