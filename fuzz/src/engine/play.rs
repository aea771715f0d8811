//! Plays a story, and plays it again.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use aftr::engine::{Instant, Seed, Team, TtlBy, Verdict};
use aftr::wire::{Packet, Side};
use aftr_config::Config;
use ipnet::Ipv6Net;

use super::errors::{Sayings, judge_error};
use super::judge::{self, Fate};
use super::ledger::{Ledger, is_external};
use super::narrow::Narrow;
use super::paths::judge_path;
use super::recipe::{self, Known, Seen};
use super::scenes;
use super::story::{Recipe, Step, Story};
use super::view::{V4, V6};

/// A story, as bytes. With `STORY` in the environment, each step is told.
pub fn engine(data: &[u8]) {
    let story = Story::read(data);
    let first = Player::new(&story, false).play(&story);
    // INV-9, and a batch is judged like its packets.
    if data.len().is_multiple_of(4) {
        let second = Player::new(&story, true).play(&story);
        assert_eq!(first, second, "the same story came out differently");
    }
}

struct Player {
    aftr: Team,
    config: &'static Config,
    family: u8,
    now: Instant,
    seen: Seen,
    ledger: Ledger,
    sayings: Sayings,
    narrow: Narrow,
    kernel_ttl: bool,
    /// Packets go in as batches, and nothing is judged again.
    is_echo: bool,
    digest: DefaultHasher,
    tells: bool,
}

const HALF_DAY: u64 = 43_200_000;
/// Calls of the engine in time; a longer wait goes on in leaps.
const MOST_CALLS: usize = 512;
const FLOWS_KEPT: usize = 12;

impl Player {
    fn new(story: &Story, is_echo: bool) -> Player {
        let config = scenes::config(story.scene.0, story.scene.1);
        let ttl = if story.kernel_ttl { TtlBy::Kernel } else { TtlBy::Engine };
        // The engine keeps some times in 32 bits of milliseconds: some stories start before these wrap.
        let start = if story.start % 4 == 3 { u64::from(u32::MAX) - 30_000 } else { 100_000_000 };
        let now = Instant::from_millis(start + u64::from(story.start) * 100);
        Player {
            aftr: Team::new(config, ttl, &Seed::from_number(story.start.into()), now),
            config,
            family: story.scene.0,
            now,
            seen: Seen::default(),
            ledger: Ledger::default(),
            sayings: Sayings::default(),
            narrow: Narrow::default(),
            kernel_ttl: story.kernel_ttl,
            is_echo,
            digest: DefaultHasher::new(),
            tells: !is_echo && std::env::var_os("STORY").is_some(),
        }
    }

    fn play(mut self, story: &Story) -> u64 {
        self.after(None);
        for step in &story.steps {
            if self.tells {
                eprintln!("{:?}: {step:02x?}", self.now);
            }
            match step {
                Step::Raw { from_b4, bytes } => {
                    self.send(bytes, if *from_b4 { Side::B4 } else { Side::Internet });
                }
                Step::Packet(recipe) => self.send_cooked(recipe),
                Step::Pieces { recipe, outer, unit, order } => {
                    let side = if recipe.from_b4 { Side::B4 } else { Side::Internet };
                    let (whole, pieces) = recipe.cook_pieces(&self.seen, *outer, *unit, *order);
                    // Pieces of another datagram may wait under the same identification.
                    let gauges = self.aftr.gauges();
                    let is_alone = gauges.reassembling + gauges.fragmented == 0;
                    let left: Vec<_> = pieces.iter().flat_map(|piece| self.send(piece, side)).collect();
                    if !self.is_echo && is_alone && recipe.edits.is_empty() {
                        judge::judge_pieces(&whole, &left);
                    }
                }
                Step::Burst { recipe, count, by } => self.burst(recipe.clone(), *count, *by),
                Step::Wait { millis, late } => self.wait(*millis, *late),
                Step::Configure { family, variant } => {
                    self.configure(family.unwrap_or(self.family), *variant)
                }
                Step::Purge { b4, length } => self.purge(*b4, *length),
            }
        }
        // In leaps, because the engine looks twice a second while anything waits: the short timers, what they
        // leave behind, the longest timer, what that leaves behind, and days.
        for seconds in [700, 300, 300, 8000, 300, 300, 260_000] {
            self.wait(seconds * 1000, true);
        }
        self.at_the_end();
        self.digest.finish()
    }

