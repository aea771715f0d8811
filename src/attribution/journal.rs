//! A journal with its one writer: opened after whatever happened, kept tidy, and told the configuration.

use std::fs::{self, File};
use std::io::{self, Write};

use super::digest::Digest;
use super::directory::Directory;
use super::record::{Millis, Record};
use super::seal::{Catalogue, Extent, Partition, Sealing, expire, seal, sealed_state};
use super::wal::{Recovered, recover};

const DAY: Millis = 86_400_000;

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
        let recovered = recover(&directory.wal(), &directory.aside(), &sealed, now)?;
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
