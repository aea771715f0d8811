//! A packet that goes no further: the reason that is counted, and what its sender is told.

use super::verdict::DropReason;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: DropReason,
    pub(super) answer: Answer,
}

/// What the sender is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Silence,
    /// ICMPv4 type and code, with the rest of the header zero.
    Icmp4(u8, u8),
    /// ICMPv4 "fragmentation needed" with this MTU (RFC 1191).
    TooBig(u16),
    /// A TCP reset.
    Reset,
    /// ICMPv6 destination unreachable with this code.
    Unreachable6(u8),
    /// ICMPv6 parameter problem.
    ParameterProblem6 {
        code: u8,
        pointer: u32,
    },
}

impl Refusal {
    /// ICMPv6 parameter problem; `pointer` is where in the packet the trouble is.
    pub(super) fn parameter_problem(reason: DropReason, code: u8, pointer: u32) -> Refusal {
        Refusal { reason, answer: Answer::ParameterProblem6 { code, pointer } }
    }
}

/// Most reasons have one answer to a host behind a B4. From the Internet every one of them is silent
/// but the TTL's (ORD-2, section 13 of the catalogue): the caller there says so.
impl From<DropReason> for Refusal {
    fn from(reason: DropReason) -> Refusal {
        use DropReason::*;
        const UNREACHABLE: u8 = 3;
        const TIME_EXCEEDED: u8 = 11;
        #[allow(clippy::wildcard_enum_match_arm, reason = "silence is the rule, an answer the exception")]
        let answer = match reason {
            // RFC 1812 section 5.3.1
            InTtl | X4Ttl => Answer::Icmp4(TIME_EXCEEDED, 0),
            // RFC 1812 section 4.3.3.1
            InNoRoute => Answer::Icmp4(UNREACHABLE, 0),
            // RFC 6146 section 3.4, by analogy
            InProtocol => Answer::Icmp4(UNREACHABLE, 2),
            // RFC 6888 REQ-11b; RFC 6888 REQ-6 for a clash
            NatQuota | NatRate | NatPool | NatJournal | NatMem | PassClash => Answer::Icmp4(UNREACHABLE, 1),
            // RFC 5508 REQ-8
            Policy => Answer::Icmp4(UNREACHABLE, 13),
            _ => Answer::Silence,
        };
        Refusal { reason, answer }
    }
}
