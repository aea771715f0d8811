//! Captures on disk: several are merged by time.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::io::pcap::{Reader, Record};

/// The records of all captures in the order of their times; those of one moment in the order that the
/// captures are named.
///
/// # Errors
/// A capture that cannot be read, by its name.
pub fn merged(captures: &[PathBuf]) -> anyhow::Result<Vec<Record>> {
    let mut records = Vec::new();
    for path in captures {
        let name = || format!("capture {}", path.display());
        let file = File::open(path).with_context(name)?;
        for record in Reader::new(BufReader::new(file)).with_context(name)? {
            records.push(record.with_context(name)?);
        }
    }
    records.sort_by_key(|record| record.at);
    Ok(records)
}
