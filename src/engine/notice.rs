//! Events on their way out, and the notices that are given before resources run out, not once per packet
//! (RFC 6888 REQ-11c, RFC 8512).

use std::collections::VecDeque;

use super::aftr::Aftr;
use super::event::{Event, EventKind};
use super::time::Instant;
use super::verdict::DropReason;

/// Events that wait to be fetched before others than evidence are lost.
const MOST_EVENTS: usize = 1 << 16;
/// Seconds between two notices about the same reason (RFC 8512 `notify-interval` of an instance).
const REFUSED_INTERVAL: u32 = 10;

/// A bounded queue: a notice or a mapping that does not fit is counted and lost. What says who holds ports is never
/// lost here: it is bounded by the port sets, and without it ports would be used that no journal knows of.
#[derive(Default)]
pub(super) struct Events {
    queue: VecDeque<Event>,
    pub(super) lost: u64,
}

impl Events {
    pub(super) fn push(&mut self, at: Instant, kind: EventKind) {
        let is_evidence = matches!(
            kind,
            EventKind::PortSetGranted(_) | EventKind::PortSetReleased(_) | EventKind::SoftwireMoved { .. }
        );
        if self.queue.len() >= MOST_EVENTS && !is_evidence {
            self.lost += 1;
        } else {
            self.queue.push_back(Event { at, kind });
        }
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        self.queue.pop_front()
    }
}

/// What was told last, and what there is to tell.
#[derive(Default)]
pub(super) struct Notices {
    refused: [Refused; REFUSALS.len()],
    pools: Vec<PoolNotice>,
}

/// The reasons that mean: a resource is used up.
const REFUSALS: [DropReason; 6] = [
    DropReason::NatQuota,
    DropReason::NatRate,
    DropReason::NatPool,
    DropReason::NatJournal,
    DropReason::NatMem,
    DropReason::B4Limit,
];

#[derive(Default, Clone, Copy)]
struct Refused {
    count: u64,
    told: Option<Instant>,
}

/// What was told of a pool, which keeps its number when the configuration changes its place.
#[derive(Clone, Copy)]
struct PoolNotice {
    pool_id: u32,
    is_high: bool,
    told: Option<Instant>,
    /// When something else is to be told, that would have been too early.
    due: Option<Instant>,
}

impl Aftr {
    /// Counts a refusal, and tells of it when the last time is long enough ago.
    pub(super) fn notice_refusal(&mut self, reason: DropReason, now: Instant) {
        if let Some(at) = REFUSALS.iter().position(|&watched| watched == reason) {
            self.notices.refused[at].count += 1;
            self.tell_refusals(now);
        }
    }

    /// Tells of the refusals that piled up.
    pub(super) fn tell_refusals(&mut self, now: Instant) {
        for (refused, &reason) in self.notices.refused.iter_mut().zip(&REFUSALS) {
            let is_due = refused.told.is_none_or(|told| now >= told.plus_secs(REFUSED_INTERVAL));
            if refused.count > 0 && is_due {
                self.events.push(now, EventKind::Refused { reason, count: refused.count });
                *refused = Refused { count: 0, told: Some(now) };
            }
        }
    }

    /// When [`Aftr::tell_refusals`] has something to say.
    pub(super) fn next_refusal(&self) -> Option<Instant> {
        let waiting = self.notices.refused.iter().filter(|refused| refused.count > 0);
        waiting.filter_map(|refused| refused.told.map(|told| told.plus_secs(REFUSED_INTERVAL))).min()
    }

    /// Compares the use of an address's pool with its thresholds.
    pub(super) fn watch_pool(&mut self, address: u32, now: Instant) {
        self.watch_group(self.pool.addresses[address as usize].group, now);
    }

    /// Tells what was too early to be told before.
    pub(super) fn tell_pools(&mut self, now: Instant) {
        if self.next_pool_notice().is_some_and(|due| due <= now) {
            (0..self.pool.groups.len()).for_each(|group| self.watch_group(group, now));
        }
    }

    /// When [`Aftr::tell_pools`] has something to say.
    pub(super) fn next_pool_notice(&self) -> Option<Instant> {
        self.notices.pools.iter().filter_map(|notice| notice.due).min()
    }

    /// Pools went, and thresholds changed.
    pub(super) fn rewatch_pools(&mut self, now: Instant) {
        let groups = &self.pool.groups;
        self.notices.pools.retain(|notice| groups.iter().any(|group| group.pool_id == notice.pool_id));
        for group in 0..self.pool.groups.len() {
            let pool_id = self.pool.groups[group].pool_id;
            if self.notices.pools.iter().any(|notice| notice.pool_id == pool_id) {
                self.watch_group(group, now);
            }
        }
    }

    fn watch_group(&mut self, group: usize, now: Instant) {
        let Some(config) = self.settings.config.nat.external_ip_address_pool.get(group) else { return };
        let Some(state) = self.pool.groups.get(group) else { return };
        // Another worker may have all of it.
        let Some(percent) = (state.granted * 100).checked_div(state.sets) else { return };
        let percent = percent as u8;
        let pool_id = state.pool_id;
        let notice = self.notices.of_pool(pool_id);
        let crosses =
            if notice.is_high { percent <= config.low_threshold } else { percent >= config.high_threshold };
        let due = notice.told.map_or(now, |told| told.plus_secs(config.notify_interval));
        notice.due = crosses.then_some(due).filter(|&due| due > now);
        if !crosses || due > now {
            return;
        }
        (notice.is_high, notice.told) = (!notice.is_high, Some(now));
        let high = EventKind::PoolHigh { pool_id, percent };
        let kind = if notice.is_high { high } else { EventKind::PoolLow { pool_id, percent } };
        self.events.push(now, kind);
    }
}

impl Notices {
    fn of_pool(&mut self, pool_id: u32) -> &mut PoolNotice {
        let at = self.pools.iter().position(|notice| notice.pool_id == pool_id).unwrap_or_else(|| {
            self.pools.push(PoolNotice { pool_id, is_high: false, told: None, due: None });
            self.pools.len() - 1
        });
        &mut self.pools[at]
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;
    use crate::engine::Grant;

    /// INV-11: a reload that ends many mappings at once must not swallow the grants behind them.
    #[test]
    fn who_holds_ports_is_never_lost() {
        let mut events = Events::default();
        let notice = EventKind::EcnAnomalies { count: 1 };
        (0..MOST_EVENTS + 10).for_each(|_| events.push(Instant::ZERO, notice));
        assert_eq!(events.lost, 10);
        let grant = EventKind::PortSetGranted(Grant {
            subscriber: Ipv6Addr::LOCALHOST.into(),
            b4: Ipv6Addr::LOCALHOST,
            internal: Ipv4Addr::LOCALHOST,
            pool_id: 1,
            external: Ipv4Addr::LOCALHOST,
            first_port: 1024,
            last_port: 1535,
        });
        events.push(Instant::ZERO, grant);
        let last = std::iter::from_fn(|| events.pop()).last().map(|event| event.kind);
        assert_eq!((last, events.lost), (Some(grant), 10));
    }
}
