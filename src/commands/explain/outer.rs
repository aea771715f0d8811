//! The outer IPv6 packet: what the first steps from a B4 say.

use std::net::Ipv6Addr;

use super::packet::{OuterPiece, chain_fault};
use super::scene::{Hold, Scene};
use super::step::Step;
use super::words::{count, list};
use crate::engine::DropReason;
use crate::wire::extension::{self, ChainFault};
use crate::wire::fragment::{self, Fragment};
use crate::wire::ipv6::{self, Ipv6, next_header};

pub(super) const HEADER: Step = Step {
    name: "outer header",
    rule: "version 6, and the payload that it announces is there (M1, M2)",
    source: "RFC 8200 section 3",
    passed: |scene| {
        let (header, present) = (scene.outer()?, scene.bytes.len() - ipv6::HEADER);
        let payload = usize::from(header.payload_length());
        Some(match present - payload.min(present) {
            0 => format!("IPv6 with {} of payload", count(payload, "octet")),
            behind => format!("IPv6 with {payload} octets of payload; {behind} behind it are cut off"),
        })
    },
    drops: &[
        (DropReason::V6Short, |scene| match scene.outer() {
            Some(header) => format!("version {}: no IPv6 packet", header.version()),
            None => format!("{}, and an IPv6 header has 40", count(scene.bytes.len(), "octet")),
        }),
        (DropReason::V6Len, |scene| {
            let payload = scene.outer().map_or(0, Ipv6::payload_length);
            match payload {
                0 => "the payload length is 0".to_owned(),
                _ => format!(
                    "{payload} octets of payload are announced, {} are there",
                    scene.bytes.len() - ipv6::HEADER
                ),
            }
        }),
    ],
    holds: &[],
};

pub(super) const DESTINATION: Step = Step {
    name: "outer destination",
    rule: "softwire.aftr-ipv6-addr (M4)",
    source: "RFC 6334 section 5",
    passed: |scene| Some(format!("{} is an address of this AFTR", scene.outer()?.destination())),
    drops: &[(DropReason::V6Dst, |scene| {
        let addresses = list(&scene.config.softwire.aftr_ipv6_addr);
        format!("{} is none of this AFTR's: {addresses}", outer(scene, Ipv6::destination))
    })],
    holds: &[],
};

pub(super) const SOURCE: Step = Step {
    name: "outer source",
    rule: "one node's address that can be answered, and not our own (M3)",
    source: "RFC 4213 section 3.6",
    passed: |scene| {
        let source = scene.outer()?.source();
        Some(if scene.before.has_softwire(source) {
            format!("{source} has an open softwire")
        } else {
            format!("{source} is a unicast address, and not ours")
        })
    },
    drops: &[(DropReason::V6Src, |scene| {
        let source = outer(scene, Ipv6::source);
        format!("{source} is {}", not_answerable(source))
    })],
    holds: &[],
};

fn not_answerable(source: Ipv6Addr) -> &'static str {
    if source.is_unspecified() {
        "the unspecified address"
    } else if source.is_loopback() {
        "the loopback address"
    } else if source.is_multicast() {
        "a multicast address"
    } else if source.is_unicast_link_local() {
        "a link-local address"
    } else if source.to_ipv4_mapped().is_some() {
        "an IPv4-mapped address"
    } else {
        "our own address"
    }
}

pub(super) const ALLOW_LIST: Step = Step {
    name: "allow-list",
    rule: "softwire.b4-prefixes (M5)",
    source: "RFC 6333 section 11",
    passed: |scene| {
        let source = scene.outer()?.source();
        let prefixes = &scene.config.softwire.b4_prefixes;
        Some(match prefixes.iter().find(|prefix| prefix.contains(&source)) {
            Some(prefix) => format!("{source} is in {prefix}"),
            None if scene.before.has_softwire(source) => format!("{source} has an open softwire"),
            None => "an ICMPv6 error may come from any router on the way: what it quotes decides".to_owned(),
        })
    },
    drops: &[(DropReason::V6Acl, |scene| {
        let source = outer(scene, Ipv6::source);
        format!("{source} is in none: {}", list(&scene.config.softwire.b4_prefixes))
    })],
    holds: &[],
};

pub(super) const EXTENSION_HEADERS: Step = Step {
    name: "extension headers",
    rule: "at most 8 headers and 256 octets, walked from left to right (M6 to M9)",
    source: "RFC 8200 section 4",
    passed: |scene| {
        let upper = extension::walk(scene.bytes).ok()?;
        let octets = upper.offset - ipv6::HEADER;
        (octets > 0).then(|| format!("{octets} octets of extension headers are passed over"))
    },
    drops: &[
        (DropReason::V6Opt, fault),
        (DropReason::V6RoutingHeader, fault),
        (DropReason::V6ExtensionHeader, fault),
    ],
    holds: &[],
};

