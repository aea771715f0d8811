//! A model of an AFTR that grants, releases, loses records, crashes and has its clock set; the journal is asked
//! about it, and every answer is compared with what really happened.
//!
//! `AFTR_MODEL_EVENTS=1000000 cargo test --release --lib attribution::query::model` for the large run.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::Ipv6Net;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::*;
use crate::attribution::record::{ClockChange, EndCause, GapCause, Holding, Millis, Record};
use crate::attribution::testing::Folder;
use crate::attribution::wal::Log;
use crate::attribution::{Directory, Journal};

const BLOCKS: u64 = 24;
const SUBSCRIBERS: u64 = 40;
const HOLD_DOWN: Millis = 120_000;
const DAY: Millis = 86_400_000;

/// What really happened.
struct Held {
    holding: Holding,
    block: u64,
    since: Millis,
    start: Millis,
    /// Of a crash: the latest moment that it can have been.
    end: Option<Millis>,
}

struct World {
    random: ChaCha8Rng,
    directory: Directory,
    journal: Option<Journal>,
    log: Option<Log>,
    now: Millis,
    held: Vec<Held>,
    /// When each block may be granted again.
    free_at: Vec<Millis>,
    /// Records that are lost, still.
    losing: Option<(Millis, u64)>,
    // What the answers must respect.
    holes: Vec<RangeInclusive<Millis>>,
    doubts: Vec<RangeInclusive<Millis>>,
    blind: Vec<RangeInclusive<Millis>>,
    blind_since: Option<Millis>,
    last_synced: Millis,
    /// Before this nothing is known; what was removed reached to the other.
    retained_from: Millis,
    removed_to: Millis,
    asked: [u64; 6],
}

