//! Records on disk while a collector is away: files of RFC 5655, each one valid session of IPFIX with its
//! templates first, whatever the collector speaks. The oldest are read first.
//!
//! When the caps are reached the least dear records go first, out of the oldest file that has any; only when
//! there are grants alone does the oldest file go. Records count as kept when they are on the disk: one sync for
//! all that were written together.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use aftr_config::{Format, Log};

use super::decode;
use super::loss::Loss;
use super::message::{Encoder, MOST_OCTETS};
use super::record::{Class, Record};
use super::time::Now;

/// A file that is longer is closed.
const FILE_OCTETS: u64 = 4 << 20;
/// Number of the first file of an empty directory: there is room before it.
const FIRST: u64 = 1 << 32;

/// The spool of one target.
pub(super) struct Spool {
    directory: PathBuf,
    domain: u32,
    most_octets: u64,
    most_millis: u64,
    /// The oldest first; the last one may be open.
    files: VecDeque<Spooled>,
    /// Files that were read and are not known to have arrived.
    handed_out: Vec<Spooled>,
    open: Option<(File, Encoder)>,
    pub(super) loss: Loss,
}

struct Spooled {
    number: u64,
    octets: u64,
    /// By class; of a file of an earlier run, none until somebody needs it.
    records: Option<[u64; 3]>,
    /// When the last record was written, by the wall clock.
    written: u64,
}

