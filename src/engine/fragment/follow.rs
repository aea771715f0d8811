//! A fragment's way through the translator: the first piece of a datagram takes the path of a packet, and
//! draws the others after it.

use super::arrive::{Arrival, Fate, Ports, arrive, refuse};
use crate::engine::aftr::Aftr;
use crate::engine::egress;
use crate::engine::from_b4::{passes_through, transport_from_b4};
use crate::engine::from_internet::transport_from_internet;
use crate::engine::inner::Inner;
use crate::engine::mapping::Place;
use crate::engine::pass_through;
use crate::engine::refusal::Refusal;
use crate::engine::softwire::Tunnel;
use crate::engine::time::Instant;
use crate::engine::toward::Toward;
use crate::engine::translate::rewrite_addresses;
use crate::engine::transport::Flow;
use crate::engine::verdict::{DropReason, Verdict};
use crate::wire::ipv4::{Ipv4, protocol};
use crate::wire::{Packet, Side};
use aftr_config::Protocol;

/// A piece from a B4.
pub(in crate::engine) fn fragment_from_b4(
    aftr: &mut Aftr,
    packet: &mut Packet,
    inner: &Inner,
    tunnel: &Tunnel,
    now: Instant,
) -> Result<Verdict, Refusal> {
    let owner = aftr.settings.subscriber_prefix(tunnel.b4);
    match arrive(aftr, packet, inner, Some(tunnel), owner, now)? {
        Arrival::Waits => Ok(Verdict::Hold),
        Arrival::Follows(ports) => follow_from_b4(aftr, packet, inner, ports, tunnel, now),
        Arrival::First(datagram) => {
            let first = Inner { datagram, ..*inner };
            let outcome = transport_from_b4(aftr, packet, &first, tunnel, now);
            draw_after(aftr, Side::B4, datagram, &outcome, now);
            outcome
        }
    }
}

/// A piece from the Internet. Until its first one was let in, what waits is charged to the address that
/// it is for: nobody inside has asked for it.
pub(in crate::engine) fn fragment_from_internet(
    aftr: &mut Aftr,
    packet: &mut Packet,
    inner: &Inner,
    address: Option<u32>,
    now: Instant,
) -> Result<Verdict, Refusal> {
    let owner = u128::from(inner.destination.to_ipv6_mapped());
    match arrive(aftr, packet, inner, None, owner, now)? {
        Arrival::Waits => Ok(Verdict::Hold),
        Arrival::Follows(ports) => follow_from_internet(aftr, packet, inner, ports, now),
        Arrival::First(datagram) => {
            let first = Inner { datagram, ..*inner };
            let outcome = transport_from_internet(aftr, packet, &first, address, now);
            draw_after(aftr, Side::Internet, datagram, &outcome, now);
            outcome
        }
    }
}

/// What became of the first piece becomes of those that waited for it.
fn draw_after(aftr: &mut Aftr, side: Side, datagram: u32, outcome: &Result<Verdict, Refusal>, now: Instant) {
    let reason = match outcome {
        Err(refusal) => Some(refusal.reason),
        Ok(verdict) => verdict.drop_reason(),
    };
    let Some(record) = aftr.fragments_mut(side).value_mut(datagram) else { return };
    let Fate::Passes(ports) = record.fate else {
        // A first piece that neither passed nor was refused is an unsolicited SYN (RFC 5382 REQ-4).
        return refuse(aftr, side, datagram, reason.unwrap_or(DropReason::NatNoMapping));
    };
    let waiting = std::mem::take(&mut record.waiting);
    aftr.fragments_mut(side).discharge(datagram);
    for piece in waiting {
        let mut packet = piece.packet;
        let Some(header) = Ipv4::view(packet.bytes()) else { continue };
        let inner = Inner { tos: piece.tos, ..Inner::of(header) };
        let at = aftr.outbox.len();
        let outcome = match &piece.tunnel {
            Some(tunnel) => follow_from_b4(aftr, &mut packet, &inner, ports, tunnel, now),
            None => follow_from_internet(aftr, &mut packet, &inner, ports, now),
        };
        aftr.resume(packet, outcome, at);
    }
}

