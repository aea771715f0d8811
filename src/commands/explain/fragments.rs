//! IPv4 datagrams that cross in pieces: what their step says, on both paths.

use super::packet::piece_of;
use super::scene::{Hold, Scene};
use super::step::{Ended, Passed, Step};
use super::words::{count, protocol_name};
use crate::engine::DropReason;
use crate::wire::ipv4::Ipv4;

pub(super) const STEP: Step = Step {
    name: "inner fragment",
    rule: "nat.fragments, nat.timers.fragment-min-timeout (M29 to M31)",
    source: "RFC 4787 REQ-14, RFC 6146 section 3.4, RFC 1858",
    passed: PASSED,
    drops: DROPS,
    holds: HOLDS,
};

const PASSED: Passed = |scene| {
    let header = scene.inner_header().filter(|header| header.is_fragment())?;
    let name = name_of(header);
    if header.fragment_offset() == 0 {
        let drawn = match scene.counted(|counters| counters.fragments_resumed) {
            0 => "the others will follow it".to_owned(),
            waited => format!("and {} that waited for it", count(waited as usize, "fragment")),
        };
        return Some(format!("{name}, the first: it takes the path of a packet, {drawn}"));
    }
    if scene.reason().is_some() {
        return Some(format!("{name}: what the first one of its datagram met, it meets too"));
    }
    let ports = scene.ends.map_or("the first one's ports".to_owned(), |ends| {
        format!("{} > {}/{}", ends.source, ends.destination, protocol_name(ends.protocol))
    });
    Some(format!("{name}: it follows the first one, {ports}"))
};

const DROPS: &[(DropReason, Ended)] = &[
    (DropReason::V4FragTiny, |scene| {
        format!("{} is empty, no multiple of eight, or has a part of a TCP header", name(scene))
    }),
    (DropReason::V4FragBig, |scene| format!("{} ends behind octet 65535", name(scene))),
    (DropReason::V4FragOverlap, |scene| {
        format!("{} contradicts another one of its datagram, or comes after one that did", name(scene))
    }),
    (DropReason::V4FragMany, |scene| format!("{} is one of more than 64", name(scene))),
    (DropReason::V4FragMem, |scene| format!("{} finds no room", name(scene))),
    (DropReason::V4FragNoContext, |scene| {
        format!("{}: the mapping of its datagram's first one is gone, or that did not come", name(scene))
    }),
];

const HOLDS: &[(Hold, Ended)] = &[(Hold::Piece, |scene| {
    let patience = scene.config.nat.timers.fragment_min_timeout;
    let reason = DropReason::V4FragNoContext.name();
    format!(
        "{}: it waits for the first one, which has the ports, else it is dropped within {patience} s: {reason}",
        name(scene)
    )
})];

fn name(scene: &Scene<'_>) -> String {
    scene.inner_header().map_or("a fragment".to_owned(), name_of)
}

fn name_of(header: &Ipv4) -> String {
    let (start, end, more) = piece_of(header);
    let last = if more { "" } else { ", the last" };
    format!("fragment of {:#06x} (octets {start} to {end}{last})", header.identification())
}
