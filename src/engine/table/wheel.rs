//! Timers for the records of one slab, in a wheel of slots half a second apart.
//!
//! A packet never touches the wheel: it writes a time into the record that it holds anyway. When a
//! slot comes due its records are looked at, and those that were used since are armed again. So a
//! timer of T seconds ends inside [T, T + 0.5 s).

use super::NONE;
use crate::engine::time::Instant;

/// Milliseconds between two slots.
const TICK: u64 = 500;
/// 8192 seconds ahead: more than the longest timer of an RFC, 7440 s. Later deadlines wait in the last
/// slot and are armed again from there.
const SLOTS: u64 = 16_384;
/// Marks a `before` that names a slot instead of a record.
const HEAD: u32 = 1 << 31;

#[derive(Clone, Copy)]
struct Link {
    /// The next record in the slot, or [`NONE`].
    next: u32,
    /// The record before, or [`HEAD`] and the slot, or [`NONE`] when not armed.
    before: u32,
}

pub(in crate::engine) struct Wheel {
    heads: Vec<u32>,
    links: Vec<Link>,
    /// Every slot up to this tick has been looked at, but for what is left in its own.
    cursor: u64,
    armed: usize,
}

impl Wheel {
    pub(in crate::engine) fn new(limit: u32, now: Instant) -> Wheel {
        Wheel {
            heads: vec![NONE; SLOTS as usize],
            links: Vec::with_capacity(limit as usize),
            cursor: now.millis() / TICK,
            armed: 0,
        }
    }

    /// Bytes that a wheel for `limit` records takes.
    pub(in crate::engine) fn memory(limit: u32) -> u64 {
        u64::from(limit) * size_of::<Link>() as u64 + SLOTS * size_of::<u32>() as u64
    }

    /// Has `id` come due at `deadline`, or within one tick after it. It must not be armed already.
    pub(in crate::engine) fn arm(&mut self, id: u32, deadline: Instant) {
        if self.links.len() <= id as usize {
            self.links.resize(id as usize + 1, Link { next: NONE, before: NONE });
        }
        debug_assert_eq!(self.links[id as usize].before, NONE, "armed twice");
        let tick = deadline.millis().div_ceil(TICK).clamp(self.cursor + 1, self.cursor + SLOTS - 1);
        let slot = (tick % SLOTS) as u32;
        let next = std::mem::replace(&mut self.heads[slot as usize], id);
        if next != NONE {
            self.links[next as usize].before = id;
        }
        self.links[id as usize] = Link { next, before: HEAD | slot };
        self.armed += 1;
    }

    /// Takes `id` out, when it is armed.
    pub(in crate::engine) fn disarm(&mut self, id: u32) {
        let Some(&Link { next, before }) = self.links.get(id as usize) else { return };
        if before == NONE {
            return;
        }
        if before & HEAD == 0 {
            self.links[before as usize].next = next;
        } else {
            self.heads[(before & !HEAD) as usize] = next;
        }
        if next != NONE {
            self.links[next as usize].before = before;
        }
        self.links[id as usize].before = NONE;
        self.armed -= 1;
    }

    /// Takes out one record that is due: the caller ends it, or arms it again.
    pub(in crate::engine) fn pop_due(&mut self, now: Instant) -> Option<u32> {
        let now = now.millis() / TICK;
        // After a long sleep one turn of the wheel sees everything.
        self.cursor = self.cursor.max(now.saturating_sub(SLOTS));
        if self.armed == 0 {
            self.cursor = self.cursor.max(now);
            return None;
        }
        loop {
            let head = self.heads[(self.cursor % SLOTS) as usize];
            if head != NONE && self.cursor <= now {
                self.disarm(head);
                return Some(head);
            }
            if self.cursor >= now {
                return None;
            }
            self.cursor += 1;
        }
    }

    /// When to look again.
    pub(in crate::engine) fn next_look(&self) -> Option<Instant> {
        if self.armed == 0 {
            return None;
        }
        let left_over = self.heads[(self.cursor % SLOTS) as usize] != NONE;
        Some(Instant::from_millis((self.cursor + u64::from(!left_over)) * TICK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_timer_ends_within_a_tick_of_its_deadline_even_beyond_the_horizon() {
        let mut wheel = Wheel::new(8, Instant::ZERO);
        let deadlines = [1, 499, 500, 501, 7_440_000, 20_000_000].map(Instant::from_millis);
        for (id, deadline) in (0..).zip(deadlines) {
            wheel.arm(id, deadline);
        }
        let mut ended = [None; 6];
        for millis in (0..21_000_000).step_by(100) {
            let now = Instant::from_millis(millis);
            while let Some(id) = wheel.pop_due(now) {
                if now < deadlines[id as usize] {
                    wheel.arm(id, deadlines[id as usize]);
                } else {
                    ended[id as usize] = Some(now);
                }
            }
        }
        for (deadline, ended) in deadlines.into_iter().zip(ended) {
            let late = (ended.expect("ended") - deadline).as_millis();
            assert!(late <= 600, "{deadline:?} ended {late} ms late");
        }
        assert_eq!(wheel.next_look(), None);
    }

    #[test]
    fn a_disarmed_timer_never_ends_wherever_it_stood_in_its_slot() {
        for victim in 0..3 {
            let mut wheel = Wheel::new(8, Instant::ZERO);
            (0..3).for_each(|id| wheel.arm(id, Instant::from_secs(1)));
            wheel.disarm(victim);
            wheel.disarm(victim);
            let mut left: Vec<_> = std::iter::from_fn(|| wheel.pop_due(Instant::from_secs(9))).collect();
            left.sort_unstable();
            assert_eq!(left, (0..3).filter(|&id| id != victim).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_sleep_longer_than_the_wheel_loses_nothing() {
        let mut wheel = Wheel::new(8, Instant::ZERO);
        wheel.arm(0, Instant::from_secs(3));
        wheel.arm(1, Instant::from_secs(8000));
        let late = Instant::from_secs(1_000_000);
        assert_eq!(std::iter::from_fn(|| wheel.pop_due(late)).count(), 2);
    }
}
