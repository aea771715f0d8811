//! The engine driven by records: time moves from one to the next, and every timer that is due in between
//! runs at its own moment.

use crate::engine::{Config, Counters, DropReason, Event, Instant, Seed, Team, TtlBy, Verdict};
use crate::wire::{Packet, Side};

/// What made an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// A packet came in.
    Packet {
        /// Its place in the replay, from 1.
        number: u64,
        /// Where it came from.
        side: Side,
        /// Its bytes as they came.
        bytes: Vec<u8>,
        /// What the engine said.
        verdict: Verdict,
    },
    /// Time went by.
    Time,
    /// Time went by, and packets that waited were dropped.
    Expiry {
        /// Why.
        reason: DropReason,
        /// How many.
        count: u64,
    },
}

/// One line of a replay: a packet that was judged, or one that time brought about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: Instant,
    /// Why.
    pub cause: Cause,
    /// What leaves, and to which side.
    pub output: Option<(Side, Vec<u8>)>,
}

/// One run of the engines of all workers that the configuration asks for.
pub struct Replay {
    aftr: Team,
    now: Instant,
    packets: u64,
    events: Vec<Event>,
}

impl Replay {
    /// A replay at its beginning: the origin of time is the first record.
    #[must_use]
    pub fn new(config: &Config, ttl: TtlBy, seed: &Seed) -> Replay {
        let now = Instant::ZERO;
        Replay { aftr: Team::new(config, ttl, seed, now), now, packets: 0, events: Vec::new() }
    }

    /// Lets time go by until `at`, then gives the engine a packet. A record that is older than the one
    /// before it counts as one of the same moment.
    pub fn packet(&mut self, at: Instant, bytes: &[u8]) -> Vec<Entry> {
        self.packet_from(side_of(bytes), at, bytes)
    }

    /// The same for a packet that came from a side that its version does not tell.
    pub fn packet_from(&mut self, side: Side, at: Instant, bytes: &[u8]) -> Vec<Entry> {
        let mut entries = self.run_until(at);
        self.packets += 1;
        let mut packet = Packet::copied_from(bytes, side);
        let verdict = self.aftr.packet(&mut packet, self.now);
        entries.push(Entry {
            at: self.now,
            cause: Cause::Packet { number: self.packets, side, bytes: bytes.to_vec(), verdict },
            output: verdict.leaves_to(side).map(|to| (to, packet.bytes().to_vec())),
        });
        self.collect(&mut entries);
        entries
    }

    /// Lets time go by until `at`; gives the packets that this brought about.
    pub fn run_until(&mut self, at: Instant) -> Vec<Entry> {
        let mut entries = Vec::new();
        while let Some(due) = self.aftr.poll_timeout().filter(|&due| due <= at) {
            self.now = self.now.max(due);
            let before = self.aftr.counters();
            self.aftr.handle_timeout(self.now);
            entries.extend(self.expired_since(&before));
            self.collect(&mut entries);
        }
        self.now = self.now.max(at);
        // What the engine told when it was made, too.
        self.collect(&mut entries);
        entries
    }

    /// What time dropped.
    fn expired_since(&self, before: &Counters) -> impl Iterator<Item = Entry> {
        let (now, at) = (self.aftr.counters(), self.now);
        DropReason::ALL.iter().filter_map(move |&reason| {
            let count = now.dropped(reason) - before.dropped(reason);
            (count > 0).then_some(Entry { at, cause: Cause::Expiry { reason, count }, output: None })
        })
    }

    /// The events so far, and none of them again.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The engines, to be looked at.
    #[must_use]
    pub fn aftr(&self) -> &Team {
        &self.aftr
    }

    /// What it has counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.aftr.counters()
    }

    /// The moment that the replay has reached.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    fn collect(&mut self, entries: &mut Vec<Entry>) {
        while let Some((packet, side)) = self.aftr.poll_packet() {
            let output = Some((side, packet.bytes().to_vec()));
            entries.push(Entry { at: self.now, cause: Cause::Time, output });
        }
        while let Some(event) = self.aftr.poll_event() {
            self.events.push(event);
        }
    }
}

/// The side that a captured packet came from: IPv6 from a B4, everything else from the Internet.
#[must_use]
pub fn side_of(bytes: &[u8]) -> Side {
    match bytes.first().map(|first| first >> 4) {
        Some(6) => Side::B4,
        _ => Side::Internet,
    }
}
