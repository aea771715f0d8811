//! A journal with its one writer: opened after whatever happened, kept tidy, and told the configuration.

use std::fs::{self, File};
use std::io::{self, Write};

use super::digest::Digest;
use super::directory::Directory;
use super::ledger::Interval;
use super::record::{Millis, Record};
use super::seal::{Catalogue, Extent, Partition, Sealing, ended_lately, expire, seal, sealed_state};
use super::wal::{Block, QUARANTINE, Recovered, recover};

const DAY: Millis = 86_400_000;
/// An end by a crash is known to the second (ATT-2).
const CRASH: Millis = 1000;

/// A journal that this process alone writes.
#[derive(Debug)]
pub struct Journal {
    directory: Directory,
    /// Held for as long as this lives.
    _lock: File,
}

/// What was done to keep a journal tidy.
#[derive(Debug, Default)]
pub struct Tidied {
    /// What was sealed.
    pub sealing: Sealing,
    /// What is gone.
    pub expired: Vec<Partition>,
}

impl Journal {
    /// Opens or makes the journal and recovers it. The log goes to a
    /// [`Writer`](super::wal::Writer), the quarantine to the engine.
    ///
    /// # Errors
    /// Another writer, a directory that cannot be written, or a catalogue that is damaged.
    pub fn open(directory: &Directory, now: Millis) -> io::Result<(Journal, Recovered)> {
        let lock = directory.lock()?;
        let catalogue = Catalogue::read(&directory.catalogue())?;
        if let Some(bad) = catalogue.bad {
            let why = format!("the catalogue {} is damaged, {bad}", directory.catalogue().display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let sealed = sealed_state(directory, &catalogue)?;
        let mut recovered = recover(&directory.wal(), &directory.aside(), &sealed, now)?;
        // What ended a minute ago may be sealed already.
        let since = recovered.last_known.saturating_sub(QUARANTINE + CRASH);
        let ended = ended_lately(directory, &catalogue, since)?;
        if !ended.is_empty() {
            recovered.quarantine.extend(ended.iter().map(|interval| resting(interval, now)));
            recovered
                .quarantine
                .sort_unstable_by_key(|block| (block.external, *block.ports.start(), *block.ports.end()));
            recovered.quarantine.dedup();
        }
        Ok((Journal { directory: directory.clone(), _lock: lock }, recovered))
    }

    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Keeps the text of a configuration for as long as the journal; gives the record that names it, which is to be
    /// written when the configuration takes effect and once a day (RFC 7422 section 3).
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn keep_configuration(&self, text: &str, at: Millis) -> io::Result<Record> {
        let digest = Digest::of(&[text.as_bytes()]);
        let path = self.directory.configuration(digest);
        if !path.exists() {
            let unfinished = path.with_extension("unfinished");
            let mut file = File::create(&unfinished)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            File::open(path.parent().unwrap_or(self.directory.path()))?.sync_all()?;
        }
        Ok(Record::Configuration { at, digest: digest.0 })
    }

    /// Seals what is finished and removes what is older than the retention time. To be called every minute or
    /// so, from a thread that may wait for the disk.
    ///
    /// # Errors
    /// Files that cannot be read or written; nothing is lost, the next call tries again.
    pub fn tidy(&self, retention_days: u32, now: Millis) -> io::Result<Tidied> {
        let sealing = seal(&self.directory, Extent::Finished)?;
        let horizon = now.saturating_sub(Millis::from(retention_days) * DAY);
        Ok(Tidied { sealing, expired: expire(&self.directory, horizon, now)? })
    }
}

fn resting(interval: &Interval, now: Millis) -> Block {
    let holding = &interval.holding;
    let ports = holding.first_port..=holding.last_port;
    Block { external: holding.external, ports, until: now + QUARANTINE }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::record::EndCause;
    use crate::attribution::testing::{Folder, holding};

    /// DP REQ-8-crash: an hour ends between two crashes, and its records are sealed.
    #[test]
    fn ports_rest_across_lives_and_sealing() {
        const HOUR: Millis = 1_000 * 3_600_000;
        let folder = Folder::new("rest-sealed");
        let directory = Directory::new(&folder);
        let started = |at, number| Record::Started { at, since: at, holding: holding(number) };
        let write = |recovered: &mut Recovered, at: Millis, records: &[Record]| {
            recovered.log.append(at, records);
            recovered.log.sync(at).unwrap();
        };
        let long_ago = HOUR - 600_000;
        let (first, mut recovered) = Journal::open(&directory, long_ago).unwrap();
        let ended = |at, number| Record::Ended {
            at,
            since: long_ago,
            holding: holding(number),
            cause: EndCause::Idle,
        };
        write(&mut recovered, long_ago, &[started(long_ago, 1), started(long_ago, 2), started(long_ago, 3)]);
        write(&mut recovered, long_ago + 1000, &[ended(long_ago + 1000, 1)]);
        write(&mut recovered, HOUR - 10_000, &[ended(HOUR - 10_000, 2)]);
        drop((first, recovered));
        let (second, mut recovered) = Journal::open(&directory, HOUR - 5000).unwrap();
        write(&mut recovered, HOUR - 4000, &[Record::Alive { at: HOUR - 4000 }]);
        write(&mut recovered, HOUR + 1000, &[Record::Alive { at: HOUR + 1000 }]);
        assert_eq!(second.tidy(180, HOUR + 60_000).unwrap().sealing.partitions.len(), 1);
        write(&mut recovered, HOUR + 60_000, &[Record::Alive { at: HOUR + 60_000 }]);
        drop((second, recovered));
        let (_, recovered) = Journal::open(&directory, HOUR + 61_000).unwrap();
        let resting: Vec<u16> = recovered.quarantine.iter().map(|block| *block.ports.start()).collect();
        assert_eq!(resting, [holding(2).first_port, holding(3).first_port], "{:?}", recovered.quarantine);
    }
}
