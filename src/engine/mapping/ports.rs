//! The external side: from (address, protocol, port) to a mapping, by index and not by hash, so that
//! two mappings can never share a port (RFC 4787 REQ-3) and nothing that the Internet sends can degrade
//! the look-up. A freed port stays taken for the hold-down time (RFC 6888 REQ-8).

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use crate::engine::seed::Random;
use crate::engine::time::Instant;
use aftr_config::Protocol;

const FREE: u32 = 0;
const HELD: u32 = u32::MAX;
const PORTS: usize = 1 << 16;

/// A place on the external side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Place {
    /// Number of the external address.
    pub(in crate::engine) address: u32,
    pub(in crate::engine) protocol: Protocol,
    pub(in crate::engine) port: u16,
}

impl Place {
    #[inline]
    fn at(self) -> usize {
        (self.address as usize * 3 + self.protocol as usize) * PORTS + usize::from(self.port)
    }
}

pub(in crate::engine) struct Ports {
    /// Mapping number plus one, [`FREE`] or [`HELD`]. Zero pages take memory only when touched.
    index: Vec<u32>,
    /// Held ports, the oldest first.
    held: VecDeque<(Instant, Place)>,
}

impl Ports {
    pub(in crate::engine) fn new(addresses: usize) -> Ports {
        Ports { index: vec![FREE; addresses * 3 * PORTS], held: VecDeque::new() }
    }

    pub(in crate::engine) fn memory(addresses: usize) -> u64 {
        (addresses * 3 * PORTS * size_of::<u32>()) as u64
    }

    /// Makes room for more addresses.
    pub(in crate::engine) fn extend_to(&mut self, addresses: usize) {
        self.index.resize(addresses * 3 * PORTS, FREE);
    }

    /// The mapping at a place.
    #[inline(always)]
    pub(in crate::engine) fn mapping_at(&self, place: Place) -> Option<u32> {
        match self.index[place.at()] {
            FREE | HELD => None,
            taken => Some(taken - 1),
        }
    }

    pub(in crate::engine) fn is_free(&self, place: Place) -> bool {
        self.index[place.at()] == FREE
    }

    /// Gives a free place to a mapping.
    pub(in crate::engine) fn take(&mut self, place: Place, mapping: u32) {
        debug_assert!(self.is_free(place));
        self.index[place.at()] = mapping + 1;
    }

    /// Frees a place at once.
    pub(in crate::engine) fn free(&mut self, place: Place) {
        self.index[place.at()] = FREE;
    }

    /// Keeps a place from everybody until `until`.
    pub(in crate::engine) fn hold(&mut self, place: Place, until: Instant) {
        self.index[place.at()] = HELD;
        self.held.push_back((until, place));
    }

    /// Frees and gives the oldest held place: one that is due, or any when more than `most` are held.
    pub(in crate::engine) fn release_held(
        &mut self,
        now: Instant,
        most: Option<u32>,
    ) -> Option<(Place, bool)> {
        let &(until, place) = self.held.front()?;
        let due = until <= now;
        let too_many = most.is_some_and(|most| self.held.len() > most as usize);
        if !due && !too_many {
            return None;
        }
        self.held.pop_front();
        self.index[place.at()] = FREE;
        Some((place, !due))
    }

    /// When the next held place is due.
    pub(in crate::engine) fn next_due(&self) -> Option<Instant> {
        self.held.front().map(|&(until, _)| until)
    }

    /// A free port of `ports`, at random (RFC 6056 section 3.3.2: a few tries, then a scan, so that the
    /// last free one is found). `parity` asks for even or odd (RFC 4787 REQ-4).
    pub(in crate::engine) fn pick(
        &self,
        mut place: Place,
        ports: &RangeInclusive<u16>,
        parity: Option<u16>,
        random: &mut Random,
    ) -> Option<u16> {
        const TRIES: usize = 8;
        let first = *ports.start();
        let count = u32::from(*ports.end() - first) + 1;
        let mut is_usable = |offset: u32| {
            place.port = first + offset as u16;
            let fits = parity.is_none_or(|parity| place.port & 1 == parity);
            (fits && self.is_free(place)).then_some(place.port)
        };
        for _ in 0..TRIES {
            if let Some(port) = is_usable(random.below(count)) {
                return Some(port);
            }
        }
        let start = random.below(count);
        (0..count).find_map(|step| is_usable((start + step) % count))
    }
}
