//! The end of the queue that a worker holds: it never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::thread::Thread;

use super::writer::State;
use crate::attribution::record::{Millis, Record};

/// One worker's way to the journal.
#[derive(Debug)]
pub struct Producer {
    pub(super) queue: SyncSender<Record>,
    pub(super) shared: Arc<Shared>,
    pub(super) writer: Arc<Sleep>,
    pub(super) state: Arc<State>,
    /// Records that were accepted.
    pub(super) accepted: u64,
    /// Records that the queue takes.
    pub(super) room: u64,
}

/// A record that was accepted, by its number among those of its producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// The record was not accepted: the queue is full, or the writer has ended. It is counted, and the journal
/// will say that it has a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unwritten;

/// What a producer and the writer both see.
#[derive(Debug)]
pub(super) struct Shared {
    /// Records of this producer that are durable.
    pub(super) durable: AtomicU64,
    /// Records since the last gap record that were not accepted, and the earliest one's time.
    lost: AtomicU64,
    lost_since: AtomicU64,
    pub(super) lost_ever: AtomicU64,
}

/// Whether the writer's thread sleeps, and how it is woken.
#[derive(Debug, Default)]
pub(super) struct Sleep {
    pub(super) is_asleep: AtomicBool,
    pub(super) thread: std::sync::OnceLock<Thread>,
}

impl Producer {
    /// Hands over a record.
    ///
    /// # Errors
    /// The queue is full; see [`Unwritten`].
    #[inline]
    pub fn push(&mut self, record: Record) -> Result<Ticket, Unwritten> {
        match self.queue.try_send(record) {
            Ok(()) => {
                self.accepted += 1;
                self.writer.wake();
                Ok(Ticket(self.accepted))
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.shared.lose(record.at());
                Err(Unwritten)
            }
        }
    }

    /// Whether the record is on the disk.
    #[inline]
    #[must_use]
    pub fn is_durable(&self, ticket: Ticket) -> bool {
        self.shared.durable.load(Ordering::Acquire) >= ticket.0
    }
}

impl Producer {
    /// The alarm: the writer's last attempt at the disk has failed.
    #[inline]
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.state.is_failing.load(Ordering::Acquire)
    }

    /// Whether more than half of what the queue takes is not durable: the disk is slower than this worker.
    #[inline]
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.accepted - self.shared.durable.load(Ordering::Acquire) > self.room / 2
    }

    /// Gap records that the writer has made of records that no queue took. What is pushed after this was read stands
    /// behind them in the journal.
    #[inline]
    #[must_use]
    pub fn gaps(&self) -> u64 {
        self.state.gaps.load(Ordering::Acquire)
    }

    /// Groups that were made durable. There is one each second at least: alive marks.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.state.syncs.load(Ordering::Relaxed)
    }
}

impl Shared {
    pub(super) fn new() -> Shared {
        Shared {
            durable: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            lost_since: AtomicU64::new(Millis::MAX),
            lost_ever: AtomicU64::new(0),
        }
    }

    fn lose(&self, at: Millis) {
        self.lost_ever.fetch_add(1, Ordering::Relaxed);
        self.lost_since.fetch_min(at, Ordering::AcqRel);
        self.lost.fetch_add(1, Ordering::AcqRel);
    }

    /// Records that were lost since the last call, and since when; the time is missing where the last call
    /// has taken it already.
    pub(super) fn losses(&self) -> Option<(u64, Option<Millis>)> {
        let lost = self.lost.swap(0, Ordering::AcqRel);
        let since = (lost > 0).then(|| self.lost_since.swap(Millis::MAX, Ordering::AcqRel))?;
        Some((lost, (since != Millis::MAX).then_some(since)))
    }
}

impl Sleep {
    #[inline]
    pub(super) fn wake(&self) {
        // The order of this and of the queue matters: the writer says that it sleeps, and looks once more.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.is_asleep.load(Ordering::Relaxed) && self.is_asleep.swap(false, Ordering::AcqRel) {
            self.thread.get().inspect(|thread| thread.unpark());
        }
    }
}