#[test]
fn every_answer_is_what_happened_or_says_why_not() {
    let events =
        std::env::var("AFTR_MODEL_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(5_000u64);
    let folder = Folder::new("model");
    let mut asked = [0; 6];
    let worlds = events.div_ceil(10_000);
    let first = std::env::var("AFTR_MODEL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    for seed in first..first + worlds {
        println!("seed {seed}");
        let mut world = World::new(&folder.join(seed.to_string()), seed);
        for _ in 0..events / worlds {
            world.step();
        }
        for (total, one) in asked.iter_mut().zip(world.asked) {
            *total += one;
        }
        let _ = std::fs::remove_dir_all(folder.join(seed.to_string()));
    }
    println!("{events} events; unique, ambiguous, none, broad, unknown, blind: {asked:?}");
    assert!(asked.iter().all(|&count| count > 0), "each verdict came up: {asked:?}");
}

impl World {
    fn new(path: &std::path::Path, seed: u64) -> World {
        let mut world = World {
            random: ChaCha8Rng::seed_from_u64(seed),
            directory: Directory::new(path),
            journal: None,
            log: None,
            now: 1_795_262_400_000,
            held: Vec::new(),
            free_at: vec![0; BLOCKS as usize],
            losing: None,
            holes: Vec::new(),
            doubts: Vec::new(),
            blind: Vec::new(),
            blind_since: None,
            last_synced: 0,
            retained_from: 1_795_262_400_000,
            removed_to: 0,
            asked: [0; 6],
        };
        world.open();
        world
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random.next_u64() % limit
    }

    fn open(&mut self) {
        let (journal, recovered) = Journal::open(&self.directory, self.now).unwrap();
        // Blocks of lost holdings rest: nobody else gets them.
        for block in &recovered.quarantine {
            let at = (u64::from(*block.ports.start()) - 1024) / 512
                + 8 * (u64::from(block.external.octets()[3]) - 1);
            self.free_at[at as usize] = self.free_at[at as usize].max(block.until);
        }
        (self.journal, self.log) = (Some(journal), Some(recovered.log));
        self.sync();
    }

    fn write(&mut self, record: Record) {
        match &mut self.losing {
            Some((_, lost)) => *lost += 1,
            None => {
                let now = self.now;
                self.log.as_mut().unwrap().append(now, &[record]);
            }
        }
    }

    fn sync(&mut self) {
        let now = self.now;
        self.log.as_mut().unwrap().append(now, &[Record::Alive { at: now }]);
        self.log.as_mut().unwrap().sync(now).unwrap();
        self.last_synced = now;
    }

    fn step(&mut self) {
        self.now += match self.below(20) {
            0 => self.below(600_000),
            1..10 => self.below(1000),
            _ => self.below(40_000),
        };
        // An alive mark has come each second.
        match self.below(1000) {
            0..450 => self.grant(),
            450..800 => self.release(),
            800..830 => self.migrate(),
            830..836 => self.losing = self.losing.or(Some((self.now, 0))),
            836..848 => self.regain(),
            848..851 => self.crash(),
            851..853 => self.stop(),
            853..856 => self.step_clock(),
            856..859 => self.doubt_clock(),
            859..862 => self.tidy(),
            _ => {}
        }
        self.sync();
        if self.below(40) == 0 {
            self.ask_some();
        }
    }

    fn grant(&mut self) {
        let block = self.below(BLOCKS);
        if self.free_at[block as usize] > self.now {
            return;
        }
        self.free_at[block as usize] = Millis::MAX;
        let subscriber = self.below(SUBSCRIBERS) as u16;
        let first_port = 1024 + (block % 8) as u16 * 512;
        let holding = Holding {
            external: Ipv4Addr::new(198, 51, 100, 1 + (block / 8) as u8),
            first_port,
            last_port: first_port + 511,
            protocol: 0,
            b4: Ipv6Addr::new(0x2001, 0xdb8, 0xb4, subscriber, 0, 0, 0, 1),
            prefix_len: 64,
            pool_id: 1,
            instance: 0,
            internal: None,
        };
        self.write(Record::Started { at: self.now, since: self.now, holding });
        self.held.push(Held { holding, block, since: self.now, start: self.now, end: None });
    }

    fn release(&mut self) {
        let open: Vec<usize> = (0..self.held.len()).filter(|&at| self.held[at].end.is_none()).collect();
        if open.is_empty() {
            return;
        }
        let at = open[self.below(open.len() as u64) as usize];
        let held = &mut self.held[at];
        held.end = Some(self.now);
        self.free_at[held.block as usize] = self.now + HOLD_DOWN;
        let ended =
            Record::Ended { at: self.now, since: held.since, holding: held.holding, cause: EndCause::Idle };
        self.write(ended);
    }

    /// The softwire of a subscriber moves; a lost record of that changes only the B4.
    fn migrate(&mut self) {
        let open = self.held.iter().rposition(|held| held.end.is_none());
        let Some(from) = open.map(|at| self.held[at].holding.b4) else { return };
        if self.losing.is_some() {
            return;
        }
        let to = Ipv6Addr::from_bits(from.to_bits() ^ 0x10);
        self.write(Record::Moved { at: self.now, prefix_len: 64, from, to });
        let mut moved = Vec::new();
        for held in &mut self.held {
            if held.end.is_none() && held.holding.b4 == from {
                held.end = Some(self.now);
                moved.push(Held {
                    holding: Holding { b4: to, ..held.holding },
                    start: self.now,
                    end: None,
                    ..*held
                });
            }
        }
        self.held.extend(moved);
    }

    /// The journal works again: the gap is written, and now and then everything is said again.
    fn regain(&mut self) {
        if let Some((from, lost)) = self.losing.take().filter(|&(_, lost)| lost > 0) {
            self.write(Record::Gap { from, to: self.now, why: GapCause::QueueFull, lost });
            self.holes.push(from..=self.now);
            self.blind_since = Some(self.blind_since.unwrap_or(from).min(from));
        }
        if self.below(2) == 0 {
            let open: Vec<(Millis, Holding)> = self
                .held
                .iter()
                .filter(|held| held.end.is_none())
                .map(|held| (held.since, held.holding))
                .collect();
            for (since, holding) in open {
                self.write(Record::Started { at: self.now, since, holding });
            }
            self.write(Record::Complete { at: self.now });
            self.see_again();
        }
    }

    fn see_again(&mut self) {
        if let Some(since) = self.blind_since.take() {
            self.blind.push(since.min(self.now)..=self.now.max(since));
        }
    }

    fn crash(&mut self) {
        // Lost records whose gap was never told: there was no time.
        if self.losing.is_some() {
            return;
        }
        let last = self.last_synced;
        self.log = None;
        self.journal = None;
        let down = self.below(300_000);
        for held in self.held.iter_mut().filter(|held| held.end.is_none()) {
            held.end = Some(last + 1000);
        }
        self.free_at.fill(0);
        self.now = last + 1 + down;
        if last + 1000 < self.now {
            self.holes.push(last + 1000..=self.now);
        }
        self.see_again();
        self.open();
    }

    fn stop(&mut self) {
        if self.losing.is_some() {
            return;
        }
        self.write(Record::Closed { at: self.now });
        let now = self.now;
        self.log.as_mut().unwrap().sync(now).unwrap();
        for held in self.held.iter_mut().filter(|held| held.end.is_none()) {
            held.end = Some(now);
        }
        self.free_at.fill(0);
        self.see_again();
        (self.log, self.journal) = (None, None);
        self.now += 1 + self.below(3_600_000);
        self.open();
    }

    fn step_clock(&mut self) {
        if self.losing.is_some() || self.blind_since.is_some() {
            return;
        }
        self.sync();
        let before = self.now;
        let size = 100 + self.below(4_000_000);
        self.now = if self.below(2) == 0 { before + size } else { before - size };
        self.retained_from = self.retained_from.min(self.now).max(self.removed_to);
        // Hold-down runs on the monotonic clock.
        for at in self.free_at.iter_mut().filter(|at| **at != Millis::MAX) {
            *at = at.saturating_sub(before) + self.now;
        }
        let change = ClockChange::Step;
        self.write(Record::Clock { at: self.now, before, change });
        self.doubts.push(before.min(self.now)..=before.max(self.now));
    }

    fn doubt_clock(&mut self) {
        if self.losing.is_some() {
            return;
        }
        let from = self.now;
        self.write(Record::Clock { at: from, before: from, change: ClockChange::Doubtful });
        self.now += self.below(50_000);
        self.sync();
        self.write(Record::Clock { at: self.now, before: self.now, change: ClockChange::Trusted });
        self.doubts.push(from..=self.now);
    }

    fn tidy(&mut self) {
        let tidied = self.journal.as_ref().unwrap().tidy(1, self.now).unwrap();
        assert_eq!(tidied.sealing.faults, []);
        for gone in tidied.expired {
            assert!(gone.to + DAY < self.now, "{gone:?}");
            self.removed_to = self.removed_to.max(gone.to);
        }
        if self.removed_to > 0 {
            self.retained_from = Archive::open(&self.directory).unwrap().known_from();
            assert!(self.retained_from >= self.removed_to);
        }
    }

    fn ask_some(&mut self) {
        let archive = Archive::open(&self.directory).unwrap();
        assert_eq!(archive.faults(), []);
        for _ in 0..30 {
            let time = match self.below(4) {
                0 => self.now.saturating_sub(self.below(2 * DAY)),
                1 => self.now + 2000 - self.below(10_000),
                _ => {
                    let (at, is_start) = (self.below(self.held.len().max(1) as u64), self.below(2) == 0);
                    let Some(held) = self.held.get(at as usize) else { continue };
                    let edge = if is_start { held.start } else { held.end.unwrap_or(held.start) };
                    edge + 3000 - self.below(6000)
                }
            };
            let port = (self.below(10) > 0).then(|| 1000 + self.below(4200) as u16);
            let question = Question {
                address: Ipv4Addr::new(198, 51, 100, 1 + self.below(3) as u8),
                port,
                time,
                uncertainty: [0, 1000, 59_000, 300_000][self.below(4) as usize],
                protocol: None,
            };
            let answer = archive.ask(&question).unwrap();
            self.compare(&question, &answer);
        }
    }

    fn compare(&mut self, question: &Question, answer: &Answer) {
        let window = question.window();
        let context = || {
            let archive = Archive::open(&self.directory).unwrap();
            let near = |at: Millis| at.abs_diff(question.time) < 8_000_000;
            let mut text = format!("{question:?}\n{answer:#?}\n");
            for p in archive.catalogue().partitions.iter().filter(|p| near(p.from) || near(p.to)) {
                text += &format!(
                    "partition {} {}..{} from {} to {} known {}\n",
                    p.number, p.first, p.next.sequence, p.from, p.to, p.last_known
                );
            }
            for held in
                self.held.iter().filter(|held| held.holding.external == question.address && near(held.start))
            {
                text += &format!(
                    "held {:?} {} {} {:?}\n",
                    held.holding.subscriber(),
                    held.holding.first_port,
                    held.start,
                    held.end
                );
            }
            text +=
                &format!("holes {:?}\n", self.holes.iter().filter(|s| near(*s.start())).collect::<Vec<_>>());
            text += &format!(
                "doubts {:?}\n",
                self.doubts.iter().filter(|s| near(*s.start())).collect::<Vec<_>>()
            );
            text +=
                &format!("blind {:?}\n", self.blind.iter().filter(|s| near(*s.start())).collect::<Vec<_>>());
            text
        };
        let truth = self.truth(question);
        let said: BTreeSet<Ipv6Net> = answer.verdict.subscribers().iter().copied().collect();
        let number = match &answer.verdict {
            Verdict::Unique(_) => 0,
            Verdict::Ambiguous(_) => 1,
            Verdict::None => 2,
            Verdict::Broad(_) => 3,
            Verdict::Unknown(_) => 4,
        };
        self.asked[number] += 1;
        let meets = |spans: &[RangeInclusive<Millis>]| {
            spans.iter().any(|span| span.start() <= window.end() && span.end() >= window.start())
        };
        let told_gap = self.losing.is_none_or(|(from, lost)| lost == 0 || *window.end() < from);
        let is_blind = meets(&self.blind) || self.blind_since.is_some_and(|since| since <= *window.end());
        let expected = if *window.start() < self.retained_from {
            Some("before-retention")
        } else if meets(&self.holes) {
            Some("log-gap")
        } else if meets(&self.doubts) {
            Some("clock-doubt")
        } else if *window.end() > self.last_synced + 1000 {
            Some("log-gap")
        } else {
            None
        };
        match (expected, &answer.verdict) {
            (Some(expected), Verdict::Unknown(reason)) => {
                assert_eq!(reason.name(), expected, "{}", context())
            }
            (Some(expected), _) => panic!("{expected} is expected\n{}", context()),
            // Records are being lost, and nobody has told the journal yet.
            (None, _) if !told_gap => {}
            (None, Verdict::Unknown(Reason::LogGap(_))) if is_blind => self.asked[5] += 1,
            // Set back, the clock let the end of an interval expire before its start.
            (None, Verdict::Unknown(Reason::LogGap(LogGap::Unconfirmed))) if self.removed_to > 0 => {}
            (None, _) => {
                assert_eq!(said, truth, "{}", context());
                let is_several = said.len() > 1;
                let is_right = match &answer.verdict {
                    Verdict::Unique(_) | Verdict::None => !is_several,
                    Verdict::Ambiguous(_) => is_several,
                    Verdict::Broad(_) => question.port.is_none(),
                    Verdict::Unknown(_) => false,
                };
                assert!(is_right, "{}", context());
            }
        }
        // ATT-5: with hold-down no error of the asker's clock up to 59 s can name another.
        let may_be_ambiguous = question.uncertainty > 59_000;
        assert!(may_be_ambiguous || !matches!(answer.verdict, Verdict::Ambiguous(_)), "{}", context());
    }

    fn truth(&self, question: &Question) -> BTreeSet<Ipv6Net> {
        let window = question.window();
        self.held
            .iter()
            .filter(|held| {
                let end = held.end.unwrap_or(Millis::MAX);
                let ports = held.holding.first_port..=held.holding.last_port;
                held.holding.external == question.address
                    && question.port.is_none_or(|port| ports.contains(&port))
                    && held.start.min(end) <= *window.end()
                    && held.start.max(end) >= *window.start()
            })
            .map(|held| held.holding.subscriber())
            .collect()
    }
}
