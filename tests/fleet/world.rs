//! Random histories of an AFTR over days: grants, moves, lost records, crashes, clocks that are set.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use aftr::attribution::query::Question;
use aftr::attribution::seal::{Extent, seal};
use aftr::attribution::{
    ClockChange, Directory, EndCause, GapCause, Holding, Journal, Millis, Record, wal::Log,
};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// 2026-11-15T00:00:00Z
pub(crate) const START: Millis = 1_794_700_800_000;
const HOUR: Millis = 3_600_000;
const BLOCKS: u64 = 64;

pub(crate) struct World {
    pub(crate) directory: Directory,
    random: ChaCha8Rng,
    /// First group of its subscribers' prefixes behind 2001:db8.
    site: u16,
    open: Option<(Journal, Log)>,
    pub(crate) now: Millis,
    /// Since when each block is held, and by whom.
    held: Vec<Option<(Millis, Holding)>>,
    pub(crate) grants: u64,
}

impl World {
    /// A journal with `events` over about three days, all of it sealed.
    pub(crate) fn build(path: &Path, seed: u64, events: u64) -> World {
        let mut world = World {
            directory: Directory::new(path),
            random: ChaCha8Rng::seed_from_u64(seed),
            site: seed as u16,
            open: None,
            now: START,
            held: vec![None; BLOCKS as usize],
            grants: 0,
        };
        world.open();
        world.configure();
        for _ in 0..events {
            world.step(3 * 24 * HOUR / events);
        }
        world.seal();
        world
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.random.next_u64() % limit
    }

    /// Goes on for an hour and more, and seals that as well.
    pub(crate) fn go_on(&mut self) {
        self.open();
        for _ in 0..100 {
            self.grant();
            self.now += HOUR / 50;
            self.sync(&[]);
        }
        self.seal();
    }

    /// Near something that happened, or anywhere.
    pub(crate) fn question(&mut self) -> Question {
        let span = self.now - START + 4 * HOUR;
        let address = Ipv4Addr::new(198, 51, 100, (self.below(10) == 0).into());
        let own = self.below(8) == 0;
        Question {
            address: if own { Ipv4Addr::new(192, 0, 2, 1) } else { address },
            port: (self.below(12) > 0).then(|| 1000 + self.below(33_500) as u16),
            time: START - HOUR + self.below(span),
            uncertainty: [0, 1000, 60_000, HOUR / 4][self.below(4) as usize],
            protocol: (self.below(3) == 0).then_some(6),
        }
    }

    fn open(&mut self) {
        let (journal, recovered) = Journal::open(&self.directory, self.now).unwrap();
        self.open = Some((journal, recovered.log));
        self.held.fill(None);
        self.sync(&[]);
    }

    fn seal(&mut self) {
        self.sync(&[]);
        self.open = None;
        assert_eq!(seal(&self.directory, Extent::All).unwrap().faults, []);
    }

    fn sync(&mut self, records: &[Record]) {
        let now = self.now;
        let (_, log) = self.open.as_mut().unwrap();
        log.append(now, records);
        log.append(now, &[Record::Alive { at: now }]);
        log.sync(now).unwrap();
    }

    fn configure(&mut self) {
        let site = self.site;
        let text = format!(
            "[softwire]\naftr-ipv6-addr = ['2001:db8:aaaa::1']\nb4-prefixes = ['2001:db8:{site:x}::/60']\n\
             subscriber-mask-v6 = 64\n[[nat.external-ip-address-pool]]\npool-id = 1\n\
             external-ip-pool = ['192.0.2.0/30', '198.51.100.0/30']\n[nat.deterministic]\n\
             subscribers-per-address = 14\n"
        );
        let record = self.open.as_ref().unwrap().0.keep_configuration(&text, self.now).unwrap();
        self.sync(&[record]);
    }

    fn step(&mut self, mean: Millis) {
        self.now += self.below(2 * mean);
        match self.below(1000) {
            0..600 => self.grant(),
            600..970 => self.release(),
            970..980 => self.step_softwire(),
            980..982 => self.lose(),
            982..985 => self.doubt(),
            985..987 => self.set_clock(),
            987..989 => {
                // A crash, and a while without.
                self.open = None;
                self.now += self.below(400_000);
                self.open();
            }
            _ => drop(self.open.as_ref().unwrap().0.tidy(180, self.now).unwrap()),
        }
    }

    fn grant(&mut self) {
        let block = self.below(BLOCKS);
        if self.held[block as usize].is_some() {
            return;
        }
        let first_port = 1024 + (block % 126) as u16 * 512;
        let home = self.below(500) as u16;
        let is_mapping = self.below(10) == 0;
        let holding = Holding {
            external: Ipv4Addr::new(198, 51, 100, (block / 126) as u8),
            first_port,
            last_port: first_port + 511,
            protocol: if is_mapping { 17 } else { 0 },
            b4: Ipv6Addr::new(0x2001, 0xdb8, self.site, home, 0, 0, 0, 1),
            prefix_len: 64,
            pool_id: 1,
            instance: (block % 4) as u16,
            internal: is_mapping.then(|| "192.168.1.77:5060".parse().unwrap()),
        };
        self.held[block as usize] = Some((self.now, holding));
        self.grants += 1;
        self.sync(&[Record::Started { at: self.now, since: self.now, holding }]);
    }

    fn release(&mut self) {
        let block = self.below(BLOCKS) as usize;
        if let Some((since, holding)) = self.held[block].take() {
            self.sync(&[Record::Ended { at: self.now, since, holding, cause: EndCause::Idle }]);
        }
    }

    fn step_softwire(&mut self) {
        let block = self.below(BLOCKS) as usize;
        let Some((_, holding)) = self.held[block] else { return };
        let (from, to) = (holding.b4, Ipv6Addr::from_bits(holding.b4.to_bits() ^ 0x10));
        for (_, holding) in self.held.iter_mut().flatten().filter(|(_, holding)| holding.b4 == from) {
            holding.b4 = to;
        }
        self.sync(&[Record::Moved { at: self.now, prefix_len: 64, from, to }]);
    }

    /// A gap; after most of them everything is said again.
    fn lose(&mut self) {
        let from = self.now;
        self.now += self.below(60_000);
        let mut records = vec![Record::Gap { from, to: self.now, why: GapCause::QueueFull, lost: 3 }];
        if self.below(6) > 0 {
            let at = self.now;
            let again = |&(since, holding): &(Millis, Holding)| Record::Started { at, since, holding };
            records.extend(self.held.iter().flatten().map(again));
            records.push(Record::Complete { at });
        }
        self.sync(&records);
    }

    fn doubt(&mut self) {
        let clock = |at, change| Record::Clock { at, before: at, change };
        self.sync(&[clock(self.now, ClockChange::Doubtful)]);
        self.now += self.below(100_000);
        self.sync(&[clock(self.now, ClockChange::Trusted)]);
    }

    fn set_clock(&mut self) {
        let before = self.now;
        let size = self.below(HOUR / 2);
        self.now = if self.below(2) == 0 { before + size } else { before - size };
        self.sync(&[Record::Clock { at: self.now, before, change: ClockChange::Step }]);
    }
}
