//! A journal as it is read: what is sealed and what is recent, as of one moment.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::rc::Rc;

use aftr_config::Config;

use super::answer::{Answer, Evidence, LogGap, Place};
use super::judge::judge;
use super::marks::{Began, Hole};
use super::question::Question;
use super::recent::Recent;
use super::source::{Found, Marks, Shelved, Source, gather, latest_of_each, time_around};
use crate::attribution::digest::Digest;
use crate::attribution::directory::Directory;
use crate::attribution::ledger::Interval;
use crate::attribution::record::{GapCause, Millis};
use crate::attribution::seal::{Catalogue, Partition, Table, check_file, read_marks, sealed_state};
use crate::attribution::wal::{Fault, Position};
use crate::engine::own_range;

/// Partitions that stay open between questions.
const OPEN_TABLES: usize = 64;

/// A journal to ask.
pub struct Archive {
    directory: Directory,
    catalogue: Catalogue,
    recent: Recent,
    tables: RefCell<VecDeque<(u64, Rc<Table>)>>,
}

/// An own range, and the configuration that it follows from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnRange {
    /// External address.
    pub address: Ipv4Addr,
    /// Ports.
    pub ports: RangeInclusive<u16>,
    /// SHA-256 of the configuration's text.
    pub configuration: Digest,
}

impl Archive {
    /// Reads the catalogue and the log; a writer may be at work.
    ///
    /// # Errors
    /// Files that cannot be read, or a directory that is no journal.
    pub fn open(directory: &Directory) -> io::Result<Archive> {
        loop {
            let catalogue = Catalogue::read(&directory.catalogue())?;
            if catalogue.last().is_none() && !directory.wal().is_dir() {
                let why = format!("{} is no journal", directory.path().display());
                return Err(io::Error::new(io::ErrorKind::NotFound, why));
            }
            if let Some(bad) = &catalogue.bad {
                let why = format!("the catalogue is damaged, {bad}: `aftr journal verify` says more");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            let sealed = match sealed_state(directory, &catalogue) {
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && has_changed(directory, &catalogue)? =>
                {
                    continue;
                }
                sealed => sealed?,
            };
            let recent = Recent::read(&directory.wal(), &sealed)?;
            // What was sealed meanwhile was perhaps no longer in the log, and not yet in our catalogue.
            if !has_changed(directory, &catalogue)? {
                let tables = RefCell::default();
                return Ok(Archive { directory: directory.clone(), catalogue, recent, tables });
            }
        }
    }

    /// Sealed partitions.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Intervals that are not sealed yet.
    #[must_use]
    pub fn recent(&self) -> &[Interval] {
        self.recent.rows()
    }

    /// What is wrong in the log.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.recent.faults
    }

    /// Where the log ends.
    #[must_use]
    pub fn end(&self) -> Position {
        self.recent.end
    }

    /// The last sign of life; nothing in a journal without a record.
    #[must_use]
    pub fn known_until(&self) -> Option<Millis> {
        self.recent.to.or(self.catalogue.last().map(|partition| partition.last_known))
    }

    /// Nothing is known from before.
    #[must_use]
    pub fn known_from(&self) -> Millis {
        // Not that of the first alone: the clock may have been set back behind it.
        let partitions = self.catalogue.partitions.iter().map(|partition| partition.from);
        let first = partitions.fold(self.recent.from, Millis::min);
        first.max(self.catalogue.expired_to.unwrap_or(0))
    }

    /// Answers a question. It never guesses: what the journal does not prove is not said.
    ///
    /// # Errors
    /// A partition that cannot be read.
    pub fn ask(&self, question: &Question) -> io::Result<Answer> {
        judge(self, question)
    }

