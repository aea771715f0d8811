//! The thread that writes the journal: it takes what the workers have, makes it durable with one sync, says
//! so, and begins again. While the disk works on one group, the next one gathers.
//!
//! The disk may be full, slow or gone: workers see that ([`Health`]) and never wait for it. What cannot be
//! written is kept and tried again; what no longer fits is counted and becomes a gap record.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::log::Log;
use super::producer::{Producer, Shared, Sleep};
use crate::attribution::record::{GapCause, Millis, Record};

/// Alive marks come this often (ATT-2).
const ALIVE: Millis = 1000;
/// Records that are taken from a queue before the next one has its turn.
const TURN: usize = 4096;
/// Octets that wait for a disk that does not take them; then the queues fill.
const MOST_PENDING: usize = 16 << 20;
/// Between two attempts at a disk that does not work.
const RETRY: Duration = Duration::from_millis(50);
/// A writer without work looks up this often: for alive marks.
const IDLE: Duration = Duration::from_millis(20);

/// The time of day.
pub trait WallClock: Send {
    /// Milliseconds since 1970 (UTC).
    fn now(&self) -> Millis;
}

/// How a writer works.
#[derive(Debug, Clone, Copy)]
pub struct WriterOptions {
    /// Workers that write.
    pub producers: usize,
    /// Records that wait for the writer, for each worker.
    pub queue: usize,
    /// A first record waits this long for others, so that they share its sync.
    pub linger: Duration,
}

impl Default for WriterOptions {
    fn default() -> WriterOptions {
        WriterOptions { producers: 1, queue: 65536, linger: Duration::from_micros(500) }
    }
}

/// A writer at work.
#[derive(Debug)]
pub struct Writer {
    thread: Option<JoinHandle<Log>>,
    state: Arc<State>,
    shared: Vec<Arc<Shared>>,
    sleep: Arc<Sleep>,
}

/// How the journal does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Number of the last durable record.
    pub durable: u64,
    /// The alarm: the last attempt to write has failed.
    pub is_failing: bool,
    /// Attempts that failed.
    pub write_errors: u64,
    /// Records that no queue took.
    pub lost: u64,
    /// Groups that were made durable.
    pub syncs: u64,
    /// Records that wait in the writer.
    pub pending: u64,
}

