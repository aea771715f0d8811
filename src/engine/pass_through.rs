//! Destinations that are reached untranslated (RFC 6888 REQ-6). Private sources overlap between B4s, so
//! the AFTR remembers which softwire a flow belongs to, and refuses the same flow of another one.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::aftr::{Aftr, MOST_TIMERS};
use super::egress;
use super::inner::Inner;
use super::refusal::Refusal;
use super::seed::HashKey;
use super::softwire::Tunnel;
use super::table::{HashIndex, NONE, Record, Slab, Wheel};
use super::time::{Instant, Stamp};
use super::toward::Toward;
use super::transport::Flow;
use super::verdict::{DropReason, Verdict};
use crate::wire::{Packet, Side};
use aftr_config::Protocol;

#[derive(Debug, Clone)]
struct Passed {
    /// [`NONE`] marks a record that is not in use.
    softwire: u32,
    protocol: Protocol,
    internal: (Ipv4Addr, u16),
    remote: (Ipv4Addr, u16),
    last_seen: Stamp,
}

impl Record for Passed {
    const VACANT: Passed = Passed {
        softwire: NONE,
        protocol: Protocol::Udp,
        internal: (Ipv4Addr::UNSPECIFIED, 0),
        remote: (Ipv4Addr::UNSPECIFIED, 0),
        last_seen: Instant::ZERO.stamp(),
    };

    fn is_live(&self) -> bool {
        self.softwire != NONE
    }
}

pub(super) struct PassThrough {
    slab: Slab<Passed>,
    by_tuple: HashIndex,
    key: HashKey,
    timers: Wheel,
}

impl PassThrough {
    pub(super) fn new(limit: u32, key: HashKey, now: Instant) -> PassThrough {
        PassThrough {
            slab: Slab::new(limit),
            by_tuple: HashIndex::new(limit),
            key,
            timers: Wheel::new(limit, now),
        }
    }

    pub(super) fn memory(limit: u32) -> u64 {
        Slab::<Passed>::memory(limit) + HashIndex::memory(limit) + Wheel::memory(limit)
    }

    fn hash(&self, protocol: Protocol, internal: (Ipv4Addr, u16), remote: (Ipv4Addr, u16)) -> u32 {
        let ports = u32::from(internal.1) << 16 | u32::from(remote.1);
        self.key.hash([internal.0.to_bits(), remote.0.to_bits(), ports, protocol as u32])
    }

    fn find(&self, protocol: Protocol, internal: (Ipv4Addr, u16), remote: (Ipv4Addr, u16)) -> Option<u32> {
        self.by_tuple.find(self.hash(protocol, internal, remote), |id| {
            let passed = &self.slab[id];
            passed.protocol == protocol && passed.internal == internal && passed.remote == remote
        })
    }

    pub(super) fn next_look(&self) -> Option<Instant> {
        self.timers.next_look()
    }
}

/// A packet from a B4 that a rule leaves as it is.
pub(super) fn from_b4(
    aftr: &mut Aftr,
    packet: &mut Packet,
    inner: &Inner,
    flow: &Flow,
    tunnel: &Tunnel,
    now: Instant,
) -> Result<Verdict, Refusal> {
    let admission = aftr.admit(tunnel, now)?;
    let internal = (flow.source, flow.source_port);
    let remote = (flow.destination, flow.destination_port);
    let known = aftr.pass_through.find(flow.protocol, internal, remote);
    if let Some(id) = known {
        if admission.softwire() != Some(aftr.pass_through.slab[id].softwire) {
            return Err(DropReason::PassClash.into());
        }
    } else if let Some(reason) = over_quota(aftr, aftr.subscriber_of(admission), now) {
        return Err(reason.into());
    } else if !aftr.pass_through.slab.has_room(1)
        || !aftr.pass_through.by_tuple.has_room(aftr.pass_through.hash(flow.protocol, internal, remote))
    {
        return Err(DropReason::NatMem.into());
    }
    egress::check_external_mtu(aftr, inner, Toward::Internet)?;
    let softwire = aftr.settle(admission, tunnel, now);
    aftr.softwires.slab[softwire].from_b4.count(packet.len());
    let last_seen = now.stamp();
    match known {
        Some(id) => aftr.pass_through.slab[id].last_seen = last_seen,
        None => {
            enter(aftr, Passed { softwire, protocol: flow.protocol, internal, remote, last_seen }, now);
        }
    }
    egress::write_tos(packet, inner.tos);
    aftr.fragment_passes(Side::B4, inner.datagram, flow, inner.identification, softwire);
    Ok(aftr.send_from_b4(packet, Toward::Internet))
}