/// A piece that is not the first, from a B4: its datagram's mapping, and no ports to rewrite.
fn follow_from_b4(
    aftr: &mut Aftr,
    packet: &mut Packet,
    inner: &Inner,
    ports: Ports,
    tunnel: &Tunnel,
    now: Instant,
) -> Result<Verdict, Refusal> {
    let flow = flow_of(inner, ports).ok_or(DropReason::V4FragNoContext)?;
    // It may have waited: the softwire that it came through is looked for now.
    let softwire = aftr.softwires.find(tunnel.b4).ok_or(DropReason::V4FragNoContext)?;
    if passes_through(aftr, &flow) {
        if !pass_through::is_of(aftr, &flow, softwire) {
            return Err(DropReason::V4FragNoContext.into());
        }
        egress::check_external_mtu(aftr, inner, Toward::Internet)?;
        aftr.softwires.slab[softwire].from_b4.count(packet.len());
        egress::write_tos(packet, inner.tos);
        return Ok(aftr.send_from_b4(packet, Toward::Internet));
    }
    let mapping = aftr
        .mappings
        .find(softwire, flow.protocol, flow.source, flow.source_port)
        .ok_or(DropReason::V4FragNoContext)?;
    let toward = aftr.toward(flow.destination);
    let called = match toward {
        Toward::Internet | Toward::Worker(_) => {
            egress::check_external_mtu(aftr, inner, toward)?;
            None
        }
        Toward::Address(address) => {
            let place = Place { address, protocol: flow.protocol, port: flow.destination_port };
            let called = aftr.ports.mapping_at(place).ok_or(DropReason::V4FragNoContext)?;
            let softwire = aftr.mappings.slab[called].softwire;
            egress::check_tunnel_mtu(aftr, inner, softwire, DropReason::InMtu, now)?;
            Some(called)
        }
    };
    aftr.softwires.slab[softwire].from_b4.count(packet.len());
    let external = aftr.mappings.slab[mapping].external();
    egress::write_header(packet, inner.tos, ports.identification);
    let Some(called) = called else {
        rewrite_addresses(packet.bytes_mut(), Some(*external.ip()), None);
        return Ok(aftr.send_from_b4(packet, toward));
    };
    let internal = aftr.mappings.slab[called].internal();
    rewrite_addresses(packet.bytes_mut(), Some(*external.ip()), Some(*internal.ip()));
    aftr.counters.hairpinned.count(packet.len());
    Ok(aftr.send_hairpinned(packet, called, now))
}

/// The mirror, from the Internet.
fn follow_from_internet(
    aftr: &mut Aftr,
    packet: &mut Packet,
    inner: &Inner,
    ports: Ports,
    now: Instant,
) -> Result<Verdict, Refusal> {
    let flow = flow_of(inner, ports).ok_or(DropReason::V4FragNoContext)?;
    let Some(address) = aftr.pool.find(flow.destination) else {
        let softwire = pass_through::from_internet(aftr, inner, &flow, now).map_err(|refusal| {
            if refusal.reason == DropReason::X4Dst { DropReason::V4FragNoContext.into() } else { refusal }
        })?;
        return Ok(aftr.send_into(packet, softwire, now));
    };
    let place = Place { address, protocol: flow.protocol, port: flow.destination_port };
    let mapping = aftr.ports.mapping_at(place).ok_or(DropReason::V4FragNoContext)?;
    let softwire = aftr.mappings.slab[mapping].softwire;
    egress::check_tunnel_mtu(aftr, inner, softwire, DropReason::X4Mtu, now)?;
    let internal = aftr.mappings.slab[mapping].internal();
    rewrite_addresses(packet.bytes_mut(), None, Some(*internal.ip()));
    Ok(aftr.send_into(packet, softwire, now))
}

fn flow_of(inner: &Inner, ports: Ports) -> Option<Flow> {
    let protocol = match inner.protocol {
        protocol::TCP => Protocol::Tcp,
        protocol::UDP => Protocol::Udp,
        protocol::ICMP => Protocol::Icmp,
        _ => return None,
    };
    Some(Flow {
        protocol,
        source: inner.source,
        source_port: ports.source,
        destination: inner.destination,
        destination_port: ports.destination,
        flags: 0,
        offset: inner.header_length,
    })
}