    fn send_cooked(&mut self, recipe: &Recipe) {
        let bytes = recipe.cook(&self.seen);
        self.send(&bytes, if recipe.from_b4 { Side::B4 } else { Side::Internet });
    }

    fn burst(&mut self, mut recipe: Recipe, count: u8, by: u8) {
        for _ in 0..count {
            self.send_cooked(&recipe);
            match by & 3 {
                0 => recipe.port = recipe.port.wrapping_add(1),
                1 => recipe.b4 = recipe.b4.wrapping_add(1),
                2 => recipe.nth = (recipe.nth + 1) & 7,
                _ => {}
            }
        }
    }

    /// Gives what went on.
    fn send(&mut self, bytes: &[u8], side: Side) -> Vec<(Vec<u8>, Side)> {
        let mut packet = Packet::copied_from(bytes, side);
        let mut verdict = [Verdict::Hold];
        let handed_over = self.aftr.counters().from_workers.packets;
        if self.is_echo {
            self.aftr.process(std::slice::from_mut(&mut packet), &mut verdict, self.now);
        } else {
            verdict[0] = self.aftr.packet(&mut packet, self.now);
        }
        let [verdict] = verdict;
        let (came, accounted) = judge::balance(&self.aftr.counters());
        assert_eq!(came, accounted, "INV-7: {verdict:?}");
        format!("{verdict:?}").hash(&mut self.digest);
        let mut left = Vec::new();
        if let Some(side) = verdict.leaves_to(side) {
            left.push((packet.bytes().to_vec(), side));
        }
        self.drain(&mut left);
        self.learn(&left, verdict);
        if self.tells {
            eprintln!("  {side:?} {bytes:02x?}\n  {verdict:?}");
            left.iter().for_each(|(bytes, side)| eprintln!("    {side:?} {bytes:02x?}"));
        }
        let fate = Fate { came: bytes, side, verdict, left: &left };
        // What becomes of a call to another worker's home is not the verdict on its packet.
        let crossed = self.aftr.counters().from_workers.packets != handed_over;
        if crossed && !self.is_echo {
            judge::judge_all(&left, self.config, None);
        } else if !self.is_echo {
            judge::judge(&fate, self.config, self.kernel_ttl);
        }
        self.after(Some(verdict));
        if !self.is_echo && !crossed {
            judge_path(&fate, &self.ledger, self.config);
            judge_error(&fate, &self.ledger);
            self.note(Some(&fate), fate.left);
            if let (Some(reason), Some(outer)) = (verdict.drop_reason(), V6::read(bytes)) {
                self.ledger.refused(&self.aftr, self.config, outer.source(), reason);
            }
        }
        self.narrow.forget(&self.aftr);
        let is_own = matches!(verdict, Verdict::Reply | Verdict::Reject(_));
        if is_own { Vec::new() } else { left }
    }

    /// What this or that is judged by later.
    fn note(&mut self, fate: Option<&Fate<'_>>, left: &[(Vec<u8>, Side)]) {
        self.sayings.note(fate, left, self.config, self.now);
        self.narrow.note(fate, left, &self.ledger, self.config, self.now);
        let Some(fate) = fate.filter(|fate| (fate.side, fate.verdict) == (Side::B4, Verdict::ToInternet))
        else {
            return;
        };
        for packet in left.iter().filter_map(|(bytes, _)| V4::read(bytes)) {
            let is_front = !packet.is_later_piece() && !is_external(self.config, packet.source());
            if let Some((internal, remote)) = packet.ends().filter(|_| is_front) {
                let b4 = V6::read(fate.came).expect("from a B4").source();
                self.ledger.passes(packet.protocol(), internal, remote, b4);
            }
        }
    }

    fn drain(&mut self, left: &mut Vec<(Vec<u8>, Side)>) {
        left.extend(
            std::iter::from_fn(|| self.aftr.poll_packet())
                .map(|(packet, side)| (packet.bytes().to_vec(), side)),
        );
        left.iter().for_each(|(bytes, side)| (bytes, side).hash(&mut self.digest));
    }