    /// Every interval of a partition.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn rows_of(&self, partition: &Partition) -> io::Result<Vec<Interval>> {
        self.table(partition)?.all()
    }

    /// The own range of a B4 at a time, by each configuration that held within a second of it (RFC 7422).
    ///
    /// # Errors
    /// A partition that cannot be read.
    pub fn own_ranges(&self, b4: Ipv6Addr, time: Millis) -> io::Result<Vec<OwnRange>> {
        let window = time.saturating_sub(1000)..=time.saturating_add(1000);
        let spans = self.find(0, &(0..=0), &window)?.spans;
        let range = |digest: Digest| {
            let (address, ports) = own_range(&self.configuration(digest)?, b4)?;
            Some(OwnRange { address, ports, configuration: digest })
        };
        Ok(spans.configurations_in(&window).into_iter().filter_map(range).collect())
    }

    fn shelf(&self) -> impl Iterator<Item = Shelved<'_>> {
        let partitions = &self.catalogue.partitions;
        (0..partitions.len()).map(|at| {
            let before = at.checked_sub(1).map(|at| &partitions[at]).or(self.catalogue.expired.as_ref());
            Shelved {
                partition: &partitions[at],
                began: before.map(Began::behind).unwrap_or_default(),
                successor_is_gone: self.successor_is_gone(at),
            }
        })
    }

    /// Whether the partition behind this one is removed, and this one not.
    fn successor_is_gone(&self, at: usize) -> bool {
        let next = self.catalogue.partitions[at].next.sequence;
        let last = self.catalogue.last().map_or(next, |last| last.next.sequence);
        match self.catalogue.partitions.get(at + 1) {
            Some(successor) => successor.first != next,
            None => last != next,
        }
    }

    fn content(
        &self,
        partition: &Partition,
        external: u32,
        ports: &RangeInclusive<u16>,
        time: &RangeInclusive<Millis>,
    ) -> io::Result<(Vec<Interval>, Marks)> {
        let found = self.table(partition)?.find(external, ports, time)?;
        let path = self.directory.marks(&partition.name);
        check_file(&path, partition.marks_hash)?;
        Ok((found, read_marks(&path)?))
    }

    fn table(&self, partition: &Partition) -> io::Result<Rc<Table>> {
        let mut tables = self.tables.borrow_mut();
        if let Some((_, table)) = tables.iter().find(|(number, _)| *number == partition.number) {
            return Ok(Rc::clone(table));
        }
        let path = self.directory.intervals(&partition.name);
        check_file(&path, partition.intervals_hash)?;
        let table = Rc::new(Table::open(&path)?);
        tables.push_back((partition.number, Rc::clone(&table)));
        if tables.len() > OPEN_TABLES {
            tables.pop_front();
        }
        Ok(table)
    }
}

impl Source for Archive {
    fn find(
        &self,
        external: u32,
        ports: &RangeInclusive<u16>,
        window: &RangeInclusive<Millis>,
    ) -> io::Result<Found> {
        let mut found = gather(
            self.shelf(),
            window,
            Hole::Gap(GapCause::Checksum),
            |partition, time| self.content(partition, external, ports, time),
            |partition| Place::Partition {
                name: partition.name.clone(),
                hash: partition.intervals_hash,
                aftr: None,
            },
        )?;
        let time = &time_around(window);
        if self.recent.from <= *time.end() {
            let place = Place::Log(self.recent.end.chain);
            let rows = self.recent.find(external, ports, time);
            found.evidence.extend(rows.map(|&interval| Evidence { interval, place: place.clone() }));
            let to = self.recent.to.unwrap_or(self.recent.from);
            found.spans.add(&self.recent.marks, (self.recent.from, to), self.recent.began);
        }
        found.evidence = latest_of_each(found.evidence);
        Ok(found)
    }

    fn known_until(&self) -> Option<Millis> {
        self.known_until()
    }

    fn known_from(&self) -> Millis {
        self.known_from()
    }

    fn missing_behind(&self) -> LogGap {
        LogGap::End
    }

    fn configuration(&self, digest: Digest) -> Option<Config> {
        let text = fs::read_to_string(self.directory.configuration(digest)).ok()?;
        if Digest::of(&[text.as_bytes()]) == digest { Config::parse(&text).ok() } else { None }
    }
}

fn has_changed(directory: &Directory, catalogue: &Catalogue) -> io::Result<bool> {
    let now = Catalogue::read(&directory.catalogue())?;
    Ok(now.partitions.len() != catalogue.partitions.len() || now.last() != catalogue.last())
}
