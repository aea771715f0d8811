//! A call from one home to another by its external address (RFC 4787 REQ-9, RFC 5382 REQ-8): the second
//! half of the path from the Internet, entered from the first half of the path from a B4. The called
//! host sees the caller's external address and port.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::aftr::Aftr;
use super::inner::Inner;
use super::mapping::Place;
use super::session::Use;
use super::softwire::Tunnel;
use super::table::NONE;
use super::time::Instant;
use super::translate;
use super::transport::Flow;
use super::verdict::{DropReason, Verdict};
use crate::wire::Packet;

/// A call that goes through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    mapping: u32,
    session: Use,
}

impl Call {
    /// Where the called host is.
    pub(super) fn softwire(self, aftr: &Aftr) -> u32 {
        aftr.mappings.slab[self.mapping].softwire
    }
}

/// Finds the called mapping at a pool address and asks whether it lets the caller in. `known` is the
/// caller's own mapping, `session` what the call does to it.
pub(super) fn plan(
    aftr: &Aftr,
    address: u32,
    known: Option<u32>,
    subscriber: Option<u32>,
    session: Use,
    flow: &Flow,
) -> Result<Call, DropReason> {
    // An ICMP query looks for a request's mapping, and there are only replies from outside.
    if flow.protocol == aftr_config::Protocol::Icmp {
        return Err(DropReason::NatNoMapping);
    }
    let place = Place { address, protocol: flow.protocol, port: flow.destination_port };
    let mapping = aftr.ports.mapping_at(place).ok_or(DropReason::NatNoMapping)?;
    let (remote, port) = seen_as(aftr, known, subscriber);
    let called = aftr.plan_session_from_internet(mapping, flow, remote, port)?;
    if session == Use::Open && called == Use::Open && !aftr.sessions.slab.has_room(2) {
        return Err(DropReason::NatMem);
    }
    Ok(Call { mapping, session: called })
}

/// The caller as the called side's filter sees it. A caller without a mapping yet has no port that
/// anybody could have sent to; its address is known when it is paired.
fn seen_as(aftr: &Aftr, known: Option<u32>, subscriber: Option<u32>) -> (Ipv4Addr, u16) {
    if let Some(mapping) = known {
        let external = aftr.mappings.slab[mapping].external();
        return (*external.ip(), external.port());
    }
    let address = subscriber.map_or(NONE, |id| aftr.subscribers.slab[id].address);
    let ip = if address == NONE { Ipv4Addr::UNSPECIFIED } else { aftr.pool.ip(address) };
    (ip, 0)
}

/// A call that is not let in: an unsolicited SYN is kept, as one from the Internet would be.
pub(super) fn refuse(
    aftr: &mut Aftr,
    packet: &Packet,
    inner: &Inner,
    flow: &Flow,
    tunnel: &Tunnel,
    reason: DropReason,
    now: Instant,
) -> Result<Verdict, DropReason> {
    if flow.opens_tcp() && reason.is_unsolicited() {
        return aftr.hold_syn(packet, inner, flow, Some(*tunnel), reason, now);
    }
    Err(reason)
}

/// Sends a packet, whose source is translated already, on to the called host.
pub(super) fn deliver(
    aftr: &mut Aftr,
    packet: &mut Packet,
    call: Call,
    flow: &Flow,
    caller: SocketAddrV4,
    now: Instant,
) -> Verdict {
    aftr.use_session_from_internet(call.session, call.mapping, flow, (*caller.ip(), caller.port()), now);
    aftr.seen_from_internet(call.mapping, flow, now);
    let internal = aftr.mappings.slab[call.mapping].internal();
    translate::rewrite_destination(packet.bytes_mut(), flow, internal);
    aftr.clamp_mss(packet, flow, call.softwire(aftr), now);
    aftr.counters.hairpinned.count(packet.len());
    aftr.send_hairpinned(packet, call.mapping, now)
}
