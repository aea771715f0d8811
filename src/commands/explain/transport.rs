//! The transport header, ICMP errors and policy: what their steps say, on both paths.

use super::packet::{Ends, icmp_class, tcp_of};
use super::scene::Scene;
use super::step::{Ended, Passed, Step};
use super::words::{count, flags, protocol_name};
use crate::engine::{DropReason, Protocol};
use crate::wire::icmpv4::{Class, Icmpv4};
use crate::wire::ipv4::{self, Ipv4, protocol};
use aftr_config::Rule;

pub(super) const RULE: &str = "TCP, UDP or ICMP, of a length and with flags that can be (M25, M32 to M39)";
pub(super) const SOURCE: &str = "RFC 6888 REQ-1, RFC 5508 REQ-10";

pub(super) const PASSED: Passed = |scene| {
    if is_local(scene) || scene.is_later_piece() {
        return None;
    }
    let inner = scene.inner()?;
    let segment = ipv4::payload(inner).len();
    if icmp_class(inner) == Some(Class::Error) {
        return Some(format!("{}, to be translated by what it quotes", icmp_name(inner)));
    }
    let ends = Ends::of(inner)?;
    let (from, to) = (ends.source.port(), ends.destination.port());
    Some(match ends.protocol {
        Protocol::Udp => format!("UDP, port {from} to port {to}, {}", count(segment, "octet")),
        Protocol::Tcp => {
            let bits = tcp_of(inner).map_or(0, |header| header.flags);
            format!("TCP {}, port {from} to port {to}, {}", flags(bits), count(segment, "octet"))
        }
        Protocol::Icmp => format!("{}, identifier {from}", icmp_name(inner)),
    })
};

pub(super) const PROTOCOL: Ended =
    |scene| format!("protocol {}, which does not cross", scene.inner_header().map_or(0, Ipv4::protocol));
pub(super) const LENGTH: Ended = |scene| {
    let length = scene.inner().map_or(0, |inner| ipv4::payload(inner).len());
    format!("{} do not make a header, or not the length that it says", count(length, "octet"))
};
pub(super) const PORT_0: Ended = |scene| match scene.ends {
    Some(ends) => format!("port {} to port {}", ends.source.port(), ends.destination.port()),
    None => "port 0".to_owned(),
};
pub(super) const FLAGS: Ended = |scene| {
    let bits = scene.inner().and_then(tcp_of).map_or(0, |header| header.flags);
    format!("{}: no connection uses that", flags(bits))
};
pub(super) const ICMP_TYPE: Ended =
    |scene| format!("{} does not cross in this direction", scene.inner().map_or(String::new(), icmp_name));

pub(super) const ICMP_ERROR: Step = Step {
    name: "ICMP error",
    rule: "its own checksum and the quoted header are right (M38)",
    source: "RFC 5508 REQ-3",
    passed: ERROR_PASSED,
    drops: &[(DropReason::IcmpChecksum, ERROR_CHECKSUM), (DropReason::IcmpQuoted, ERROR_QUOTATION)],
    holds: &[],
};

const ERROR_PASSED: Passed = |scene| {
    let quoted = scene.quoted().filter(|_| !is_local(scene))?;
    Some(format!("it quotes {} > {}/{}", quoted.source, quoted.destination, protocol_name(quoted.protocol)))
};
const ERROR_CHECKSUM: Ended =
    |scene| format!("the checksum of {} is wrong", scene.inner().map_or(String::new(), icmp_name));
const ERROR_QUOTATION: Ended = |scene| match scene.quoted() {
    Some(quoted) => format!(
        "it is sent to {}, and quotes a packet {} > {} that cannot be used",
        super::inner::address(scene, Ipv4::destination),
        quoted.source,
        quoted.destination
    ),
    None => {
        "what it quotes is too short, an error itself, a later fragment, or of another protocol".to_owned()
    }
};

/// What a policy says that refuses nothing here. Without rules there is no such step.
pub(super) fn not_denied(
    scene: &Scene<'_>,
    rules: &[Rule],
    remote: fn(Ends) -> std::net::SocketAddrV4,
) -> Option<String> {
    let flow = scene.flow().filter(|_| !is_local(scene) && !rules.is_empty())?;
    let remote = remote(flow);
    Some(format!("none of {} refuses {remote}/{}", count(rules.len(), "rule"), protocol_name(flow.protocol)))
}

/// The first rule that refuses.
pub(super) fn denied(
    scene: &Scene<'_>,
    rules: &[Rule],
    remote: fn(Ends) -> std::net::SocketAddrV4,
) -> String {
    let Some(flow) = scene.flow() else { return String::new() };
    let end = remote(flow);
    let rule = rules.iter().find(|rule| {
        rule.prefix.contains(end.ip())
            && rule.b4_prefix.is_none_or(|prefix| scene.b4().is_some_and(|b4| prefix.contains(&b4)))
            && rule.protocol.is_none_or(|only| only == flow.protocol)
            && rule.port.is_none_or(|only| only == end.port())
    });
    let words = rule.map_or(String::new(), |rule| format!(" by the rule {}", rule_words(rule)));
    format!("{end}/{} is refused{words}", protocol_name(flow.protocol))
}

fn rule_words(rule: &Rule) -> String {
    let b4 = rule.b4_prefix.map_or(String::new(), |prefix| format!("b4-prefix {prefix}, "));
    let protocol = rule.protocol.map_or(String::new(), |only| format!(", protocol {}", protocol_name(only)));
    let port = rule.port.map_or(String::new(), |only| format!(", port {only}"));
    format!("{b4}prefix {}{protocol}{port}", rule.prefix)
}

/// For the AFTR itself: no transport step concerns it.
fn is_local(scene: &Scene<'_>) -> bool {
    scene.verdict == crate::engine::Verdict::Reply && scene.side == crate::wire::Side::B4
}

fn icmp_name(inner: &[u8]) -> String {
    if Ipv4::view(inner).is_none_or(|header| header.protocol() != protocol::ICMP) {
        return "this packet".to_owned();
    };
    match Icmpv4::view(ipv4::payload(inner)) {
        Some(icmp) => {
            let name = match icmp.class() {
                Class::Request => "request ",
                Class::Reply => "reply ",
                Class::Error => "error ",
                Class::Other => "",
            };
            format!("ICMP {name}{}/{}", icmp.kind, icmp.code)
        }
        None => "ICMP, cut short,".to_owned(),
    }
}
