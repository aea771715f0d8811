//! The daemon's journal: opened before the first packet, kept tidy while it runs, closed at the end.

use std::io;
use std::net::Ipv4Addr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::clock::Clock;
use super::start_error::StartError;
use crate::attribution::wal::{Block, Health, Producer, Recovered, WallClock, Writer, WriterOptions};
use crate::attribution::{Age, ClockWatch, Directory, Interval, Journal, Millis, Record};
use crate::engine::{Event, EventKind, Grant, Instant};
use crate::export::Stamped;

/// Between two looks at the clocks (TIM-2).
const LOOK: Duration = Duration::from_secs(1);
/// A record is on its way to collectors for less than this, unless a spool has it.
const ON_ITS_WAY: Millis = 60_000;
/// Looks between two times of tidying.
const TIDY: u32 = 60;
/// Looks without a sync behind which a disk hangs.
const HANGS: u32 = 5;
/// Looks between two records of the configuration (ATT-21).
const DAY: u32 = 86_400;

/// The journal of a running daemon. Dropping it closes it.
pub(super) struct JournalKeeper {
    /// What is left of the last run: ports whose holders may still be believed to have them.
    pub(super) quarantine: Vec<Block>,
    /// What collectors are to be told of the last run, when it ended by a crash.
    pub(super) untold: Vec<Stamped>,
    writer: Option<Writer>,
    texts: Option<Sender<String>>,
    thread: Option<JoinHandle<()>>,
}

impl JournalKeeper {
    /// Opens the journal, recovers it, and gives a producer for each worker. `text` is the configuration's.
    pub(super) fn open(
        config: &aftr_config::Journal,
        workers: u16,
        text: Option<&str>,
        clock: Clock,
    ) -> Result<(JournalKeeper, Vec<Producer>), StartError> {
        let path = config.directory.display().to_string();
        let refused = |error| StartError::Refused(format!("cannot open the journal {path}"), error);
        let now = clock.unix_millis(clock.now());
        let (journal, recovered) = Journal::open(&Directory::new(&config.directory), now).map_err(refused)?;
        tell(&path, &recovered);
        let options = WriterOptions { producers: usize::from(workers) + 1, ..WriterOptions::default() };
        let Recovered { log, quarantine, ended, last_known, .. } = recovered;
        let untold = ended.iter().flat_map(|lost| untold(lost, last_known, clock.now())).collect();
        let (writer, mut producers) = Writer::start(log, Wall(clock), options).map_err(refused)?;
        let own = producers.pop().ok_or(io::ErrorKind::InvalidInput.into()).map_err(refused)?;
        let (texts, changed) = channel();
        // From now on: the clock may be set before the first look.
        let mut watch = ClockWatch::default();
        let start = clock.now();
        watch.observe(start.millis(), clock.unix_millis(start));
        let mut keeper = Keeper {
            journal,
            producer: own,
            clock,
            watch,
            age: Age::new(clock.now().millis(), now, last_known),
            retention_days: config.retention_days,
            text: String::new(),
            is_failing: false,
            syncs: (0, 0),
        };
        if let Some(text) = text {
            keeper.keep_configuration(text.to_owned()).map_err(refused)?;
        }
        let builder = std::thread::Builder::new().name("journal-keeper".into());
        let thread = builder.spawn(move || keeper.run(&changed)).map_err(refused)?;
        let (writer, texts, thread) = (Some(writer), Some(texts), Some(thread));
        Ok((JournalKeeper { quarantine, untold, writer, texts, thread }, producers))
    }

    /// How the writer does.
    pub(super) fn health(&self) -> Option<Health> {
        self.writer.as_ref().map(Writer::health)
    }

    /// A changed configuration is in force; this is its text.
    pub(super) fn keep_configuration(&self, text: String) {
        if let Some(texts) = &self.texts {
            // The thread lives as long as this.
            let _ = texts.send(text);
        }
    }
}

impl Drop for JournalKeeper {
    fn drop(&mut self) {
        self.texts = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Some(log) = self.writer.take().and_then(Writer::stop)
            && log.pending() > 0
        {
            tracing::error!(records = log.pending(), "the journal was closed before these were on the disk");
        }
    }
}

/// What a collector must hear of a holding that a crash has ended (IPX-22): its end, and before that its beginning,
/// when that may have been on its way. A collector knows a record that it has already.
fn untold(lost: &Interval, last_known: Millis, now: Instant) -> impl Iterator<Item = Stamped> + use<> {
    let Interval { holding, start, .. } = *lost;
    let grant = Grant {
        subscriber: holding.subscriber(),
        b4: holding.b4,
        internal: holding.internal.map_or(Ipv4Addr::UNSPECIFIED, |host| *host.ip()),
        pool_id: holding.pool_id,
        external: holding.external,
        first_port: holding.first_port,
        last_port: holding.last_port,
    };
    let is_young = start + ON_ITS_WAY >= last_known;
    let begins = is_young.then_some((start, EventKind::PortSetGranted(grant)));
    let ends = (last_known.max(start), EventKind::PortSetReleased(grant));
    let stamped = move |(unix_millis, kind)| Stamped { unix_millis, event: Event { at: now, kind } };
    begins.into_iter().chain([ends]).map(stamped)
}