#[derive(Debug, Default)]
pub(super) struct State {
    durable: AtomicU64,
    pub(super) is_failing: AtomicBool,
    write_errors: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) gaps: AtomicU64,
    pending: AtomicU64,
    stop: AtomicBool,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(
        log: Log,
        clock: impl WallClock + 'static,
        options: WriterOptions,
    ) -> io::Result<(Writer, Vec<Producer>)> {
        let (state, sleep) = (Arc::new(State::default()), Arc::new(Sleep::default()));
        let (mut producers, mut inlets) = (Vec::new(), Vec::new());
        for _ in 0..options.producers {
            let (queue, records) = sync_channel(options.queue);
            let shared = Arc::new(Shared::new());
            let writer = Arc::clone(&sleep);
            let (own, state) = (Arc::clone(&shared), Arc::clone(&state));
            producers.push(Producer {
                queue,
                shared: own,
                writer,
                state,
                accepted: 0,
                room: options.queue as u64,
            });
            inlets.push(Inlet { records, shared, taken: 0 });
        }
        let shared = inlets.iter().map(|inlet| Arc::clone(&inlet.shared)).collect();
        let work = Work {
            log,
            clock,
            inlets,
            options,
            state: Arc::clone(&state),
            sleep: Arc::clone(&sleep),
            records: Vec::new(),
            alive: 0,
            failing_since: None,
            looked_at: 0,
        };
        let thread = thread::Builder::new().name("journal".to_owned()).spawn(move || work.run())?;
        let _ = sleep.thread.set(thread.thread().clone());
        Ok((Writer { thread: Some(thread), state, shared, sleep }, producers))
    }

    /// How it does.
    #[must_use]
    pub fn health(&self) -> Health {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Health {
            durable: self.state.durable.load(Ordering::Acquire),
            is_failing: self.state.is_failing.load(Ordering::Acquire),
            write_errors: count(&self.state.write_errors),
            lost: self.shared.iter().map(|shared| count(&shared.lost_ever)).sum(),
            syncs: count(&self.state.syncs),
            pending: count(&self.state.pending),
        }
    }

    /// Writes what is in the queues and that the writer was told to stop. A disk that does not work is asked
    /// once more and not waited for; then the log still has records pending.
    pub fn stop(mut self) -> Option<Log> {
        self.end()
    }

    fn end(&mut self) -> Option<Log> {
        self.state.stop.store(true, Ordering::Release);
        self.sleep.wake();
        self.thread.take()?.join().ok()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

/// The other end of a worker's queue.
struct Inlet {
    records: Receiver<Record>,
    shared: Arc<Shared>,
    /// Records that were taken from it.
    taken: u64,
}

struct Work<C> {
    log: Log,
    clock: C,
    inlets: Vec<Inlet>,
    options: WriterOptions,
    state: Arc<State>,
    sleep: Arc<Sleep>,
    records: Vec<Record>,
    /// When the last alive mark was written.
    alive: Millis,
    failing_since: Option<Millis>,
    /// When losses were last looked for.
    looked_at: Millis,
}

impl<C: WallClock> Work<C> {
    fn run(mut self) -> Log {
        loop {
            let is_last = self.state.stop.load(Ordering::Acquire);
            let taken = self.take();
            if taken > 0 && taken < TURN && !is_last && !self.options.linger.is_zero() {
                thread::sleep(self.options.linger);
                self.take();
            }
            let now = self.clock.now();
            self.note_losses(now);
            // Also when the clock was set back.
            if now.abs_diff(self.alive) >= ALIVE {
                self.records.push(Record::Alive { at: now });
                self.alive = now;
            }
            // Whatever was pushed before the stop is in the queues now.
            let is_done = is_last && taken == 0;
            if is_done {
                self.records.push(Record::Closed { at: now });
            }
            self.write(now);
            if is_done || is_last && self.failing_since.is_some() {
                return self.log;
            }
            if self.failing_since.is_some() {
                thread::park_timeout(RETRY);
            } else if taken == 0 {
                self.doze();
            }
        }
    }

    /// Takes what there is, from each queue in turn. Says how many.
    fn take(&mut self) -> usize {
        let mut total = 0;
        loop {
            let mut taken = 0;
            for inlet in &mut self.inlets {
                if self.log.pending_octets() + self.records.len() * 64 >= MOST_PENDING {
                    break;
                }
                let before = self.records.len();
                self.records.extend(inlet.records.try_iter().take(TURN));
                inlet.taken += (self.records.len() - before) as u64;
                taken += self.records.len() - before;
            }
            total += taken;
            if taken == 0 || total >= TURN * 16 {
                return total;
            }
        }
    }

    /// What the queues did not take becomes a gap, as soon as there is room to say so.
    fn note_losses(&mut self, now: Millis) {
        if self.failing_since.is_some() {
            return;
        }
        for inlet in &self.inlets {
            if let Some((lost, since)) = inlet.shared.losses() {
                let from = since.unwrap_or(self.looked_at).min(now);
                self.records.push(Record::Gap { from, to: now, why: GapCause::QueueFull, lost });
                self.state.gaps.fetch_add(1, Ordering::AcqRel);
            }
        }
        self.looked_at = now;
    }

    fn write(&mut self, now: Millis) {
        if !self.records.is_empty() {
            self.log.append(now, &self.records);
            self.records.clear();
        }
        if self.log.pending() == 0 {
            return;
        }
        match self.log.sync(now) {
            Ok(durable) => {
                self.publish(durable);
                if let Some(from) = self.failing_since.take() {
                    // Nothing of it is missing, but it came late: what is missing has its own record.
                    let gap = Record::Gap { from, to: now, why: GapCause::WriteError, lost: 0 };
                    self.records.push(gap);
                    self.state.is_failing.store(false, Ordering::Release);
                }
            }
            Err(_) => {
                self.state.write_errors.fetch_add(1, Ordering::Relaxed);
                self.state.is_failing.store(true, Ordering::Release);
                self.failing_since.get_or_insert(now);
            }
        }
        self.state.pending.store(self.log.pending(), Ordering::Relaxed);
    }

    fn publish(&self, durable: u64) {
        self.state.syncs.fetch_add(1, Ordering::Relaxed);
        self.state.durable.store(durable, Ordering::Release);
        for inlet in &self.inlets {
            inlet.shared.durable.store(inlet.taken, Ordering::Release);
        }
    }

    /// Sleeps until there is something to do, but not past the next alive mark.
    fn doze(&mut self) {
        self.sleep.is_asleep.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.take() == 0 && !self.state.stop.load(Ordering::Acquire) {
            thread::park_timeout(IDLE);
        }
        self.sleep.is_asleep.store(false, Ordering::Release);
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
