//! What was sent last and may not have been read: a TCP acknowledgement says that the other kernel has it, not
//! that the collector has. It is sent again after a break; collectors know duplicates by (natInstanceID, time,
//! event, external address and port, B4).

use std::collections::VecDeque;

use super::record::Record;
use crate::engine::Instant;

/// Seconds after which a collector that keeps its session has read what it was sent.
const MOST_SECONDS: u32 = 3600;

/// The batches that were sent last.
pub(super) struct Window {
    batches: VecDeque<Batch>,
    octets: u64,
    most_octets: u64,
}

/// What one write carried.
pub(super) struct Batch {
    pub(super) records: Vec<Record>,
    /// Octets on the wire.
    pub(super) octets: u64,
    pub(super) sent: Instant,
    /// The spool's file that they are from.
    pub(super) file: Option<u64>,
}

impl Window {
    pub(super) fn new(most_octets: u64) -> Window {
        Window { batches: VecDeque::new(), octets: 0, most_octets }
    }

    pub(super) fn push(&mut self, batch: Batch) {
        self.octets += batch.octets;
        self.batches.push_back(batch);
    }

    /// Whether something of the spool's file may not have been read.
    pub(super) fn has_file(&self, file: u64) -> bool {
        self.batches.iter().any(|batch| batch.file == Some(file))
    }

    /// The oldest batch, when so much was sent after it, or so long ago, that it was read. `unwritten` octets
    /// have not reached the socket yet.
    pub(super) fn pop_read(&mut self, unwritten: u64, now: Instant) -> Option<Batch> {
        let oldest = self.batches.front()?;
        let after = self.octets - oldest.octets;
        let is_old = now >= oldest.sent.plus_secs(MOST_SECONDS) && unwritten == 0;
        if after < self.most_octets.saturating_add(unwritten) && !is_old {
            return None;
        }
        self.octets = after;
        self.batches.pop_front()
    }

    /// Everything, for a new session.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Batch> + use<'_> {
        self.octets = 0;
        self.batches.drain(..)
    }
}
