//! The path from a B4 to the Internet, or into another softwire, as tables: the order is that of
//! `engine/from_b4.rs` (ORD-1).

use super::scene::Scene;
use super::step::Step;
use super::{admission, fragments, icmpv6, inner, mapping, outer, sending, transport};
use crate::engine::DropReason;

/// Up to where it forks.
pub(super) const FROM_B4: &[Step] = &[
    outer::HEADER,
    outer::DESTINATION,
    outer::SOURCE,
    outer::ALLOW_LIST,
    outer::EXTENSION_HEADERS,
    outer::FRAGMENT,
    outer::UPPER_LAYER,
    icmpv6::CHECKSUM,
    icmpv6::QUOTATION,
    icmpv6::TYPE,
    Step {
        name: "inner header",
        rule: "version, lengths and checksum (M15 to M18)",
        source: "RFC 1812 section 5.2.2, RFC 4213 section 3.6",
        passed: inner::HEADER_PASSED,
        drops: &[
            (DropReason::InShort, inner::TOO_SHORT),
            (DropReason::InVersion, inner::WRONG_VERSION),
            (DropReason::InIhl, inner::WRONG_HEADER_LENGTH),
            (DropReason::InLen, inner::WRONG_LENGTH),
            (DropReason::InChecksum, inner::WRONG_CHECKSUM),
        ],
        holds: &[],
    },
    Step {
        name: "inner options",
        rule: "nothing that records or routes; nat.unknown-ip-options (M26)",
        source: "RFC 7126 section 4",
        passed: inner::OPTIONS_PASSED,
        drops: &[(DropReason::InOpt, inner::FORBIDDEN_OPTION)],
        holds: &[],
    },
    inner::CLASS,
    inner::SOURCE,
    inner::DESTINATION,
    inner::LOCAL,
    Step {
        name: "TTL",
        rule: "one hop for each transit (M27)",
        source: "RFC 1812 section 5.3.1, RFC 2473 section 3.1",
        passed: inner::TTL_PASSED,
        drops: &[(DropReason::InTtl, inner::TTL_USED_UP)],
        holds: &[],
    },
    inner::ROUTE,
    fragments::STEP,
    Step {
        name: "transport header",
        rule: transport::RULE,
        source: transport::SOURCE,
        passed: transport::PASSED,
        drops: &[
            (DropReason::InProtocol, transport::PROTOCOL),
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
        rule: "policy.deny-from-b4",
        source: "RFC 6908 section 2.5.1",
        passed: |scene| transport::not_denied(scene, rules(scene), |ends| ends.destination),
        drops: &[(DropReason::Policy, |scene| {
            transport::denied(scene, rules(scene), |ends| ends.destination)
        })],
        holds: &[],
    },
    admission::SOFTWIRE,
    admission::PASS_THROUGH_FROM_B4,
    mapping::SESSION_FROM_B4,
    mapping::CALLED,
];

/// The rest of the way to the Internet.
pub(super) const TO_INTERNET: &[Step] = &[
    mapping::LIMITS,
    sending::SIZE_TO_INTERNET,
    mapping::MAPPING_FROM_B4,
    sending::IDENTIFICATION,
    sending::TRANSLATION,
    sending::MSS,
    sending::CUT_IPV4,
];

/// The rest of the way into a softwire: that of another home, or the one that an answer goes back through. The
/// size is looked at as soon as the called home is known.
pub(super) const TO_B4: &[Step] = &[
    Step {
        name: sending::SIZE,
        rule: sending::SIZE_TO_B4_RULE,
        source: sending::SIZE_TO_B4_SOURCE,
        passed: sending::FITS_SOFTWIRE,
        drops: &[(DropReason::InMtu, sending::TOO_LARGE_FOR_SOFTWIRE)],
        holds: &[],
    },
    mapping::LIMITS,
    mapping::MAPPING_FROM_B4,
    sending::IDENTIFICATION,
    sending::TRANSLATION,
    sending::MSS,
    sending::ENCAPSULATION,
    sending::CUT_IPV6,
];

fn rules<'s>(scene: &Scene<'s>) -> &'s [aftr_config::Rule] {
    &scene.config.policy.deny_from_b4
}
