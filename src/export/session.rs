//! A target by TCP, as a state machine that is given the time: it connects, tells what was sent last and may not
//! have been read, then what is in the spool, then what comes in. What comes in while there is something older
//! goes behind it.
//!
//! ```text
//!            may_try                connected                    blocked for 1 s: what comes in is spooled
//!   Away ─────────────> Connecting ───────────> Up { unwritten }
//!    ^                      │                    │
//!    └──────────────────────┴────────────────────┘  broken: what may not have been read is sent again
//! ```

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aftr_config::Target;

use super::counters::{Counters, add};
use super::form::{Form, Surroundings};
use super::link::{Link, Stream};
use super::loss::Loss;
use super::pacer::Pacer;
use super::queue::Queue;
use super::record::Record;
use super::spool::Spool;
use super::time::Now;
use super::window::{Batch, Window};
use crate::engine::Instant;

/// Records of one write.
const BATCH: usize = 2048;
/// Writes of one step: what comes in meanwhile must not fill the queue.
const WRITES: usize = 16;
/// A socket that took nothing for so long is blocked.
const BLOCKED: Duration = Duration::from_secs(1);
/// A disk that refused is left alone for so long.
const SPOOL_REST: Duration = Duration::from_secs(10);
/// An attempt to connect takes no longer.
const CONNECT: Duration = Duration::from_secs(20);

/// A target by TCP.
pub(super) struct Session<L: Link> {
    link: L,
    pub(super) form: Form,
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    state: State<L::Stream>,
    pacer: Pacer,
    window: Window,
    /// What is sent again.
    again: VecDeque<Batch>,
    spool: Option<Spool>,
    /// The spool rests until then.
    spool_rests: Option<Instant>,
    /// The file of the spool that is being sent.
    replay: Option<Replay>,
    /// What was taken from the queue and refused by the spool.
    kept: Vec<Record>,
    reported: Option<Instant>,
    is_finishing: bool,
    /// What was left at the end.
    left: Loss,
}

enum State<S> {
    Away,
    Connecting { stream: S, since: Instant },
    Up { stream: S, unwritten: Vec<u8>, written: usize, progress: Instant },
}

struct Replay {
    file: u64,
    records: Vec<Record>,
    sent: usize,
}

/// What to wait for before the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// There is more to do at once.
    None,
    /// Records.
    Records,
    /// The socket.
    Socket,
    /// Time alone.
    Time,
}

impl<L: Link> Session<L> {
    pub(super) fn new(
        link: L,
        target: &Target,
        form: Form,
        spool: Option<Spool>,
        queue: Arc<Queue>,
        counters: Arc<Counters>,
    ) -> Session<L> {
        Session {
            link,
            form,
            queue,
            counters,
            state: State::Away,
            pacer: Pacer::new(target.reconnect_interval, u64::from(target.port)),
            window: Window::new(target.resend_octets),
            again: VecDeque::new(),
            spool,
            spool_rests: None,
            replay: None,
            kept: Vec::new(),
            reported: None,
            is_finishing: false,
            left: Loss::default(),
        }
    }

    /// Does what can be done now, and says what to wait for.
    pub(super) fn step(&mut self, about: &Surroundings<'_>, now: Now) -> Pause {
        self.connect(about, now);
        let mut may_go_on = false;
        for _ in 0..WRITES {
            may_go_on = self.flush(now) && self.send_next(now);
            if !may_go_on {
                break;
            }
        }
        self.report(about, now);
        if !self.is_live(now) {
            self.spool_queue(now);
        }
        self.forget_read(now);
        self.publish();
        match &self.state {
            State::Up { unwritten, written, .. } if *written < unwritten.len() => Pause::Socket,
            State::Up { .. } if may_go_on => Pause::None,
            State::Connecting { .. } => Pause::Socket,
            State::Up { .. } => Pause::Records,
            State::Away if self.can_spool(now) => Pause::Records,
            State::Away => Pause::Time,
        }
    }

    /// Waits for the socket.
    pub(super) fn wait_socket(&mut self, time: Duration) {
        if let State::Up { stream, .. } | State::Connecting { stream, .. } = &mut self.state {
            stream.wait_writable(time);
        }
    }

    /// Whether there is a session.
    fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// Whether there is none, and none is being made.
    pub(super) fn is_away(&self) -> bool {
        matches!(self.state, State::Away)
    }

    /// Whether everything that came in was written.
    pub(super) fn is_idle(&self) -> bool {
        let is_flushed = match &self.state {
            State::Up { unwritten, written, .. } => *written == unwritten.len(),
            State::Away | State::Connecting { .. } => return false,
        };
        is_flushed && !self.has_older() && self.kept.is_empty() && self.queue.len() == 0
    }