fn tell(path: &str, recovered: &Recovered) {
    for fault in &recovered.faults {
        tracing::warn!(journal = path, ?fault, "the journal was damaged");
    }
    if let Some(aside) = &recovered.kept_aside {
        tracing::warn!(journal = path, aside = %aside.display(), "an unfinished write was cut off and kept");
    }
    tracing::info!(
        journal = path,
        records = recovered.records,
        ended_by_a_crash = recovered.ended.len(),
        in_quarantine = recovered.quarantine.len(),
        "the journal is open"
    );
}

/// The writer's clock.
struct Wall(Clock);

impl WallClock for Wall {
    fn now(&self) -> Millis {
        self.0.unix_millis(self.0.now())
    }
}

/// What the thread beside the writer works with.
struct Keeper {
    journal: Journal,
    producer: Producer,
    clock: Clock,
    watch: ClockWatch,
    age: Age,
    retention_days: u32,
    /// The configuration in force.
    text: String,
    is_failing: bool,
    /// Groups that were durable at the last look, and looks since there was a new one.
    syncs: (u64, u32),
}

impl Keeper {
    fn run(mut self, changed: &Receiver<String>) {
        let mut looks: u32 = 0;
        loop {
            match changed.recv_timeout(LOOK) {
                Ok(text) => self.keep_or_tell(text),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    looks = looks.wrapping_add(1);
                    self.look(looks);
                }
            }
        }
    }

    fn look(&mut self, looks: u32) {
        let now = self.clock.now();
        let wall = self.clock.unix_millis(now);
        if let Some(step) = self.watch.observe(now.millis(), wall) {
            tracing::warn!("the wall clock was set: the journal says so");
            self.push(step);
        }
        self.tell_health();
        if looks.is_multiple_of(TIDY)
            && let Err(error) = self.journal.tidy(self.retention_days, self.age.observe(now.millis(), wall))
        {
            tracing::error!(%error, "the journal cannot be sealed, or what is too old removed; it is tried again");
        }
        if looks.is_multiple_of(DAY) && !self.text.is_empty() {
            let text = std::mem::take(&mut self.text);
            self.keep_or_tell(text);
        }
    }

    fn tell_health(&mut self) {
        let is_failing = self.producer.is_failing() || self.disk_hangs();
        if is_failing && !self.is_failing {
            tracing::error!(
                "the journal cannot be written: see its disk; on-loss says what happens to grants"
            );
        } else if self.is_failing && !is_failing {
            tracing::info!("the journal is written again");
        }
        self.is_failing = is_failing;
    }

    /// No error, and nothing durable either, though there is an alive mark each second.
    fn disk_hangs(&mut self) -> bool {
        let syncs = self.producer.syncs();
        let looks = if syncs == self.syncs.0 { self.syncs.1.saturating_add(1) } else { 0 };
        self.syncs = (syncs, looks);
        looks >= HANGS
    }

    fn keep_or_tell(&mut self, text: String) {
        if let Err(error) = self.keep_configuration(text) {
            tracing::error!(%error, "the journal does not keep the configuration");
        }
    }

    fn keep_configuration(&mut self, text: String) -> io::Result<()> {
        let record = self.journal.keep_configuration(&text, self.clock.unix_millis(self.clock.now()));
        self.text = text;
        self.push(record?);
        Ok(())
    }

    fn push(&mut self, record: Record) {
        // One that is not taken becomes a gap, which the writer tells.
        let _ = self.producer.push(record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::testing::holding;

    /// IPX-22: exactly one end for each beginning, over a crash too.
    #[test]
    fn what_a_crash_ended_is_told_with_the_time_of_the_last_sign_of_life() {
        let lost = |start| Interval {
            holding: holding(1),
            start,
            since: start,
            end: None,
            confirmed_until: None,
            start_record: 1,
            end_record: 0,
            start_doubtful: false,
            end_doubtful: false,
        };
        let told = |start| {
            let said = untold(&lost(start), 500_000, Instant::ZERO);
            said.map(|it| (it.unix_millis, matches!(it.event.kind, EventKind::PortSetGranted(_)))).collect()
        };
        let young: Vec<_> = told(490_000);
        assert_eq!(young, [(490_000, true), (500_000, false)]);
        let old: Vec<_> = told(100_000);
        assert_eq!(old, [(500_000, false)], "its beginning was told long ago");
        let last = untold(&lost(100_000), 500_000, Instant::ZERO).last().map(|it| it.event.kind);
        let Some(EventKind::PortSetReleased(grant)) = last else { panic!("{last:?}") };
        assert_eq!((grant.b4, grant.external, grant.first_port), {
            let holding = holding(1);
            (holding.b4, holding.external, holding.first_port)
        });
    }
}
