//! Which limit refused something new, for those who want a name with it (RFC 8158 section 4.3: events 3, 12 and
//! 13). It is found out when a packet has been refused: the path of a packet knows nothing of it.

use std::collections::BTreeMap;

use super::aftr::Aftr;
use super::event::{EventKind, Limit};
use super::mapping::port_limit;
use super::softwire::Tunnel;
use super::table::NONE;
use super::time::Instant;
use super::verdict::DropReason;
use crate::wire::ipv4::{Ipv4, protocol};
use aftr_config::Protocol;

/// Subscribers that are remembered, at most: of more than these nothing is told until some are old enough.
const MOST_TOLD: usize = 1024;
/// Seconds between two looks for old ones.
const FORGETTING: u32 = 1;
/// Seconds between two notices about the same pool or address, about the whole instance (RFC 8512
/// `notify-interval`), and about one subscriber.
const POOL_INTERVAL: u32 = 20;
const INSTANCE_INTERVAL: u32 = 10;
const SUBSCRIBER_INTERVAL: u32 = 60;

/// What was told of, and when.
#[derive(Default)]
pub(super) struct LimitNotices {
    /// Pools, addresses and tables: as many as there are.
    of_all: BTreeMap<Limit, Instant>,
    /// Subscribers' prefixes, and whether it was about pieces: a home with many addresses is one.
    of_subscribers: BTreeMap<(u128, bool), Instant>,
    forgotten: Instant,
}

impl LimitNotices {
    /// Whether it is time to tell of a limit of this subscriber, or of all, which then counts as told.
    fn tells(&mut self, limit: Limit, prefix: u128, now: Instant) -> bool {
        let is_early = |told: &Instant| now < told.plus_secs(interval(&limit));
        let is_of_pieces = matches!(limit, Limit::Fragments { .. });
        if !is_of_pieces && !matches!(limit, Limit::Subscriber { .. }) {
            let is_due = !self.of_all.get(&limit).is_some_and(is_early);
            if is_due {
                self.of_all.insert(limit, now);
            }
            return is_due;
        }
        let key = (prefix, is_of_pieces);
        if self.of_subscribers.get(&key).is_some_and(is_early) {
            return false;
        }
        if self.of_subscribers.len() >= MOST_TOLD && now >= self.forgotten.plus_secs(FORGETTING) {
            self.of_subscribers.retain(|_, told| is_early(told));
            self.forgotten = now;
        }
        let has_room = self.of_subscribers.len() < MOST_TOLD || self.of_subscribers.contains_key(&key);
        if has_room {
            self.of_subscribers.insert(key, now);
        }
        has_room
    }
}

const fn interval(limit: &Limit) -> u32 {
    match limit {
        Limit::Pool { .. } | Limit::Address { .. } => POOL_INTERVAL,
        Limit::Sessions | Limit::Mappings | Limit::Subscribers => INSTANCE_INTERVAL,
        Limit::Subscriber { .. } | Limit::Fragments { .. } => SUBSCRIBER_INTERVAL,
    }
}

impl Aftr {
    /// Tells which limit refused an inner packet from a B4, when the last time is long enough ago.
    pub(super) fn notice_limit(&mut self, packet: &[u8], tunnel: &Tunnel, reason: DropReason, now: Instant) {
        let prefix = self.settings.subscriber_prefix(tunnel.b4);
        if let Some(limit) = self.limit_of(packet, tunnel, reason)
            && self.limit_notices.tells(limit, prefix, now)
        {
            self.events.push(now, EventKind::LimitReached(limit));
        }
    }

    /// The limit behind a refusal. None: RFC 8158 has no event for it.
    fn limit_of(&self, packet: &[u8], tunnel: &Tunnel, reason: DropReason) -> Option<Limit> {
        let (inner, b4) = (Ipv4::view(packet)?, tunnel.b4);
        let subscriber = self.subscribers.find(self.settings.subscriber_prefix(b4));
        #[expect(clippy::wildcard_enum_match_arm, reason = "other reasons are no limits")]
        match reason {
            DropReason::NatQuota => {
                let most = self.most_entries(subscriber?, protocol_of(inner));
                Some(Limit::Subscriber { b4, internal: inner.source(), most })
            }
            DropReason::NatPool => self.used_up(subscriber, tunnel, protocol_of(inner)?),
            DropReason::NatMem if !self.mappings.has_room() => Some(Limit::Mappings),
            DropReason::NatMem if !self.sessions.has_room() => Some(Limit::Sessions),
            DropReason::B4Limit if subscriber.is_none() => Some(Limit::Subscribers),
            DropReason::V4FragMem => {
                let most = self.settings.config.nat.fragments.limit_per_subscriber;
                Some(Limit::Fragments { b4, internal: inner.source(), most })
            }
            _ => None,
        }
    }

    /// A subscriber that has an external address keeps it (RFC 7857 section 4): the address is used up then, and
    /// the pool otherwise.
    fn used_up(&self, subscriber: Option<u32>, tunnel: &Tunnel, protocol: Protocol) -> Option<Limit> {
        let paired = subscriber.map(|id| self.subscribers.slab[id].address).filter(|&it| it != NONE);
        Some(match paired {
            Some(address) => Limit::Address { external: self.pool.ip(address), protocol },
            None => Limit::Pool { pool_id: self.pool.pool_for(tunnel.b4)? },
        })
    }

    /// Which of its quotas a subscriber has used up: mappings of the protocol, its own sessions, the ports of as
    /// many port sets as it may have, or else the sessions of one mapping.
    fn most_entries(&self, subscriber: u32, protocol: Option<Protocol>) -> u32 {
        let nat = &self.settings.config.nat;
        let record = &self.subscribers.slab[subscriber];
        let of_protocol = protocol
            .map(|protocol| (record.mappings[protocol as usize], port_limit(&nat.port_quota, protocol)));
        let sessions = &nat.session_limits;
        match of_protocol {
            Some((used, most)) if used >= most => most,
            _ if record.sessions.max(record.passed_through) >= sessions.limit_per_subscriber => {
                sessions.limit_per_subscriber
            }
            _ if record.port_sets >= nat.port_set.max_port_sets => self.ports_of(record.first_port_set),
            _ => sessions.limit_per_mapping,
        }
    }

    /// All ports of a subscriber's port sets, from the first on.
    fn ports_of(&self, mut set: u32) -> u32 {
        let mut ports = 0;
        while set != NONE {
            ports += self.pool.extent(set).1.len() as u32;
            set = self.pool.port_set(set).next;
        }
        ports
    }
}

fn protocol_of(inner: &Ipv4) -> Option<Protocol> {
    match inner.protocol() {
        protocol::TCP => Some(Protocol::Tcp),
        protocol::UDP => Some(Protocol::Udp),
        protocol::ICMP => Some(Protocol::Icmp),
        _ => None,
    }
}
