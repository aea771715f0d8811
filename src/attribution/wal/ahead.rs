//! Segments, read and checked by a thread ahead of whoever follows their records: sums and hashes take as long as
//! all the rest of a recovery.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Builder, Scope};

use super::segment::{BATCH_HEADER, BatchHeader, SEGMENT_HEADER, SegmentHeader, decode_batch, follows};
use crate::attribution::digest::Digest;

/// The octets of a segment, and what is known of them.
pub(super) struct Segment {
    pub(super) octets: Vec<u8>,
    /// The batches from its start to the first that is none.
    checked: VecDeque<Checked>,
}

/// A whole batch.
struct Checked {
    at: usize,
    header: BatchHeader,
    /// The hash that it was compared with, that of the batch before, and what came out.
    before: Digest,
    follows: bool,
}

/// A whole batch with its records' octets.
pub(super) struct Batch<'a> {
    pub(super) header: BatchHeader,
    pub(super) body: &'a [u8],
    compared: Option<(Digest, bool)>,
}

/// Reads the files in a thread, one ahead. A file that is gone is none.
pub(super) fn read_ahead<'scope>(
    scope: &'scope Scope<'scope, '_>,
    paths: Vec<PathBuf>,
) -> io::Result<Receiver<io::Result<Option<Segment>>>> {
    let (sender, segments) = sync_channel(1);
    Builder::new().name("journal-reader".into()).spawn_scoped(scope, move || {
        // Whoever follows may have seen enough.
        let _ = paths.iter().try_for_each(|path| sender.send(Segment::read(path)));
    })?;
    Ok(segments)
}

impl Segment {
    fn read(path: &Path) -> io::Result<Option<Segment>> {
        let octets = match fs::read(path) {
            // It was sealed meanwhile; the caller sees by the catalogue that it has to begin again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            octets => octets?,
        };
        let checked = check(&octets);
        Ok(Some(Segment { octets, checked }))
    }

    /// The batch that begins at `at`: nothing where there is no whole one.
    pub(super) fn batch(&mut self, at: usize) -> Option<Batch<'_>> {
        while self.checked.front().is_some_and(|batch| batch.at < at) {
            self.checked.pop_front();
        }
        if let Some(batch) = self.checked.pop_front_if(|batch| batch.at == at) {
            let body = &self.octets[at + BATCH_HEADER..at + batch.header.octets()];
            return Some(Batch { header: batch.header, body, compared: Some((batch.before, batch.follows)) });
        }
        let (header, body) = decode_batch(&self.octets[at..])?;
        Some(Batch { header, body, compared: None })
    }
}

impl Batch<'_> {
    /// Whether it follows the batch with the hash `before`.
    pub(super) fn follows(&self, before: Digest) -> bool {
        match self.compared {
            Some((compared, follows)) if compared == before => follows,
            _ => follows(&self.header, before, self.body),
        }
    }
}

fn check(octets: &[u8]) -> VecDeque<Checked> {
    let mut checked = VecDeque::new();
    let Some(header) = SegmentHeader::decode(octets) else { return checked };
    let (mut at, mut before) = (SEGMENT_HEADER, header.chain);
    while let Some((header, body)) = octets.get(at..).and_then(decode_batch) {
        checked.push_back(Checked { at, header, before, follows: follows(&header, before, body) });
        (at, before) = (at + header.octets(), header.chain);
    }
    checked
}
