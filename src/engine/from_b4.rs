//! B4 to Internet: every step of a packet that comes out of a softwire, in order (RFC 6333 section 6).
//!
//! Until [`Aftr::settle`] nothing is changed but counters, so that a packet that is dropped leaves no
//! state behind (ORD-4).

use aftr_config::{MidSession, Protocol};

use super::aftr::Aftr;
use super::egress;
use super::fragment::fragment_from_b4;
use super::hairpin;
use super::icmp_relay;
use super::inner::{Inner, is_private, is_unreachable, is_well_known_b4};
use super::local;
use super::pass_through;
use super::refusal::{Answer, Refusal};
use super::settings::AFTR_IPV4;
use super::softwire::{Outer, Tunnel, check_outer, decapsulate, reassemble};
use super::time::Instant;
use super::toward::Toward;
use super::translate;
use super::transport::{self, Flow, Transport};
use super::verdict::{DropReason, Verdict};
use crate::wire::ipv6::next_header;
use crate::wire::{Packet, Side};

/// One packet from the access network.
pub(super) fn packet_from_b4(aftr: &mut Aftr, packet: &mut Packet, now: Instant) -> Verdict {
    outer_from_b4(aftr, packet, now).unwrap_or_else(|refusal| aftr.refuse_outer(packet, refusal, now))
}

/// The packet outside: made whole, and looked into when it is ours.
#[inline(always)]
fn outer_from_b4(aftr: &mut Aftr, packet: &mut Packet, now: Instant) -> Result<Verdict, Refusal> {
    let outer = check_outer(aftr, packet)?;
    if outer.upper.next_header == next_header::IPV4 {
        return Ok(carried_from_b4(aftr, packet, &outer, now));
    }
    chain_from_b4(aftr, packet, outer, now)
}

/// An outer packet with more than its header around the inner one, or without an inner one.
#[inline(never)]
fn chain_from_b4(
    aftr: &mut Aftr,
    packet: &mut Packet,
    outer: Outer,
    now: Instant,
) -> Result<Verdict, Refusal> {
    let mut outer = outer.with_chain(packet)?;
    if outer.upper.next_header == next_header::FRAGMENT {
        match reassemble(aftr, packet, &outer, now)? {
            Some(whole) => outer = whole,
            None => return Ok(Verdict::Hold),
        }
    }
    if outer.upper.next_header != next_header::IPV4 {
        return local::outer(aftr, packet, &outer, now);
    }
    Ok(carried_from_b4(aftr, packet, &outer, now))
}

#[inline(always)]
fn carried_from_b4(aftr: &mut Aftr, packet: &mut Packet, outer: &Outer, now: Instant) -> Verdict {
    inner_from_b4(aftr, packet, outer, now)
        .unwrap_or_else(|refusal| aftr.refuse_from_b4(packet, &outer.tunnel, refusal, now))
}

/// The packet inside: what it may be, where it may go, and who sent it.
#[inline(always)]
fn inner_from_b4(
    aftr: &mut Aftr,
    packet: &mut Packet,
    outer: &Outer,
    now: Instant,
) -> Result<Verdict, Refusal> {
    let tunnel = &outer.tunnel;
    let inner = decapsulate(aftr, packet, outer)?;
    check_addresses(aftr, &inner)?;
    if inner.destination == AFTR_IPV4 {
        return local::inner(aftr, packet, &inner, tunnel, now);
    }
    egress::check_ttl(&inner, DropReason::InTtl)?;
    check_route(aftr, &inner)?;
    // RFC 4787 REQ-14
    if inner.is_fragment {
        return fragment_from_b4(aftr, packet, &inner, tunnel, now);
    }
    transport_from_b4(aftr, packet, &inner, tunnel, now)
}

/// A packet, or the first piece of a datagram: its ports, and what policy says about them.
#[inline(always)]
pub(super) fn transport_from_b4(
    aftr: &mut Aftr,
    packet: &mut Packet,
    inner: &Inner,
    tunnel: &Tunnel,
    now: Instant,
) -> Result<Verdict, Refusal> {
    let flow = match transport::parse(packet.bytes(), inner, DropReason::InProtocol)? {
        Transport::Flow(flow) | Transport::Request(flow) => flow,
        // Nobody outside can have asked: requests from there find no mapping.
        Transport::Reply(_) => return Err(DropReason::IcmpType.into()),
        Transport::Error if aftr.settings.denies_from_b4(tunnel.b4, inner.destination, Protocol::Icmp, 0) => {
            return Err(DropReason::Policy.into());
        }
        Transport::Error => return Ok(icmp_relay::from_b4(aftr, packet, inner, tunnel, now)?),
    };
    if aftr.settings.denies_from_b4(tunnel.b4, flow.destination, flow.protocol, flow.destination_port) {
        return Err(DropReason::Policy.into());
    }
    if passes_through(aftr, &flow) {
        return pass_through::from_b4(aftr, packet, inner, &flow, tunnel, now);
    }
    if is_private(inner.destination) && aftr.pool.find(inner.destination).is_none() {
        return Err(DropReason::InNoRoute.into());
    }
    translate_from_b4(aftr, packet, inner, &flow, tunnel, now)
}

