//! The marks of a partition: every record that is no holding, 72 octets each (number, record).

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::attribution::digest::Digest;
use crate::attribution::record::{RECORD_SIZE, Record};

/// A record and its number; 0 for a gap that the reader of the log found.
pub(crate) type Mark = (u64, Record);

/// Whether a record is kept as a mark.
pub(crate) fn is_mark(record: &Record) -> bool {
    !matches!(record, Record::Started { .. } | Record::Ended { .. } | Record::Alive { .. })
}

/// Writes marks to an empty file, which is durable then. Gives the hash of it.
pub(crate) fn write_marks(path: &Path, marks: &[Mark]) -> io::Result<Digest> {
    let mut octets = Vec::with_capacity(marks.len() * (8 + RECORD_SIZE));
    for (sequence, record) in marks {
        octets.extend_from_slice(&sequence.to_le_bytes());
        octets.extend_from_slice(&record.encode());
    }
    let mut file = File::create(path)?;
    file.write_all(&octets)?;
    file.sync_all()?;
    Ok(Digest::of(&[&octets]))
}

pub(crate) fn read_marks(path: &Path) -> io::Result<Vec<Mark>> {
    decode_marks(&fs::read(path)?).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{} is no file of marks", path.display()))
    })
}

/// The marks that these octets of a file are.
pub(crate) fn decode_marks(octets: &[u8]) -> Option<Vec<Mark>> {
    let (entries, rest) = octets.as_chunks::<{ 8 + RECORD_SIZE }>();
    let mark = |entry: &[u8; 8 + RECORD_SIZE]| {
        let (sequence, record) = (entry.first_chunk()?, entry.last_chunk()?);
        Some((u64::from_le_bytes(*sequence), Record::decode(record)?))
    };
    if rest.is_empty() { entries.iter().map(mark).collect() } else { None }
}