impl Spool {
    /// Opens the spool in a directory, which is made when it is not there. What is in it is kept.
    pub(super) fn open(config: &aftr_config::Spool, domain: u32, now: Now) -> io::Result<Spool> {
        fs::create_dir_all(&config.directory)?;
        let mut spool = Spool {
            directory: config.directory.clone(),
            domain,
            most_octets: config.most_octets,
            most_millis: u64::from(config.most_hours) * 3_600_000,
            files: VecDeque::new(),
            handed_out: Vec::new(),
            open: None,
            loss: Loss::default(),
        };
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&config.directory)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".ipfix"));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        for number in numbers {
            let about = fs::metadata(spool.path(number))?;
            let written = about.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            let written = written.map_or(now.unix_millis, |since| since.as_millis() as u64);
            spool.files.push_back(Spooled { number, octets: about.len(), records: None, written });
        }
        Ok(spool)
    }

    /// Writes records behind all others.
    ///
    /// # Errors
    /// As the file system says; none of the records is in the spool then.
    pub(super) fn append(&mut self, records: &[Record], now: Now) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let begun = if self.open.is_none() { Some(self.begin(self.next_number(), now)?) } else { None };
        if let Some((spooled, file)) = begun {
            self.files.push_back(spooled);
            self.open = Some(file);
        }
        let Some((file, encoder)) = self.open.as_mut() else { return Ok(()) };
        let octets = encoded(encoder, records, now);
        if let Err(error) = file.write_all(&octets).and_then(|()| file.sync_data()) {
            self.give_up_open_file();
            return Err(error);
        }
        if let Some(last) = self.files.back_mut() {
            last.octets += octets.len() as u64;
            last.written = now.unix_millis;
            count_into(last.records.get_or_insert_default(), records);
            if last.octets >= FILE_OCTETS {
                self.open = None;
            }
        }
        self.keep_caps(now);
        Ok(())
    }

    /// Writes records before all others: they are older.
    pub(super) fn prepend(&mut self, records: &[Record], now: Now) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let known = self.files.iter().chain(&self.handed_out).map(|file| file.number).min();
        let number = known.map_or(FIRST, |number| number - 1);
        let (mut spooled, (mut file, mut encoder)) = self.begin(number, now)?;
        let octets = encoded(&mut encoder, records, now);
        if let Err(error) = file.write_all(&octets).and_then(|()| file.sync_data()) {
            let _ = fs::remove_file(self.path(number));
            return Err(error);
        }
        spooled.octets += octets.len() as u64;
        spooled.records = Some(count(records));
        if self.files.is_empty() {
            self.open = None;
        }
        self.files.push_front(spooled);
        Ok(())
    }

    /// The oldest file's number and records. It stays on disk until [`Spool::release`].
    pub(super) fn next(&mut self) -> Option<(u64, Vec<Record>)> {
        let oldest = self.files.pop_front()?;
        if self.files.is_empty() {
            self.open = None;
        }
        let number = oldest.number;
        // A file that cannot be read has lost what it held.
        let records = self.read(number).unwrap_or_else(|_| {
            self.count_lost(&oldest, oldest.written);
            Vec::new()
        });
        self.handed_out.push(oldest);
        Some((number, records))
    }

    /// What was in the file has arrived.
    pub(super) fn release(&mut self, number: u64) {
        self.handed_out.retain(|file| file.number != number);
        let _ = fs::remove_file(self.path(number));
    }

    /// Whether every file was handed out.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Octets on disk.
    pub(super) fn octets(&self) -> u64 {
        self.files.iter().chain(&self.handed_out).map(|file| file.octets).sum()
    }

    /// Gives up what is too old, and what is too much.
    pub(super) fn keep_caps(&mut self, now: Now) {
        let oldest = now.unix_millis.saturating_sub(self.most_millis);
        while self.files.front().is_some_and(|file| file.written < oldest) {
            self.drop_oldest(now);
        }
        while self.octets() > self.most_octets && !self.files.is_empty() {
            if !self.thin(Class::Notice, now) && !self.thin(Class::Mapping, now) {
                self.drop_oldest(now);
            }
        }
    }

    /// Writes the oldest file that has records of a class anew without them; says whether there was one.
    fn thin(&mut self, class: Class, now: Now) -> bool {
        let mut places = 0..self.files.len();
        let Some(at) = places.find(|&at| self.counted(at)[class as usize] > 0) else { return false };
        if at + 1 == self.files.len() {
            self.open = None;
        }
        let (number, last_written) = (self.files[at].number, self.files[at].written);
        let path = self.path(number);
        let Ok(mut records) = self.read(number) else { return false };
        let before = records.len();
        records.retain(|record| record.class() != class);
        let lost = (before - records.len()) as u64;
        let mut encoder = self.encoder();
        let mut thinned = encoder.templates(Log::Mappings, now).concat();
        thinned.extend(encoded(&mut encoder, &records, now));
        let anew = path.with_extension("anew");
        let written = write_synced(&anew, &thinned).and_then(|()| fs::rename(&anew, &path));
        if written.and_then(|()| self.sync_directory()).is_err() {
            return false;
        }
        let octets = thinned.len() as u64;
        self.files[at] = Spooled { number, octets, records: Some(count(&records)), written: last_written };
        self.loss.count_class(class, lost, now.unix_millis);
        if records.is_empty() {
            self.files.remove(at);
            let _ = fs::remove_file(path);
        }
        true
    }

    fn drop_oldest(&mut self, now: Now) {
        let Some(oldest) = self.files.pop_front() else { return };
        if self.files.is_empty() {
            self.open = None;
        }
        self.count_lost(&oldest, now.unix_millis);
        let _ = fs::remove_file(self.path(oldest.number));
    }

    fn count_lost(&mut self, file: &Spooled, unix_millis: u64) {
        let counts = self.count_of(file);
        for class in Class::ALL {
            self.loss.count_class(class, counts[class as usize], unix_millis);
        }
    }

    fn counted(&mut self, at: usize) -> [u64; 3] {
        let counts = self.count_of(&self.files[at]);
        self.files[at].records = Some(counts);
        counts
    }

    fn count_of(&self, file: &Spooled) -> [u64; 3] {
        file.records
            .unwrap_or_else(|| self.read(file.number).map(|records| count(&records)).unwrap_or_default())
    }

    fn read(&self, number: u64) -> io::Result<Vec<Record>> {
        Ok(decode::records(&fs::read(self.path(number))?).0)
    }

    /// A new file with its templates.
    fn begin(&self, number: u64, now: Now) -> io::Result<(Spooled, (File, Encoder))> {
        let path = self.path(number);
        let mut encoder = self.encoder();
        let templates = encoder.templates(Log::Mappings, now).concat();
        let mut file = OpenOptions::new().create_new(true).append(true).open(&path)?;
        if let Err(error) = file.write_all(&templates).and_then(|()| self.sync_directory()) {
            let _ = fs::remove_file(path);
            return Err(error);
        }
        let octets = templates.len() as u64;
        Ok((Spooled { number, octets, records: Some([0; 3]), written: now.unix_millis }, (file, encoder)))
    }

    /// After an error the file may end in half a message: nothing more goes into it, and the half is cut off.
    fn give_up_open_file(&mut self) {
        let Some((file, _)) = self.open.take() else { return };
        if let Some(last) = self.files.back() {
            let _ = file.set_len(last.octets);
        }
    }

    /// A file is there after a crash only when its directory knows of it.
    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    fn encoder(&self) -> Encoder {
        Encoder::new(Format::Ipfix, false, self.domain, MOST_OCTETS)
    }

    fn next_number(&self) -> u64 {
        let known = self.files.iter().chain(&self.handed_out).map(|file| file.number).max();
        known.map_or(FIRST, |number| number + 1)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:020}.ipfix"))
    }
}

fn write_synced(path: &Path, octets: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(octets)?;
    file.sync_data()
}

fn encoded(encoder: &mut Encoder, mut records: &[Record], now: Now) -> Vec<u8> {
    let mut octets = Vec::new();
    while !records.is_empty() {
        let written = encoder.records(records, now, &mut octets);
        records = &records[written..];
    }
    octets
}

fn count(records: &[Record]) -> [u64; 3] {
    let mut counts = [0; 3];
    count_into(&mut counts, records);
    counts
}

fn count_into(counts: &mut [u64; 3], records: &[Record]) {
    for record in records {
        counts[record.class() as usize] += 1;
    }
}

#[cfg(test)]
#[path = "tests/spool.rs"]
mod tests;
