//! The catalogue: what each sealed partition covers, its hashes, and which are gone. One chained line each.
//!
//! It is a text file and no database, because `aftr attribute` and `aftr journal verify` read it while the
//! daemon writes: an embedded database gives one process the whole file.

use std::io;
use std::path::Path;

use serde_json::{Value, json};

use crate::attribution::digest::Digest;
use crate::attribution::lines::{BadLine, append_lines, read_lines};
use crate::attribution::record::Millis;
use crate::attribution::wal::Position;

/// A sealed partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Partitions are numbered in the order of their records.
    pub number: u64,
    /// Its files' name, without their ends.
    pub name: String,
    /// Number of its first record.
    pub first: u64,
    /// Where the log goes on behind it.
    pub next: Position,
    /// Everything in it happened from here …
    pub from: Millis,
    /// … to here.
    pub to: Millis,
    /// Time of its last sign of life.
    pub last_known: Millis,
    /// At its end nobody vouched for the clock.
    pub clock_is_doubtful: bool,
    /// At its end holdings may be open that no record tells of.
    pub is_incomplete: bool,
    /// Its last record says that the writer was told to stop.
    pub was_closed: bool,
    /// SHA-256 of the configuration in effect at its end.
    pub configuration: Option<Digest>,
    /// Intervals in it.
    pub rows: u64,
    /// Intervals among them that go on behind it.
    pub open: u64,
    /// SHA-256 of the file of intervals.
    pub intervals_hash: Digest,
    /// SHA-256 of the file of marks.
    pub marks_hash: Digest,
}

/// All partitions.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// Those whose files are there, in order.
    pub partitions: Vec<Partition>,
    /// The last that is gone: retention time is over for everything up to its end.
    pub expired: Option<Partition>,
    /// Latest moment that is gone.
    pub expired_to: Option<Millis>,
    /// The first line that does not fit.
    pub bad: Option<BadLine>,
}

impl Catalogue {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(path: &Path) -> io::Result<Catalogue> {
        let lines = read_lines(path)?;
        let mut catalogue = Catalogue { bad: lines.bad, ..Catalogue::default() };
        for (number, line) in (1..).zip(&lines.lines) {
            if let Some(number) = line["expired"].as_u64() {
                catalogue.expire(number);
            } else if let Some(partition) = Partition::of_json(line) {
                catalogue.partitions.push(partition);
            } else {
                catalogue.bad.get_or_insert(BadLine { number, why: "is no partition" });
            }
        }
        Ok(catalogue)
    }

    /// The last partition, also when its files are gone.
    #[must_use]
    pub fn last(&self) -> Option<&Partition> {
        self.partitions.last().into_iter().chain(&self.expired).max_by_key(|partition| partition.number)
    }

    fn expire(&mut self, number: u64) {
        if let Some(at) = self.partitions.iter().position(|partition| partition.number == number) {
            let gone = self.partitions.remove(at);
            self.expired_to = self.expired_to.max(Some(gone.to));
            if self.expired.as_ref().is_none_or(|last| last.number < gone.number) {
                self.expired = Some(gone);
            }
        }
    }
}

impl Partition {
    pub(super) fn append_to(&self, path: &Path) -> io::Result<()> {
        append_lines(path, &[self.to_json()]).map(drop)
    }

    pub(super) fn expire_in(&self, path: &Path, now: Millis) -> io::Result<()> {
        append_lines(path, &[json!({ "expired": self.number, "at": now })]).map(drop)
    }

    /// What its line says.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "partition": self.number,
            "name": self.name,
            "first": self.first,
            "next": self.next.sequence,
            "chain": self.next.chain.to_string(),
            "from": self.from,
            "to": self.to,
            "last-known": self.last_known,
            "clock-is-doubtful": self.clock_is_doubtful,
            "is-incomplete": self.is_incomplete,
            "was-closed": self.was_closed,
            "configuration": self.configuration.map(|digest| digest.to_string()),
            "rows": self.rows,
            "open": self.open,
            "intervals": self.intervals_hash.to_string(),
            "marks": self.marks_hash.to_string(),
        })
    }

    /// The partition that such a line tells of.
    pub(crate) fn of_json(line: &Value) -> Option<Partition> {
        let number = |key: &str| line[key].as_u64();
        let digest = |key: &str| Digest::parse(line[key].as_str()?);
        Some(Partition {
            number: number("partition")?,
            name: line["name"].as_str()?.to_owned(),
            first: number("first")?,
            next: Position { sequence: number("next")?, chain: digest("chain")? },
            from: number("from")?,
            to: number("to")?,
            last_known: number("last-known")?,
            clock_is_doubtful: line["clock-is-doubtful"].as_bool()?,
            is_incomplete: line["is-incomplete"].as_bool()?,
            was_closed: line["was-closed"].as_bool()?,
            configuration: digest("configuration"),
            rows: number("rows")?,
            open: number("open")?,
            intervals_hash: digest("intervals")?,
            marks_hash: digest("marks")?,
        })
    }
}
