//! The path from the Internet into a softwire, as a table: the order is that of `engine/from_internet.rs`
//! (ORD-2).

use super::scene::Scene;
use super::step::Step;
use super::{admission, fragments, inner, mapping, sending, transport};
use crate::engine::{DropReason, Verdict};
use crate::wire::ipv4::Ipv4;

pub(super) const FROM_INTERNET: &[Step] = &[
    Step {
        name: "header",
        rule: "version, lengths and checksum (M44)",
        source: "RFC 1812 section 5.2.2",
        passed: inner::HEADER_PASSED,
        drops: &[
            (DropReason::X4Short, inner::TOO_SHORT),
            (DropReason::X4Version, inner::WRONG_VERSION),
            (DropReason::X4Ihl, inner::WRONG_HEADER_LENGTH),
            (DropReason::X4Len, inner::WRONG_LENGTH),
            (DropReason::X4Checksum, inner::WRONG_CHECKSUM),
        ],
        holds: &[],
    },
    Step {
        name: "options",
        rule: "nothing that records or routes; nat.unknown-ip-options (M44)",
        source: "RFC 7126 section 4",
        passed: inner::OPTIONS_PASSED,
        drops: &[(DropReason::X4Opt, inner::FORBIDDEN_OPTION)],
        holds: &[],
    },
    Step {
        name: "source",
        rule: "no martian, and none of our own pool; routers of private addresses may send errors (M40)",
        source: "RFC 1812 section 5.3.7, RFC 6890, RFC 4787 REQ-12",
        passed: |scene| {
            let source = scene.inner_header()?.source();
            Some(match source.is_private() {
                true => format!("{source} may be a router's on the way"),
                false => format!("{source} can be in the Internet"),
            })
        },
        drops: &[(DropReason::X4Src, |scene| {
            let source = inner::address(scene, Ipv4::source);
            match scene.in_pool(source) {
                true => format!("{source} is in our own pool"),
                false => format!("{source} cannot be in the Internet"),
            }
        })],
        holds: &[],
    },
    Step {
        name: "destination",
        rule: "nat.external-ip-address-pool, or an untranslated session (M41)",
        source: "RFC 6333 section 6.6, RFC 6888 REQ-6",
        passed: |scene| {
            let destination = scene.inner_header()?.destination();
            Some(match scene.in_pool(destination) {
                true => format!("{destination} is in our pool"),
                false => format!("{destination} is in no pool, but may belong to an untranslated session"),
            })
        },
        drops: &[(DropReason::X4Dst, |scene| {
            format!(
                "{} is in no pool, and no untranslated session's",
                inner::address(scene, Ipv4::destination)
            )
        })],
        holds: &[],
    },
    Step {
        name: "TTL",
        rule: "one hop for each transit",
        source: "RFC 1812 section 5.3.1, RFC 2473 section 3.1",
        passed: inner::TTL_PASSED,
        drops: &[(DropReason::X4Ttl, inner::TTL_USED_UP)],
        holds: &[],
    },
    fragments::STEP,
    Step {
        name: "transport header",
        rule: transport::RULE,
        source: transport::SOURCE,
        passed: transport::PASSED,
        drops: &[
            (DropReason::X4Protocol, transport::PROTOCOL),
            (DropReason::L4Len, transport::LENGTH),
            (DropReason::L4Port0, transport::PORT_0),
            (DropReason::TcpFlags, transport::FLAGS),
            (DropReason::IcmpType, transport::ICMP_TYPE),
        ],
        holds: &[],
    },
    transport::ICMP_ERROR,
    Step {
        name: "policy",
        rule: "policy.deny-from-internet",
        source: "RFC 6908 section 2.5.2",
        passed: |scene| {
            let is_reply = scene.verdict == Verdict::Reply;
            transport::not_denied(scene, rules(scene), |ends| ends.source).filter(|_| !is_reply)
        },
        drops: &[(DropReason::Policy, |scene| transport::denied(scene, rules(scene), |ends| ends.source))],
        holds: &[],
    },
    admission::PASS_THROUGH_FROM_INTERNET,
    mapping::MAPPING_FROM_INTERNET,
    mapping::FILTER,
    mapping::SESSION_FROM_INTERNET,
    Step {
        name: sending::SIZE,
        rule: sending::SIZE_TO_B4_RULE,
        source: sending::SIZE_TO_B4_SOURCE,
        passed: sending::FITS_SOFTWIRE,
        drops: &[(DropReason::X4Mtu, sending::TOO_LARGE_FOR_SOFTWIRE)],
        holds: &[],
    },
    sending::TRANSLATION,
    sending::MSS,
    sending::ENCAPSULATION,
    sending::CUT_IPV6,
];

fn rules<'s>(scene: &Scene<'s>) -> &'s [aftr_config::Rule] {
    &scene.config.policy.deny_from_internet
}