    /// Says that nothing more comes. `Some(true)` when the other end has read everything, since it closed after
    /// that; `None` when that is not known yet.
    pub(super) fn finish(&mut self) -> Option<bool> {
        let State::Up { stream, .. } = &mut self.state else { return Some(false) };
        if !self.is_finishing {
            self.is_finishing = true;
            stream.finish().ok()?;
        }
        stream.wait_readable(Duration::from_millis(20));
        match stream.is_open() {
            Ok(true) => None,
            Ok(false) => Some(true),
            Err(_) => Some(false),
        }
    }

    /// The end: what may not have been read goes to the spool, or is lost.
    pub(super) fn end(&mut self, was_read: bool, now: Now) {
        if was_read {
            let files: Vec<u64> = self.window.drain().filter_map(|batch| batch.file).collect();
            files.into_iter().for_each(|file| self.release(file));
        }
        let unread = self.window.drain().chain(self.again.drain(..)).filter(|batch| batch.file.is_none());
        let unread: Vec<Record> = unread.flat_map(|batch| batch.records).collect();
        let mut waiting = std::mem::take(&mut self.kept);
        self.queue.take(usize::MAX, &mut waiting);
        let mut lost = Vec::new();
        match &mut self.spool {
            Some(spool) => {
                if spool.prepend(&unread, now).is_err() {
                    lost.extend(unread);
                }
                if spool.append(&waiting, now).is_err() {
                    lost.extend(waiting);
                }
            }
            // What was written once is not called lost: it was sent, and most likely read.
            None => lost = waiting,
        }
        lost.iter().for_each(|record| self.left.count(record, now.unix_millis));
        self.state = State::Away;
        self.publish();
    }

    /// Brings the connection a step further.
    fn connect(&mut self, about: &Surroundings<'_>, now: Now) {
        let result = match &mut self.state {
            State::Away if self.pacer.may_try(now.monotonic) => {
                add(&self.counters.attempts, 1);
                let connected = self.link.connect();
                connected.map(|stream| self.state = State::Connecting { stream, since: now.monotonic })
            }
            State::Away => Ok(()),
            State::Connecting { stream, since } => match stream.is_connected() {
                Ok(true) => return self.begin(about, now),
                Ok(false) if now.monotonic >= *since + CONNECT => Err(io::ErrorKind::TimedOut.into()),
                Ok(false) => Ok(()),
                Err(error) => Err(error),
            },
            State::Up { stream, .. } => match stream.is_open() {
                Ok(true) => Ok(()),
                Ok(false) => Err(io::ErrorKind::ConnectionAborted.into()),
                Err(error) => Err(error),
            },
        };
        if let Err(error) = result {
            self.break_off(&error);
        }
    }

    /// A new session: templates first, sequences from 0.
    fn begin(&mut self, about: &Surroundings<'_>, now: Now) {
        let State::Connecting { stream, .. } = std::mem::replace(&mut self.state, State::Away) else {
            return;
        };
        self.form.restart();
        let opening = self.form.opening(about, now);
        add(&self.counters.messages, opening.len() as u64);
        self.reported = Some(now.monotonic);
        let unwritten = opening.concat();
        self.state = State::Up { stream, unwritten, written: 0, progress: now.monotonic };
        tracing::info!(collector = self.counters.name(), "connected");
    }

    fn break_off(&mut self, error: &io::Error) {
        if self.is_up() {
            add(&self.counters.breaks, 1);
        }
        if error.kind() == io::ErrorKind::InvalidData {
            tracing::error!(collector = self.counters.name(), %error, "not trusted: records wait");
        } else {
            tracing::warn!(collector = self.counters.name(), %error, "not connected: records wait");
        }
        self.state = State::Away;
        for batch in self.window.drain().collect::<Vec<_>>().into_iter().rev() {
            self.again.push_front(batch);
        }
    }

