//! The outer IPv6 packet: everything that is checked before what it carries is looked at (ORD-1).

use std::net::Ipv6Addr;

use crate::engine::aftr::Aftr;
use crate::engine::refusal::{Answer, Refusal};
use crate::engine::tunnel_error;
use crate::engine::verdict::DropReason;
use crate::wire::Packet;
use crate::wire::extension::{self, ChainFault, Upper};
use crate::wire::ipv6::{self, Ipv6, next_header};

/// The two ends of the softwire that a packet came through.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Tunnel {
    /// The B4's address.
    pub(in crate::engine) b4: Ipv6Addr,
    /// Which of our addresses it sent to, by its place in the configuration: answers carry it as their source.
    pub(in crate::engine) aftr: u8,
    /// The softwire, when it is open.
    pub(in crate::engine) softwire: Option<u32>,
}

/// A checked outer packet.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Outer {
    pub(in crate::engine) tunnel: Tunnel,
    pub(in crate::engine) traffic_class: u8,
    /// What its header names, or the last one of its chain.
    pub(in crate::engine) upper: Upper,
}

/// Checks the outer packet and cuts it to its payload length (Ethernet padding is not part of it).
#[inline(always)]
pub(in crate::engine) fn check_outer(aftr: &Aftr, packet: &mut Packet) -> Result<Outer, Refusal> {
    let header = *Ipv6::view(packet.bytes()).ok_or(DropReason::V6Short)?;
    if header.version() != 6 {
        return Err(DropReason::V6Short.into());
    }
    let length = ipv6::HEADER + usize::from(header.payload_length());
    if length == ipv6::HEADER || length > packet.len() {
        return Err(DropReason::V6Len.into());
    }
    packet.truncate(length);
    let own = aftr.settings.aftr_address(header.destination()).ok_or(DropReason::V6Dst)?;
    let b4 = header.source();
    let softwire = aftr.softwires.find_near(aftr.guess.softwire, b4);
    // An open softwire has passed the two checks when it was opened.
    if softwire.is_none() {
        if !may_be_answered(b4) || aftr.settings.aftr_address(b4).is_some() {
            return Err(DropReason::V6Src.into());
        }
        // Errors come from routers on the way: they are judged by what they quote.
        let is_error = header.next_header() == next_header::ICMPV6
            && tunnel_error::is_error(&packet.bytes()[ipv6::HEADER..]);
        if !is_error && !aftr.settings.allows_b4(b4) {
            return Err(refuse_unknown_b4(aftr));
        }
    }
    let upper = Upper { next_header: header.next_header(), offset: ipv6::HEADER, named_at: 6 };
    let tunnel = Tunnel { b4, aftr: own, softwire };
    Ok(Outer { tunnel, traffic_class: header.traffic_class(), upper })
}

impl Outer {
    /// With the chain of extension headers behind it, up to what it carries or is a fragment of.
    pub(in crate::engine) fn with_chain(self, packet: &Packet) -> Result<Outer, Refusal> {
        let upper = extension::walk(packet.bytes()).map_err(refuse_chain)?;
        Ok(Outer { upper, ..self })
    }
}

/// A source that is one node's unicast address, reachable from here.
fn may_be_answered(source: Ipv6Addr) -> bool {
    !(source.is_unspecified()
        || source.is_loopback()
        || source.is_multicast()
        || source.is_unicast_link_local()
        || source.to_ipv4_mapped().is_some())
}

/// RFC 4213 section 3.6: no ICMP to an unauthorised source, unless the operator wants it.
#[cold]
fn refuse_unknown_b4(aftr: &Aftr) -> Refusal {
    const POLICY: u8 = 5;
    if aftr.settings.config.softwire.answer_unknown_b4 {
        Refusal { reason: DropReason::V6Acl, answer: Answer::Unreachable6(POLICY) }
    } else {
        DropReason::V6Acl.into()
    }
}

#[cold]
pub(super) fn refuse_chain(fault: ChainFault) -> Refusal {
    const ERRONEOUS_FIELD: u8 = 0;
    const UNRECOGNISED_NEXT_HEADER: u8 = 1;
    const UNRECOGNISED_OPTION: u8 = 2;
    let problem = |reason, code, pointer: usize| Refusal::parameter_problem(reason, code, pointer as u32);
    match fault {
        ChainFault::Unwalkable | ChainFault::CutShort => DropReason::V6ExtensionHeader.into(),
        ChainFault::OptionDiscard => DropReason::V6Opt.into(),
        ChainFault::OptionReport(at) => problem(DropReason::V6Opt, UNRECOGNISED_OPTION, at),
        ChainFault::Routing(at) => problem(DropReason::V6RoutingHeader, ERRONEOUS_FIELD, at),
        ChainFault::MisplacedHopByHop(at) => {
            problem(DropReason::V6ExtensionHeader, UNRECOGNISED_NEXT_HEADER, at)
        }
    }
}
