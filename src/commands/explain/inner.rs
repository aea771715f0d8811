//! The IPv4 header, from inside a softwire or from the Internet: what its steps say.

use std::net::Ipv4Addr;

use super::scene::Scene;
use super::step::{Ended, Passed, Step};
use super::words::{class, count, list};
use crate::engine::{DropReason, TtlBy, Verdict};
use crate::wire::ipv4::{self, Ipv4};
use crate::wire::ipv6::Ipv6;

/// The AFTR inside every softwire (RFC 6333 section 6.5).
const AFTR: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 1);

pub(super) const HEADER_PASSED: Passed = |scene| {
    let (header, present) = (scene.inner_header()?, scene.inner()?.len());
    let total = usize::from(header.total_length());
    let text = format!("IPv4, {total} octets, {} of them header, its checksum right", header.header_length());
    Some(match present - total.min(present) {
        0 => text,
        behind => format!("{text}; {behind} octets behind it are cut off"),
    })
};

pub(super) const TOO_SHORT: Ended =
    |scene| format!("{}, and an IPv4 header has 20", count(scene.inner().map_or(0, <[u8]>::len), "octet"));
pub(super) const WRONG_VERSION: Ended =
    |scene| format!("version {}", scene.inner_header().map_or(0, Ipv4::version));
pub(super) const WRONG_HEADER_LENGTH: Ended = |scene| {
    let length = scene.inner_header().map_or(0, Ipv4::header_length);
    format!("a header of {length} octets, in {}", scene.inner().map_or(0, <[u8]>::len))
};
pub(super) const WRONG_LENGTH: Ended = |scene| {
    let total = scene.inner_header().map_or(0, Ipv4::total_length);
    format!("a total length of {total}, where {} are there", scene.inner().map_or(0, <[u8]>::len))
};
pub(super) const WRONG_CHECKSUM: Ended =
    |scene| format!("header checksum {:#06x} is wrong", scene.inner_header().map_or(0, Ipv4::checksum));

pub(super) const OPTIONS_PASSED: Passed = |scene| {
    let length = scene.inner_header()?.header_length();
    let header = scene.inner()?.get(..length)?;
    (length > ipv4::HEADER).then(|| format!("{} may cross", options(header)))
};
pub(super) const FORBIDDEN_OPTION: Ended = |scene| {
    let length = scene.inner_header().map_or(0, Ipv4::header_length);
    let header = scene.inner().and_then(|inner| inner.get(..length)).unwrap_or_default();
    format!("{}: not all of them may cross, or they cannot be read", options(header))
};

/// The types of the options of a header.
fn options(header: &[u8]) -> String {
    let types: Vec<String> = ipv4::options(header)
        .map(|option| option.map_or("one that cannot be read".to_owned(), |(kind, _)| kind.to_string()))
        .collect();
    if types.is_empty() { "padding".to_owned() } else { format!("options of type {}", types.join(", ")) }
}

pub(super) const CLASS: Step = Step {
    name: "DSCP and ECN",
    rule: "softwire.v6-v4-dscp-preservation; the more severe of both marks (M47)",
    source: "RFC 2983 section 3, RFC 6040 section 4.2",
    passed: |scene| {
        let inside = scene.inner_header()?.tos();
        let outside = Ipv6::view(&scene.whole.as_ref()?.packet)?.traffic_class();
        let goes_on = match (scene.verdict, scene.forwarded().and_then(Ipv4::view)) {
            (Verdict::ToInternet, Some(header)) => format!(": goes on as {}", class(header.tos())),
            _ => String::new(),
        };
        Some(format!("{} outside, {} inside{goes_on}", class(outside), class(inside)))
    },
    drops: &[(DropReason::Ecn, |scene| match &scene.whole {
        Some(_) => "CE outside, Not-ECT inside: the mark would be lost, so the packet is".to_owned(),
        None => "one fragment says CE and another one Not-ECT: the mark would be lost".to_owned(),
    })],
    holds: &[],
};