/// RFC 6888 REQ-4c and REQ-5: untranslated sessions are bounded as translated ones are.
fn over_quota(aftr: &Aftr, subscriber: Option<u32>, now: Instant) -> Option<DropReason> {
    let config = &aftr.settings.config.nat;
    let subscriber = &aftr.subscribers.slab[subscriber?];
    if subscriber.passed_through >= config.session_limits.limit_per_subscriber {
        return Some(DropReason::NatQuota);
    }
    let (rate, burst) = (config.port_quota.new_mappings_per_second, config.port_quota.new_mappings_burst);
    (!subscriber.creation.has_one(rate, burst, now)).then_some(DropReason::NatRate)
}

/// Whether an untranslated flow is this softwire's.
pub(super) fn is_of(aftr: &Aftr, flow: &Flow, softwire: u32) -> bool {
    softwire_from(aftr, flow.protocol, flow.source(), flow.destination()) == Some(softwire)
}

/// The softwire of an untranslated flow, by its ends; none when no rule says so any more.
pub(super) fn softwire_from(
    aftr: &Aftr,
    protocol: Protocol,
    internal: SocketAddrV4,
    remote: SocketAddrV4,
) -> Option<u32> {
    let ends = ((*internal.ip(), internal.port()), (*remote.ip(), remote.port()));
    let id = aftr.pass_through.find(protocol, ends.0, ends.1)?;
    let is_ruled = aftr.settings.passes_through(*remote.ip(), protocol, remote.port());
    is_ruled.then(|| aftr.pass_through.slab[id].softwire)
}

/// A packet from the Internet to an address that is in no pool: the softwire that it belongs to, when a
/// packet from there came before. What is too large for it keeps nothing alive.
pub(super) fn from_internet(
    aftr: &mut Aftr,
    inner: &Inner,
    flow: &Flow,
    now: Instant,
) -> Result<u32, Refusal> {
    let internal = (flow.destination, flow.destination_port);
    let remote = (flow.source, flow.source_port);
    let id = aftr.pass_through.find(flow.protocol, internal, remote).ok_or(DropReason::X4Dst)?;
    let softwire = aftr.pass_through.slab[id].softwire;
    egress::check_tunnel_mtu(aftr, inner, softwire, DropReason::X4Mtu, now)?;
    if flow.protocol == Protocol::Tcp {
        aftr.pass_through.slab[id].last_seen = now.stamp();
    }
    Ok(softwire)
}

fn enter(aftr: &mut Aftr, passed: Passed, now: Instant) {
    let hash = aftr.pass_through.hash(passed.protocol, passed.internal, passed.remote);
    let deadline = now.plus_secs(aftr.idle_timeout(passed.protocol));
    let subscriber = aftr.softwires.slab[passed.softwire].subscriber;
    let quota = &aftr.settings.config.nat.port_quota;
    let record = &mut aftr.subscribers.slab[subscriber];
    record.creation.take(quota.new_mappings_per_second, quota.new_mappings_burst, now);
    record.passed_through += 1;
    let id = aftr.pass_through.slab.insert(passed);
    let entered = aftr.pass_through.by_tuple.insert(hash, id);
    debug_assert!(entered);
    aftr.pass_through.timers.arm(id, deadline);
}

impl Aftr {
    /// Ends the untranslated sessions that were idle for too long.
    pub(super) fn expire_passed_through(&mut self, now: Instant) {
        for _ in 0..MOST_TIMERS {
            let Some(id) = self.pass_through.timers.pop_due(now) else { break };
            let passed = &self.pass_through.slab[id];
            let deadline = passed.last_seen.plus_secs(self.idle_timeout(passed.protocol), now);
            if deadline > now {
                self.pass_through.timers.arm(id, deadline);
            } else {
                self.end_passed_through(id);
            }
        }
    }

    fn end_passed_through(&mut self, id: u32) {
        self.pass_through.timers.disarm(id);
        let passed = self.pass_through.slab.remove(id);
        let hash = self.pass_through.hash(passed.protocol, passed.internal, passed.remote);
        self.pass_through.by_tuple.remove(hash, id);
        let subscriber = self.softwires.slab[passed.softwire].subscriber;
        self.subscribers.slab[subscriber].passed_through -= 1;
        self.forget_if_empty(subscriber);
    }

    /// Ends the untranslated sessions of B4s inside `prefix`.
    pub(super) fn purge_passed_through(&mut self, prefix: ipnet::Ipv6Net) {
        let inside = |passed: &Passed| prefix.contains(&self.softwires.slab[passed.softwire].b4);
        let ids: Vec<u32> =
            self.pass_through.slab.iter().filter(|(_, passed)| inside(passed)).map(|(id, _)| id).collect();
        ids.into_iter().for_each(|id| self.end_passed_through(id));
    }
}
