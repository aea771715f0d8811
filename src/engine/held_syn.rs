//! Unsolicited SYNs (RFC 5382 REQ-4): silence for six seconds after the latest copy, because the inside
//! may be opening the same connection at this moment; then ICMP 3/3, unless it did.

use std::net::{Ipv6Addr, SocketAddrV4};

use super::aftr::{Aftr, MOST_TIMERS};
use super::icmp_error::push_error;
use super::inner::{Inner, is_martian};
use super::refusal::Answer;
use super::seed::HashKey;
use super::softwire::Tunnel;
use super::table::{HashIndex, Record, Slab, Wheel};
use super::time::{Instant, Stamp};
use super::transport::Flow;
use super::verdict::{DropReason, Verdict};
use crate::wire::{Packet, Side};

/// Bytes of a SYN that are kept for the error to quote.
const KEPT: usize = 128;

#[derive(Debug, Clone)]
struct HeldSyn {
    attacked: SocketAddrV4,
    caller: SocketAddrV4,
    latest: Stamp,
    /// The caller's softwire, when it is a B4's host that calls a pool address.
    tunnel: Option<Tunnel>,
    length: u8,
    quotation: [u8; KEPT],
}

impl Record for HeldSyn {
    const VACANT: HeldSyn = HeldSyn {
        attacked: SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 0),
        caller: SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 0),
        latest: Instant::ZERO.stamp(),
        tunnel: None,
        length: 0,
        quotation: [0; KEPT],
    };

    fn is_live(&self) -> bool {
        self.length != 0
    }
}

pub(super) struct HeldSyns {
    slab: Slab<HeldSyn>,
    by_tuple: HashIndex,
    key: HashKey,
    timers: Wheel,
}

impl HeldSyns {
    pub(super) fn new(limit: u32, key: HashKey, now: Instant) -> HeldSyns {
        HeldSyns {
            slab: Slab::new(limit),
            by_tuple: HashIndex::new(limit),
            key,
            timers: Wheel::new(limit, now),
        }
    }

    pub(super) fn memory(limit: u32) -> u64 {
        Slab::<HeldSyn>::memory(limit) + HashIndex::memory(limit) + Wheel::memory(limit)
    }

    fn hash(&self, attacked: SocketAddrV4, caller: SocketAddrV4) -> u32 {
        let ports = u32::from(attacked.port()) << 16 | u32::from(caller.port());
        self.key.hash([attacked.ip().to_bits(), caller.ip().to_bits(), ports])
    }

    /// Private callers overlap between B4s: `b4` tells them apart, none is a caller from the Internet.
    fn find(&self, attacked: SocketAddrV4, caller: SocketAddrV4, b4: Option<Ipv6Addr>) -> Option<u32> {
        self.by_tuple.find(self.hash(attacked, caller), |id| {
            let syn = &self.slab[id];
            syn.attacked == attacked && syn.caller == caller && syn.tunnel.map(|tunnel| tunnel.b4) == b4
        })
    }

