//! Internet to B4: the mirror of `from_b4.rs`.

use std::net::Ipv4Addr;

use super::aftr::Aftr;
use super::egress;
use super::fragment::fragment_from_internet;
use super::icmp_relay;
use super::inner::{Inner, Side4, check_header, is_martian, is_private, is_well_known_b4};
use super::mapping::Place;
use super::pass_through;
use super::refusal::{Answer, Refusal};
use super::time::Instant;
use super::translate;
use super::transport::{self, Flow, Transport};
use super::verdict::{DropReason, Verdict};
use crate::wire::icmpv4::{self, Class, Icmpv4};
use crate::wire::ipv4::protocol;
use crate::wire::{Packet, Side};
use aftr_config::Protocol;

/// One packet from the Internet.
pub(super) fn packet_from_internet(aftr: &mut Aftr, packet: &mut Packet, now: Instant) -> Verdict {
    checked_from_internet(aftr, packet, now)
        .unwrap_or_else(|refusal| aftr.refuse_from_internet(packet, refusal, now))
}

#[inline(always)]
fn checked_from_internet(aftr: &mut Aftr, packet: &mut Packet, now: Instant) -> Result<Verdict, Refusal> {
    let inner = check_header(packet, Side4::External, &aftr.settings, &mut aftr.counters.trailers)?;
    check_source(aftr, packet, &inner)?;
    let address = aftr.pool.find(inner.destination);
    if address.is_none() && !may_belong_to_pass_through(aftr, packet, &inner) {
        return Err(DropReason::X4Dst.into());
    }
    egress::check_ttl_from_internet(aftr, &inner)?;
    // RFC 4787 REQ-14
    if inner.is_fragment {
        return fragment_from_internet(aftr, packet, &inner, address, now);
    }
    transport_from_internet(aftr, packet, &inner, address, now)
}

/// A packet, or the first piece of a datagram: its ports, and what policy says about them. `address` is the
/// pool address that it is for, if any.
#[inline(always)]
pub(super) fn transport_from_internet(
    aftr: &mut Aftr,
    packet: &mut Packet,
    inner: &Inner,
    address: Option<u32>,
    now: Instant,
) -> Result<Verdict, Refusal> {
    let flow = match transport::parse(packet.bytes(), inner, DropReason::X4Protocol)? {
        Transport::Flow(flow) | Transport::Reply(flow) => flow,
        Transport::Request(_) => return from_outside_query(aftr, packet, inner, now),
        Transport::Error if is_denied(aftr, packet, inner.source, Protocol::Icmp, 0) => {
            return Err(DropReason::Policy.into());
        }
        Transport::Error => return Ok(icmp_relay::from_internet(aftr, packet, inner, now)?),
    };
    if is_denied(aftr, packet, flow.source, flow.protocol, flow.source_port) {
        return Err(DropReason::Policy.into());
    }
    match address {
        Some(address) => translate_from_internet(aftr, packet, inner, &flow, address, now),
        None => {
            let softwire = pass_through::from_internet(aftr, inner, &flow, now)?;
            aftr.fragment_passes(Side::Internet, inner.datagram, &flow, inner.identification, softwire);
            Ok(aftr.send_into(packet, softwire, now))
        }
    }
}

/// Mapping, filter, session, translation.
#[inline(always)]
fn translate_from_internet(
    aftr: &mut Aftr,
    packet: &mut Packet,
    inner: &Inner,
    flow: &Flow,
    address: u32,
    now: Instant,
) -> Result<Verdict, Refusal> {
    let place = Place { address, protocol: flow.protocol, port: flow.destination_port };
    let Some(mapping) = aftr.ports.mapping_at(place) else {
        return unsolicited(aftr, packet, inner, flow, DropReason::NatNoMapping, now);
    };
    let remote = (flow.source, flow.source_port);
    let session = match aftr.plan_session_from_internet(mapping, flow, remote.0, remote.1) {
        Ok(session) => session,
        Err(reason) => return unsolicited(aftr, packet, inner, flow, reason, now),
    };
    let softwire = aftr.mappings.slab[mapping].softwire;
    egress::check_tunnel_mtu(aftr, inner, softwire, DropReason::X4Mtu, now)?;

    aftr.use_session_from_internet(session, mapping, flow, remote, now);
    aftr.seen_from_internet(mapping, flow, now);
    let internal = aftr.mappings.slab[mapping].internal();
    translate::rewrite_destination(packet.bytes_mut(), flow, internal);
    aftr.clamp_mss(packet, flow, softwire, now);
    aftr.fragment_passes(Side::Internet, inner.datagram, flow, inner.identification, softwire);
    Ok(aftr.send_into(packet, softwire, now))
}