    fn learn(&mut self, left: &[(Vec<u8>, Side)], verdict: Verdict) {
        let Some((bytes, side)) = left.first() else { return };
        if *side == Side::B4 {
            self.seen.to_b4 = bytes.clone();
        } else if verdict == Verdict::ToInternet
            && let Some(packet) = V4::read(bytes)
            && let Some((external, remote)) = packet.ends()
        {
            let known = Known { protocol: packet.protocol(), external, remote };
            self.seen.known.retain(|other| (other.protocol, other.external) != (known.protocol, external));
            self.seen.known.push(known);
            if self.seen.known.len() > FLOWS_KEPT {
                self.seen.known.remove(0);
            }
        }
    }

    fn wait(&mut self, millis: u64, late: bool) {
        let end = self.now + Duration::from_millis(millis);
        let mut calls = 0;
        while let Some(due) = self.aftr.poll_timeout().filter(|&due| due <= end) {
            let is_late = late || calls > MOST_CALLS;
            let wake = if is_late { end.min(self.now + Duration::from_millis(HALF_DAY)) } else { due };
            self.now = self.now.max(due).max(wake);
            self.work();
            calls += 1;
        }
        self.now = end;
        let (came, accounted) = judge::balance(&self.aftr.counters());
        assert_eq!(came, accounted, "INV-7: time");
        self.after(None);
    }

    /// Calls the engine until it asks for a later time.
    fn work(&mut self) {
        for round in 0.. {
            assert!(round < 100, "it asks for {:?} at {:?} for ever", self.aftr.poll_timeout(), self.now);
            self.aftr.handle_timeout(self.now);
            let mut left = Vec::new();
            self.drain(&mut left);
            if !self.is_echo && !left.is_empty() {
                judge::judge_all(&left, self.config, None);
                self.note(None, &left);
            }
            self.fetch_events();
            self.narrow.forget(&self.aftr);
            if self.aftr.poll_timeout().is_none_or(|due| due > self.now) {
                break;
            }
        }
    }

    fn configure(&mut self, family: u8, variant: u8) {
        let config = scenes::config(family, variant);
        let before = self.aftr.gauges();
        match self.aftr.reconfigure(config, self.now) {
            Ok(()) => {
                self.config = config;
                self.ledger.reconfigured(config);
                self.sayings.reconfigured();
            }
            Err(keys) => assert!(!keys.is_empty() && self.aftr.gauges() == before),
        }
        self.after(None);
    }

    fn purge(&mut self, b4: u8, length: u8) {
        let prefix = Ipv6Net::new_assert(recipe::b4(b4), length).trunc();
        let before = self.aftr.gauges().mappings;
        let ended = self.aftr.purge(prefix, self.now);
        assert_eq!(self.aftr.gauges().mappings + ended, before);
        assert!(
            !self.aftr.mappings(self.now).any(|view| prefix.contains(&view.b4)),
            "not all of {prefix} ended"
        );
        self.after(None);
        self.narrow.forget(&self.aftr);
    }

    /// Nothing may be left in the way of the next step.
    fn after(&mut self, verdict: Option<Verdict>) {
        self.fetch_events();
        if !self.is_echo {
            // A dropped packet changes nothing that could be seen here: the tables were compared before it.
            let is_quiet = verdict.is_some_and(|verdict| matches!(verdict, Verdict::Drop(_)));
            if !is_quiet {
                self.ledger.compare(&self.aftr, self.config, self.now);
            }
        }
    }

    fn fetch_events(&mut self) {
        while let Some(event) = self.aftr.poll_event() {
            if self.tells {
                eprintln!("  {event:?}");
            }
            format!("{event:?}").hash(&mut self.digest);
            self.ledger.note(event, self.now, self.config);
        }
    }

    /// Days after the last packet, only what was configured is left.
    fn at_the_end(&self) {
        let gauges = self.aftr.gauges();
        let statics = self.aftr.mappings(self.now).filter(|view| view.is_static).count();
        assert_eq!(
            (gauges.mappings, gauges.sessions, gauges.reassembling, gauges.fragmented),
            (statics, 0, 0, 0),
            "{gauges:?}"
        );
        let holders = self.aftr.subscribers().filter(|view| view.mappings.iter().sum::<u32>() > 0).count();
        assert_eq!(gauges.subscribers, holders, "subscribers that hold nothing: {gauges:?}");
        assert_eq!(self.aftr.poll_timeout(), None, "nothing is left, and something is waited for");
        self.ledger.at_the_end();
    }
}
