//! B4 address to softwire and subscriber, within the limits of RFC 7785 section 4.
//!
//! Admission has two halves: [`Aftr::admit`] decides and changes nothing, [`Aftr::settle`] makes it so
//! once every check that can drop the packet has passed.

use std::net::Ipv6Addr;

use super::table::Subscriber;
use crate::engine::aftr::Aftr;
use crate::engine::event::EventKind;
use crate::engine::softwire::Tunnel;
use crate::engine::table::NONE;
use crate::engine::time::Instant;
use crate::engine::verdict::DropReason;

/// How a packet's B4 address is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Admission {
    /// Its softwire exists.
    Known(u32),
    /// Its subscriber's softwire is to end at this address from now on.
    Move(u32),
    /// Its subscriber, when there is one, gets another softwire.
    Open(Option<u32>),
}

impl Admission {
    /// The softwire that mappings are looked up with.
    #[inline]
    pub(in crate::engine) fn softwire(self) -> Option<u32> {
        match self {
            Admission::Known(id) | Admission::Move(id) => Some(id),
            Admission::Open(_) => None,
        }
    }
}

impl Aftr {
    /// Decides how the B4 at the far end of `tunnel` is taken.
    #[inline(always)]
    pub(in crate::engine) fn admit(&self, tunnel: &Tunnel, now: Instant) -> Result<Admission, DropReason> {
        match tunnel.softwire {
            Some(id) => Ok(Admission::Known(id)),
            None => self.admit_unknown(tunnel.b4, now),
        }
    }

    #[cold]
    fn admit_unknown(&self, b4: Ipv6Addr, now: Instant) -> Result<Admission, DropReason> {
        let config = &self.settings.config.softwire;
        let has_room = self.softwires.has_room(b4);
        let open =
            |subscriber| if has_room { Ok(Admission::Open(subscriber)) } else { Err(DropReason::B4Limit) };
        let prefix = self.settings.subscriber_prefix(b4);
        let Some(id) = self.subscribers.find(prefix) else {
            return if self.subscribers.has_room(prefix) { open(None) } else { Err(DropReason::B4Limit) };
        };
        let subscriber = &self.subscribers.slab[id];
        if subscriber.softwires < config.max_softwires_per_subscriber {
            return open(Some(id));
        }
        if !config.state_migrate {
            return Err(DropReason::B4Limit);
        }
        // RFC 7785 section 4.3: changes are rate-limited; the first one after the start is free.
        let limit = config.b4_address_change_limit;
        if subscriber.moved.is_some_and(|moved| now < moved.plus_secs(limit)) {
            return Err(DropReason::B4Flap);
        }
        Ok(Admission::Move(self.oldest_softwire(subscriber)))
    }

    /// The softwire that was opened first: the last of the list.
    fn oldest_softwire(&self, subscriber: &Subscriber) -> u32 {
        let mut id = subscriber.first_softwire;
        while self.softwires.slab[id].next != NONE {
            id = self.softwires.slab[id].next;
        }
        id
    }

    /// Makes an admission so, and says which softwire the packet came through.
    #[inline(always)]
    pub(in crate::engine) fn settle(&mut self, admission: Admission, tunnel: &Tunnel, now: Instant) -> u32 {
        let softwire = match admission {
            Admission::Known(id) => id,
            Admission::Move(_) | Admission::Open(_) => self.settle_unknown(admission, tunnel, now),
        };
        self.softwires.slab[softwire].aftr = tunnel.aftr;
        softwire
    }

    #[cold]
    fn settle_unknown(&mut self, admission: Admission, tunnel: &Tunnel, now: Instant) -> u32 {
        match admission {
            Admission::Known(id) => id,
            Admission::Move(id) => {
                self.move_softwire(id, tunnel.b4, now);
                id
            }
            Admission::Open(subscriber) => {
                let prefix = self.settings.subscriber_prefix(tunnel.b4);
                let subscriber = subscriber.unwrap_or_else(|| self.subscribers.enter(prefix));
                self.open_softwire(subscriber, tunnel.b4, tunnel.aftr)
            }
        }
    }

    /// Opens a softwire of a subscriber.
    pub(in crate::engine) fn open_softwire(&mut self, subscriber: u32, b4: Ipv6Addr, aftr: u8) -> u32 {
        let record = &mut self.subscribers.slab[subscriber];
        let id = self.softwires.open(b4, aftr, subscriber, record.first_softwire);
        record.first_softwire = id;
        record.softwires += 1;
        id
    }

    fn move_softwire(&mut self, id: u32, to: Ipv6Addr, now: Instant) {
        let from = self.softwires.slab[id].b4;
        self.softwires.migrate(id, to);
        let subscriber = &mut self.subscribers.slab[self.softwires.slab[id].subscriber];
        subscriber.moved = Some(now);
        let subscriber = self.settings.subscriber_net(subscriber.prefix);
        self.events.push(now, EventKind::SoftwireMoved { subscriber, from, to });
    }

    /// Forgets a subscriber that holds nothing any more, and its softwires.
    pub(in crate::engine) fn forget_if_empty(&mut self, id: u32) {
        let subscriber = &self.subscribers.slab[id];
        if subscriber.holds_something() {
            return;
        }
        let mut softwire = subscriber.first_softwire;
        while softwire != NONE {
            softwire = self.softwires.close(softwire).next;
        }
        let subscriber = self.subscribers.remove(id);
        if subscriber.address != NONE {
            self.pool.unpair(subscriber.address);
        }
    }
}