/// RFC 6888 REQ-6, but for the B4's own address, which is the same behind every B4 and never leaves (RFC 7335
/// section 4).
#[inline(always)]
pub(super) fn passes_through(aftr: &Aftr, flow: &Flow) -> bool {
    aftr.settings.passes_through(flow.destination, flow.protocol, flow.destination_port)
        && !is_well_known_b4(flow.source)
}

/// Mapping, session, translation.
#[inline(always)]
fn translate_from_b4(
    aftr: &mut Aftr,
    packet: &mut Packet,
    inner: &Inner,
    flow: &Flow,
    tunnel: &Tunnel,
    now: Instant,
) -> Result<Verdict, Refusal> {
    let admission = aftr.admit(tunnel, now)?;
    let softwire = admission.softwire();
    let known = softwire.and_then(|id| {
        aftr.mappings.find_near(aftr.guess.mapping, id, flow.protocol, flow.source, flow.source_port)
    });
    let subscriber = aftr.subscriber_of(admission);
    let session =
        aftr.plan_session_from_b4(known, subscriber, flow).map_err(|reason| mid_session(aftr, reason))?;
    let toward = aftr.toward(flow.destination);
    let call = match toward {
        Toward::Internet | Toward::Worker(_) => None,
        Toward::Address(address) => match hairpin::plan(aftr, address, known, subscriber, session, flow) {
            Ok(call) => {
                egress::check_tunnel_mtu(aftr, inner, call.softwire(aftr), DropReason::InMtu, now)?;
                Some(call)
            }
            Err(reason) => return Ok(hairpin::refuse(aftr, packet, inner, flow, tunnel, reason, now)?),
        },
    };
    let found = match known {
        Some(mapping) => Ok(mapping),
        None => Err(aftr.plan_mapping(admission, tunnel, flow, now)?),
    };
    egress::check_external_mtu(aftr, inner, toward)?;
    let source = match found {
        Ok(mapping) => *aftr.mappings.slab[mapping].external().ip(),
        Err(plan) => aftr.pool.ip(plan.place.address),
    };
    let identification = aftr.identification_for(inner, source, flow.protocol, now)?;

    let softwire = aftr.settle(admission, tunnel, now);
    let mapping = found.unwrap_or_else(|plan| aftr.create_mapping(plan, softwire, flow, now));
    aftr.use_session_from_b4(session, mapping, flow, now);
    aftr.refresh(mapping, flow, now);
    aftr.softwires.slab[softwire].from_b4.count(packet.len());
    let external = aftr.mappings.slab[mapping].external();
    if flow.opens_tcp() {
        aftr.held_syns.forget(external, flow.destination());
    }

    translate::rewrite_leaving(packet.bytes_mut(), flow, external, inner.tos, identification);
    aftr.clamp_mss(packet, flow, softwire, now);
    aftr.fragment_passes(Side::B4, inner.datagram, flow, identification, softwire);
    match call {
        None => Ok(aftr.send_from_b4(packet, toward)),
        Some(call) => Ok(hairpin::deliver(aftr, packet, call, flow, external, now)),
    }
}

/// Row M19, M20 and M24: who may send, and to whom anybody may.
#[inline(always)]
fn check_addresses(aftr: &Aftr, inner: &Inner) -> Result<(), DropReason> {
    if !aftr.settings.allows_internal(inner.source) {
        return Err(DropReason::InSrc);
    }
    if inner.destination != AFTR_IPV4 && is_unreachable(inner.destination) {
        return Err(DropReason::InDst);
    }
    if inner.source == inner.destination {
        return Err(DropReason::InLand);
    }
    Ok(())
}

/// RFC 1812 section 4.3.3.1: nothing private is reached from here but by a pass-through rule.
#[inline(always)]
fn check_route(aftr: &Aftr, inner: &Inner) -> Result<(), DropReason> {
    let leads_nowhere = is_private(inner.destination)
        && aftr.pool.find(inner.destination).is_none()
        && !aftr.settings.may_pass_through(inner.destination);
    if leads_nowhere { Err(DropReason::InNoRoute) } else { Ok(()) }
}

/// RFC 5382 section 5: what a host is told whose connection is not known here.
fn mid_session(aftr: &Aftr, reason: DropReason) -> Refusal {
    if reason == DropReason::TcpNoSession && aftr.settings.config.nat.tcp_mid_session == MidSession::Rst {
        return Refusal { reason, answer: Answer::Reset };
    }
    reason.into()
}