/// Row M40: martians, and our own pool, do not come from outside. Pass-through destinations may be
/// private, and so may routers on the way: their errors are judged by what they quote.
#[inline(always)]
fn check_source(aftr: &Aftr, packet: &Packet, inner: &Inner) -> Result<(), DropReason> {
    if packet.is_from_worker() {
        return Ok(());
    }
    let may_be_martian = || {
        aftr.settings.may_pass_through(inner.source) || (is_private(inner.source) && is_error(packet, inner))
    };
    let is_impossible =
        (is_martian(inner.source) && !may_be_martian()) || aftr.pool.find(inner.source).is_some();
    if is_impossible { Err(DropReason::X4Src) } else { Ok(()) }
}

/// A call from another home is no traffic of the Internet.
#[inline(always)]
fn is_denied(aftr: &Aftr, packet: &Packet, remote: Ipv4Addr, protocol: Protocol, port: u16) -> bool {
    !packet.is_from_worker() && aftr.settings.denies_from_internet(remote, protocol, port)
}

fn is_error(packet: &Packet, inner: &Inner) -> bool {
    let message = Icmpv4::view(&packet.bytes()[inner.header_length..]);
    inner.protocol == protocol::ICMP
        && !inner.is_fragment
        && message.is_some_and(|message| message.class() == Class::Error)
}

/// Any router may send an error about what left untranslated.
fn may_belong_to_pass_through(aftr: &Aftr, packet: &Packet, inner: &Inner) -> bool {
    let is_told = aftr.settings.knows_pass_through() && is_error(packet, inner);
    (is_told || aftr.settings.may_pass_through(inner.source))
        && aftr.settings.allows_internal(inner.destination)
        && !is_well_known_b4(inner.destination)
}

/// Nobody here waits for it: rows M22, M42 and M43.
#[cold]
fn unsolicited(
    aftr: &mut Aftr,
    packet: &Packet,
    inner: &Inner,
    flow: &Flow,
    reason: DropReason,
    now: Instant,
) -> Result<Verdict, Refusal> {
    const PORT: u8 = 3;
    if flow.opens_tcp() && reason.is_unsolicited() {
        return Ok(aftr.hold_syn(packet, inner, flow, None, reason, now)?);
    }
    let tells = reason == DropReason::NatNoMapping
        && flow.protocol == Protocol::Udp
        && aftr.settings.config.nat.udp_reject;
    if tells {
        return Err(Refusal { reason, answer: Answer::Icmp4(icmpv4::kind::UNREACHABLE, PORT) });
    }
    Err(reason.into())
}

/// An ICMP request from outside: no host can be meant by it (ICMP-IN), the pool address answers if the
/// operator wants it to.
fn from_outside_query(
    aftr: &mut Aftr,
    packet: &mut Packet,
    inner: &Inner,
    now: Instant,
) -> Result<Verdict, Refusal> {
    let is_echo = packet.bytes()[inner.header_length] == icmpv4::kind::ECHO;
    let answers = aftr.settings.config.nat.pool_echo && aftr.pool.find(inner.destination).is_some();
    if !answers
        || !is_echo
        || inner.is_fragment
        || !aftr.limiter.error_to_internet(&aftr.settings.config.icmp, inner.source, now)
    {
        return Err(DropReason::NatNoMapping.into());
    }
    super::local::write_echo_reply(packet, inner.header_length);
    Ok(Verdict::Reply)
}