fn fault(scene: &Scene<'_>) -> String {
    let (fault, place) = match (chain_fault(scene.bytes), &scene.whole) {
        (Some(fault), _) => (Some(fault), ""),
        (None, Some(whole)) => (chain_fault(&whole.packet), " of the packet put together"),
        (None, None) => (None, ""),
    };
    match fault {
        Some(ChainFault::Unwalkable) => {
            format!("too many headers or octets, or an option that does not fit{place}")
        }
        Some(ChainFault::CutShort) => format!("the chain{place} goes on behind the last octet"),
        Some(ChainFault::OptionDiscard) => format!("an unknown option{place} whose type says: discard"),
        Some(ChainFault::OptionReport(at)) => {
            format!("an unknown option{place}, at octet {at}, whose type says: report")
        }
        Some(ChainFault::Routing(at)) => {
            format!("a routing header{place} with segments left (type at octet {at})")
        }
        Some(ChainFault::MisplacedHopByHop(at)) => {
            format!("a hop-by-hop header{place} that is not the first (named at octet {at})")
        }
        None => "a fragment header that is cut short, or inside a fragment".to_owned(),
    }
}

pub(super) const FRAGMENT: Step = Step {
    name: "reassembly",
    rule: "softwire.reassembly, 60 s from the first fragment (M11 to M14)",
    source: "RFC 8200 section 4.5, RFC 5722, RFC 6946",
    passed: |scene| {
        let piece = OuterPiece::of(scene.bytes)?;
        let whole = scene.whole.as_ref()?;
        Some(match piece.is_atomic() {
            true => "a fragment header on a whole packet: it is alone, and touches no other".to_owned(),
            false => format!(
                "{} completes its packet: {}, {} octets",
                name_of(scene),
                count(whole.fragments, "fragment"),
                whole.packet.len()
            ),
        })
    },
    drops: &[
        (DropReason::V6FragLen, |scene| {
            format!(
                "{} has {}, no multiple of eight that others can follow",
                name_of(scene),
                count(data_of(scene), "octet")
            )
        }),
        (DropReason::V6FragBig, |scene| format!("{} ends behind octet 65535", name_of(scene))),
        (DropReason::V6FragChain, |scene| format!("{}: the header chain does not end in it", name_of(scene))),
        (DropReason::V6FragOverlap, |scene| {
            format!("{} contradicts another one of its packet, or comes after one that did", name_of(scene))
        }),
        (DropReason::V6FragMany, |scene| format!("{} is one of more than 64", name_of(scene))),
        (DropReason::V6FragMem, |scene| format!("{} finds no room", name_of(scene))),
        (DropReason::V6FragTimeout, |scene| format!("{}: the others did not come in time", name_of(scene))),
    ],
    holds: &[(Hold::OuterFragment, |scene| {
        let earlier = match scene.octets_waiting {
            0 => "it is the first to come".to_owned(),
            octets => format!("{octets} octets of others wait already"),
        };
        let reason = DropReason::V6FragTimeout.name();
        format!(
            "{}: {earlier}; the rest is waited for, else it is dropped within 60 s: {reason}",
            name_of(scene)
        )
    })],
};

/// A fragment as people speak of it.
fn name_of(scene: &Scene<'_>) -> String {
    match OuterPiece::of(scene.bytes) {
        Some(piece) => format!(
            "fragment {:#x} (octets {} to {}{})",
            piece.identification,
            piece.start,
            piece.end(),
            if piece.more { "" } else { ", the last" }
        ),
        None => "a fragment".to_owned(),
    }
}

fn data_of(scene: &Scene<'_>) -> usize {
    OuterPiece::of(scene.bytes).map_or(0, |piece| piece.data.len())
}

pub(super) const UPPER_LAYER: Step = Step {
    name: "upper layer",
    rule: "IPv4 inside, or ICMPv6 to the AFTR itself (M10)",
    source: "RFC 2473 section 3.3",
    passed: |scene| {
        let whole = scene.whole.as_ref()?;
        match extension::walk(&whole.packet).ok()?.next_header {
            next_header::IPV4 => Some("next header 4: there is an IPv4 packet inside".to_owned()),
            next_header::ICMPV6 => Some("next header 58: ICMPv6, for the AFTR itself".to_owned()),
            _ => None,
        }
    },
    drops: &[(DropReason::V6NextHeader, |scene| {
        let whole = scene.whole.as_ref().map_or(scene.bytes, |whole| &whole.packet);
        let next = extension::walk(whole).map_or(next_header::NONE, |upper| upper.next_header);
        let name = match next {
            next_header::UDP => ", UDP,",
            next_header::TCP => ", TCP,",
            next_header::NONE => ", nothing,",
            41 => ", IPv6,",
            _ => "",
        };
        format!("next header {next}{name} is not IPv4")
    })],
    holds: &[],
};

/// A field of the outer header, which was there when this is asked.
fn outer(scene: &Scene<'_>, field: fn(&Ipv6) -> Ipv6Addr) -> Ipv6Addr {
    scene.outer().map_or(Ipv6Addr::UNSPECIFIED, field)
}

/// How an outer packet that leaves is cut: offset and identification of its first fragment, when it is one.
pub(super) fn leaving_fragment(packet: &[u8]) -> Option<u32> {
    let upper = extension::walk(packet).ok()?;
    let header = Fragment::view(packet.get(upper.offset..upper.offset + fragment::HEADER)?)?;
    (upper.next_header == next_header::FRAGMENT).then(|| header.identification.get())
}