    /// The inside opens the same connection: no error any more.
    pub(super) fn forget(&mut self, inside: SocketAddrV4, remote: SocketAddrV4) {
        if self.slab.len() > 0
            && let Some(id) = self.find(inside, remote, None)
        {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: u32) -> HeldSyn {
        self.timers.disarm(id);
        let syn = self.slab.remove(id);
        self.by_tuple.remove(self.hash(syn.attacked, syn.caller), id);
        syn
    }

    pub(super) fn next_look(&self) -> Option<Instant> {
        self.timers.next_look()
    }
}

impl Aftr {
    /// Keeps an unsolicited SYN, or drops it for `reason` when errors are off or too many are kept.
    /// `packet` starts with the IPv4 header as its sender wrote it.
    pub(super) fn hold_syn(
        &mut self,
        packet: &Packet,
        inner: &Inner,
        flow: &Flow,
        tunnel: Option<Tunnel>,
        reason: DropReason,
        now: Instant,
    ) -> Result<Verdict, DropReason> {
        if !self.settings.config.nat.syn_reject {
            return Err(reason);
        }
        let attacked = SocketAddrV4::new(flow.destination, flow.destination_port);
        let caller = SocketAddrV4::new(flow.source, flow.source_port);
        let syns = &mut self.held_syns;
        if let Some(id) = syns.find(attacked, caller, tunnel.map(|tunnel| tunnel.b4)) {
            syns.slab[id].latest = now.stamp();
        } else {
            let hash = syns.hash(attacked, caller);
            // Homes that call each other leave half of the room to calls from the Internet.
            let is_of_home = tunnel.is_some() || packet.is_from_worker();
            let of_homes = usize::from(is_of_home) * (self.settings.config.nat.syn_held_max as usize / 2);
            if !syns.slab.has_room(1 + of_homes) || !syns.by_tuple.has_room(hash) {
                return Err(reason);
            }
            let length = inner.total_length.min(KEPT);
            let mut quotation = [0; KEPT];
            quotation[..length].copy_from_slice(&packet.bytes()[..length]);
            let syn =
                HeldSyn { attacked, caller, latest: now.stamp(), tunnel, length: length as u8, quotation };
            let id = syns.slab.insert(syn);
            let entered = syns.by_tuple.insert(hash, id);
            debug_assert!(entered);
            syns.timers.arm(id, now.plus_secs(self.settings.config.nat.timers.tcp_in_syn_timeout));
        }
        self.counters.held += 1;
        Ok(Verdict::Hold)
    }

    /// Answers the SYNs that waited long enough.
    pub(super) fn reject_held_syns(&mut self, now: Instant) {
        let silence = self.settings.config.nat.timers.tcp_in_syn_timeout;
        for _ in 0..MOST_TIMERS {
            let Some(id) = self.held_syns.timers.pop_due(now) else { break };
            let deadline = self.held_syns.slab[id].latest.plus_secs(silence, now);
            if deadline > now {
                self.held_syns.timers.arm(id, deadline);
            } else {
                let syn = self.held_syns.remove(id);
                self.reject_syn(&syn, now);
            }
        }
    }

    fn reject_syn(&mut self, syn: &HeldSyn, now: Instant) {
        const UNREACHABLE: u8 = 3;
        const PORT: u8 = 3;
        // The configuration may have changed since it came.
        let settings = &self.settings;
        let is_lost = self.pool.find(*syn.attacked.ip()).is_none()
            || match syn.tunnel {
                Some(tunnel) => !settings.allows_b4(tunnel.b4),
                None => {
                    is_martian(*syn.caller.ip())
                        && !settings.may_pass_through(*syn.caller.ip())
                        && self.pool.find(*syn.caller.ip()).is_none()
                }
            };
        if is_lost {
            return;
        }
        let limits = &self.settings.config.icmp;
        let subscriber = syn.tunnel.map(|tunnel| self.settings.subscriber_prefix(tunnel.b4));
        let allowed = match subscriber {
            // Scans of the Internet do not silence what homes hear.
            Some(subscriber) => self.limiter.error_to_b4(limits, subscriber, now),
            None => {
                self.limiter.syn_reject(limits, now)
                    && self.limiter.error_to_internet(limits, *syn.caller.ip(), now)
            }
        };
        if !allowed {
            self.counters.icmp_suppressed += 1;
            return;
        }
        let mut packet = Packet::copied_from(&syn.quotation[..usize::from(syn.length)], Side::Internet);
        if !push_error(&mut packet, Answer::Icmp4(UNREACHABLE, PORT), *syn.attacked.ip()) {
            return;
        }
        match syn.tunnel {
            Some(tunnel) => {
                self.encapsulate(&mut packet, &tunnel);
                self.counters.icmp_to_b4 += 1;
                self.send_later(packet, Side::B4);
            }
            None => {
                self.counters.icmp_to_internet += 1;
                self.send_later(packet, Side::Internet);
            }
        }
    }
}