    /// Writes what is left; whether all of it is written.
    fn flush(&mut self, now: Now) -> bool {
        let State::Up { stream, unwritten, written, progress } = &mut self.state else { return false };
        while *written < unwritten.len() {
            match stream.write(&unwritten[*written..]) {
                Ok(octets) => {
                    *written += octets;
                    *progress = now.monotonic;
                    add(&self.counters.octets, octets as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) => {
                    self.break_off(&error);
                    return false;
                }
            }
        }
        true
    }

    /// Writes the oldest records that there are; whether there were any.
    fn send_next(&mut self, now: Now) -> bool {
        let (records, file, is_first) = if let Some(batch) = self.again.pop_front() {
            (batch.records, batch.file, false)
        } else if let Some((records, file)) = self.next_spooled() {
            (records, Some(file), true)
        } else {
            let mut records = std::mem::take(&mut self.kept);
            self.queue.take(BATCH.saturating_sub(records.len()), &mut records);
            (records, None, true)
        };
        if records.is_empty() {
            // A file without records is done with, as soon as what was sent before it is.
            if let Some(file) = file {
                self.window.push(Batch { records, octets: 0, sent: now.monotonic, file: Some(file) });
            }
            return file.is_some();
        }
        self.send(records, file, is_first, now);
        true
    }

    fn send(&mut self, records: Vec<Record>, file: Option<u64>, is_first: bool, now: Now) {
        let State::Up { unwritten, written, progress, .. } = &mut self.state else { return };
        (*written, *progress) = (0, now.monotonic);
        unwritten.clear();
        let (mut rest, mut messages) = (records.as_slice(), 0);
        while !rest.is_empty() {
            let in_message = self.form.write(rest, now, unwritten);
            rest = &rest[in_message..];
            messages += 1;
        }
        let counter = if is_first { &self.counters.sent } else { &self.counters.resent };
        add(counter, records.len() as u64);
        add(&self.counters.messages, messages);
        self.window.push(Batch { octets: unwritten.len() as u64, records, sent: now.monotonic, file });
    }

    /// The next records of the spool, with the number of their file.
    fn next_spooled(&mut self) -> Option<(Vec<Record>, u64)> {
        let spool = self.spool.as_mut()?;
        let replay = match &mut self.replay {
            Some(replay) => replay,
            None => {
                let (file, records) = spool.next()?;
                self.replay.insert(Replay { file, records, sent: 0 })
            }
        };
        let end = replay.records.len().min(replay.sent + BATCH);
        let records = replay.records[replay.sent..end].to_vec();
        let file = replay.file;
        replay.sent = end;
        if end == replay.records.len() {
            self.replay = None;
        }
        Some((records, file))
    }

    /// Whether there is something that goes before what comes in.
    fn has_older(&self) -> bool {
        let has_files = self.spool.as_ref().is_some_and(|spool| !spool.is_empty());
        !self.again.is_empty() || self.replay.is_some() || has_files
    }

    /// Whether what comes in may stay in the queue, since it will be sent at once.
    fn is_live(&self, now: Now) -> bool {
        let State::Up { unwritten, written, progress, .. } = &self.state else { return false };
        let is_blocked = *written < unwritten.len() && now.monotonic >= *progress + BLOCKED;
        !is_blocked && !self.has_older()
    }

    fn can_spool(&self, now: Now) -> bool {
        self.spool.is_some() && self.spool_rests.is_none_or(|until| now.monotonic >= until)
    }

    /// Moves what came in to the spool. When the disk refuses it stays in memory.
    fn spool_queue(&mut self, now: Now) {
        if !self.can_spool(now) {
            return;
        }
        let Some(spool) = &mut self.spool else { return };
        for _ in 0..WRITES {
            self.queue.take(BATCH * 8, &mut self.kept);
            if self.kept.is_empty() {
                break;
            }
            if let Err(error) = spool.append(&self.kept, now) {
                tracing::warn!(collector = self.counters.name(), %error, "the spool refuses: records stay in memory");
                self.spool_rests = Some(now.monotonic + SPOOL_REST);
                return;
            }
            self.kept.clear();
            self.spool_rests = None;
        }
        spool.keep_caps(now);
    }

    /// Forgets what was read by now; files that were sent whole go.
    fn forget_read(&mut self, now: Now) {
        let unwritten = match &self.state {
            State::Up { unwritten, written, .. } => (unwritten.len() - written) as u64,
            State::Away | State::Connecting { .. } => return,
        };
        while let Some(batch) = self.window.pop_read(unwritten, now.monotonic) {
            if let Some(file) = batch.file {
                self.release(file);
            }
        }
    }

    /// Deletes a file of the spool, when nothing of it may have to be sent again.
    fn release(&mut self, file: u64) {
        let is_needed = self.window.has_file(file)
            || self.again.iter().any(|batch| batch.file == Some(file))
            || self.replay.as_ref().is_some_and(|replay| replay.file == file);
        if let Some(spool) = self.spool.as_mut().filter(|_| !is_needed) {
            spool.release(file);
        }
    }

    /// Tells of losses, and how good the time is: every now and then, and when that changed.
    fn report(&mut self, about: &Surroundings<'_>, now: Now) {
        let State::Up { unwritten, written, .. } = &mut self.state else { return };
        let since = self.reported.map(|at| now.monotonic - at);
        let is_due = since.is_none_or(|since| since >= self.form.status_interval());
        let is_news = self.form.has_news(about) && since > Some(BLOCKED);
        if !is_due && !is_news {
            return;
        }
        self.reported = Some(now.monotonic);
        for message in self.form.status(about, now) {
            unwritten.drain(..std::mem::take(written));
            unwritten.extend(message);
            add(&self.counters.messages, 1);
        }
    }

    fn publish(&self) {
        let counters = &self.counters;
        counters.is_connected.store(self.is_up(), Ordering::Relaxed);
        counters.is_spool_failing.store(self.spool_rests.is_some(), Ordering::Relaxed);
        let mut loss = self.left;
        if let Some(spool) = &self.spool {
            counters.spool_octets.store(spool.octets(), Ordering::Relaxed);
            loss.add(&spool.loss);
        }
        counters.set_other_loss(loss);
    }
}

#[cfg(test)]
#[path = "tests/session.rs"]
mod tests;