pub(super) const SOURCE: Step = Step {
    name: "inner source",
    rule: "softwire.internal-prefixes (M19)",
    source: "RFC 6333 section 11",
    passed: |scene| {
        let source = scene.inner_header()?.source();
        let prefixes = &scene.config.softwire.internal_prefixes;
        Some(match prefixes.iter().find(|prefix| prefix.contains(&source)) {
            Some(prefix) => format!("{source} is in {prefix}"),
            None => format!("{source} is one of 192.0.0.2 to 192.0.0.7 (RFC 6333 section 5.7)"),
        })
    },
    drops: &[(DropReason::InSrc, |scene| {
        let prefixes = list(&scene.config.softwire.internal_prefixes);
        format!("{} is in none: {prefixes}, nor one of 192.0.0.2 to .7", address(scene, Ipv4::source))
    })],
    holds: &[],
};

pub(super) const DESTINATION: Step = Step {
    name: "inner destination",
    rule: "an address that somebody can have, and not the sender's (M20, M24)",
    source: "RFC 1812 section 5.3.7",
    passed: |scene| {
        let destination = scene.inner_header()?.destination();
        Some(if destination == AFTR {
            format!("{destination} is the AFTR itself")
        } else {
            format!("{destination} can be a host's")
        })
    },
    drops: &[
        (DropReason::InDst, |scene| format!("{} is nobody's address", address(scene, Ipv4::destination))),
        (DropReason::InLand, |scene| format!("{} is the sender too", address(scene, Ipv4::destination))),
    ],
    holds: &[],
};

pub(super) const LOCAL: Step = Step {
    name: "local delivery",
    rule: "echo is answered within icmp.echo-per-b4-rate, all else is refused",
    source: "RFC 6333 section 6.5, RFC 6908 section 3.2.2",
    passed: |scene| {
        let is_answered = scene.verdict == Verdict::Reply;
        let whom = scene
            .inner_header()
            .map_or("the AFTR address".to_owned(), |inner| inner.destination().to_string());
        is_answered.then(|| format!("{whom} answers the echo request; no port is used and no state made"))
    },
    drops: &[(DropReason::Local, |scene| {
        let rate = scene.config.icmp.echo_per_b4_rate;
        match scene.inner_header() {
            Some(header) if header.is_fragment() => "a fragment to 192.0.0.1".to_owned(),
            Some(header) if header.protocol() != ipv4::protocol::ICMP => {
                format!("nothing listens at 192.0.0.1 for protocol {}", header.protocol())
            }
            _ => format!("not an echo request, or more than {rate} of them in a second from this B4"),
        }
    })],
    holds: &[],
};

/// What both sides say of a TTL that is enough.
pub(super) const TTL_PASSED: Passed = |scene| {
    let ttl = scene.inner_header()?.ttl();
    if scene.verdict == Verdict::Reply {
        return None;
    }
    Some(match scene.forwarded().and_then(Ipv4::view) {
        Some(header) if header.ttl() == ttl => format!("TTL {ttl}: the kernel, which routes too, takes one"),
        Some(header) => format!("TTL {ttl} → {}", header.ttl()),
        None => format!("TTL {ttl} is enough"),
    })
};
pub(super) const TTL_USED_UP: Ended = |scene| {
    let ttl = scene.inner_header().map_or(0, Ipv4::ttl);
    let by = if scene.ttl == TtlBy::Kernel { ", with the kernel's hop taken" } else { "" };
    format!("TTL {ttl} is used up{by}")
};

pub(super) const ROUTE: Step = Step {
    name: "route",
    rule: "nothing private, but by a rule of nat.nat-pass-through (M21)",
    source: "RFC 1812 section 4.3.3.1",
    passed: |scene| {
        let destination = scene.inner_header()?.destination();
        if scene.verdict == Verdict::Reply {
            return None;
        }
        let rules = &scene.config.nat.nat_pass_through;
        Some(if scene.in_pool(destination) {
            format!("{destination} is an address of our pool: a call from home to home")
        } else if let Some(rule) = rules.iter().find(|rule| rule.prefix.contains(&destination)) {
            format!("{destination} is in {} of a pass-through rule", rule.prefix)
        } else {
            format!("{destination} is not private: to the Internet")
        })
    },
    drops: &[(DropReason::InNoRoute, |scene| {
        format!("{} is private, and no pass-through rule takes it", address(scene, Ipv4::destination))
    })],
    holds: &[],
};

/// A field of the IPv4 header, which was there when this is asked.
pub(super) fn address(scene: &Scene<'_>, field: fn(&Ipv4) -> Ipv4Addr) -> Ipv4Addr {
    scene.inner_header().map_or(Ipv4Addr::UNSPECIFIED, field)
}
