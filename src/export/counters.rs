//! What became of the records of each target, for metrics and for whoever asks.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::loss::Loss;
use super::queue::{ENTRY, Queue};

/// A target's state now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetStatus {
    /// As `"ipfix 192.0.2.1:4739"`.
    pub name: String,
    /// Whether there is a session; of UDP, whether there is a socket.
    pub is_connected: bool,
    /// Records that were written for the first time.
    pub sent: u64,
    /// Records that were written again after a break.
    pub resent: u64,
    /// Messages, or lines.
    pub messages: u64,
    /// Octets that the socket took.
    pub octets: u64,
    /// Attempts to connect.
    pub attempts: u64,
    /// Sessions that broke.
    pub breaks: u64,
    /// Datagrams that the network refused, by an ICMP error or an error of the socket.
    pub refused: u64,
    /// Records that wait in memory.
    pub queued: u64,
    /// Octets of memory that they take.
    pub queued_octets: u64,
    /// Octets of the spool on disk.
    pub spool_octets: u64,
    /// Whether the spool cannot be written to now.
    pub is_spool_failing: bool,
    /// What was lost, in the queue and in the spool.
    pub loss: Loss,
}

/// A look at all targets, from any thread.
#[derive(Clone)]
pub struct ExportCounters {
    pub(super) targets: Vec<Arc<Counters>>,
}

impl ExportCounters {
    /// The state of every target: collectors, then receivers, in the order of the configuration.
    #[must_use]
    pub fn status(&self) -> Vec<TargetStatus> {
        self.targets.iter().map(|target| target.status()).collect()
    }
}

/// What a target's thread writes and others read.
pub(super) struct Counters {
    name: String,
    queue: Arc<Queue>,
    pub(super) is_connected: AtomicBool,
    pub(super) sent: AtomicU64,
    pub(super) resent: AtomicU64,
    pub(super) messages: AtomicU64,
    pub(super) octets: AtomicU64,
    pub(super) attempts: AtomicU64,
    pub(super) breaks: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) spool_octets: AtomicU64,
    pub(super) is_spool_failing: AtomicBool,
    /// Of the spool, and of what was left when the exporter stopped.
    pub(super) other_loss: Mutex<Loss>,
}

impl Counters {
    pub(super) fn new(format: &str, address: SocketAddr, queue: Arc<Queue>) -> Counters {
        Counters {
            name: format!("{format} {address}"),
            queue,
            is_connected: AtomicBool::default(),
            sent: AtomicU64::default(),
            resent: AtomicU64::default(),
            messages: AtomicU64::default(),
            octets: AtomicU64::default(),
            attempts: AtomicU64::default(),
            breaks: AtomicU64::default(),
            refused: AtomicU64::default(),
            spool_octets: AtomicU64::default(),
            is_spool_failing: AtomicBool::default(),
            other_loss: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// All that was lost so far.
    pub(super) fn loss(&self) -> Loss {
        let mut loss = self.queue.loss();
        loss.add(&self.other_loss.lock().unwrap_or_else(PoisonError::into_inner));
        loss
    }

    pub(super) fn set_other_loss(&self, loss: Loss) {
        *self.other_loss.lock().unwrap_or_else(PoisonError::into_inner) = loss;
    }

    fn status(&self) -> TargetStatus {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let queued = self.queue.len() as u64;
        TargetStatus {
            name: self.name.clone(),
            is_connected: self.is_connected.load(Ordering::Relaxed),
            sent: read(&self.sent),
            resent: read(&self.resent),
            messages: read(&self.messages),
            octets: read(&self.octets),
            attempts: read(&self.attempts),
            breaks: read(&self.breaks),
            refused: read(&self.refused),
            queued,
            queued_octets: queued * ENTRY as u64,
            spool_octets: read(&self.spool_octets),
            is_spool_failing: self.is_spool_failing.load(Ordering::Relaxed),
            loss: self.loss(),
        }
    }
}

/// Adds to a counter that one thread writes.
pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
