//! The engine's events outside the journal: as log lines, and to whoever is told by IPFIX or syslog.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::clock::Clock;
use super::start_error::StartError;
use crate::engine::{Config, Event, EventKind};
use crate::export::{self, ExportCounters, Exporter, Instance, Now, Stamped};

/// Events that may wait for this reader (IPX-40).
const WAITING: usize = 1 << 16;
/// Events that are handed on at once.
const BATCH: usize = 1024;
/// A changed configuration is heard of within this time.
const LOOK: Duration = Duration::from_millis(200);
/// Collectors have this long to take the rest at the end; spools keep what is left.
const PATIENCE: Duration = Duration::from_secs(3);

/// The thread that reads events, and the collectors' sessions. It ends after the workers: dropping this waits for that.
pub(super) struct EventLog {
    events: Option<SyncSender<Stamped>>,
    instances: Sender<Instance>,
    counters: ExportCounters,
    thread: Option<JoinHandle<()>>,
}

impl EventLog {
    /// Starts them, in the network namespace of the calling thread.
    pub(super) fn start(config: &Config, clock: Clock) -> Result<EventLog, StartError> {
        let clock = ExportClock(clock);
        let exporter = Exporter::start(&config.export, instance(config), Arc::new(clock))
            .map_err(|error| StartError::Refused("cannot export".into(), error))?;
        let counters = exporter.counters();
        let (events, received) = sync_channel(WAITING);
        let (instances, changed) = channel();
        let builder = std::thread::Builder::new().name("aftr-events".into());
        let thread = builder
            .spawn(move || run(&received, &changed, exporter, clock))
            .map_err(|error| StartError::Refused("cannot start a thread".into(), error))?;
        Ok(EventLog { events: Some(events), instances, counters, thread: Some(thread) })
    }

    /// Where a worker puts events.
    pub(super) fn events(&self) -> Option<SyncSender<Stamped>> {
        self.events.clone()
    }

    /// Has them logged and exported, before what workers have to say. Waits for room.
    pub(super) fn tell(&self, untold: Vec<Stamped>) {
        if let Some(events) = &self.events {
            // The thread lives as long as this.
            let _ = untold.into_iter().try_for_each(|stamped| events.send(stamped));
        }
    }

    /// What became of the records of each collector, also after the end.
    pub(super) fn counters(&self) -> ExportCounters {
        self.counters.clone()
    }

    /// Another configuration is in force, with the same collectors.
    pub(super) fn reconfigure(&self, config: &Config) {
        // The thread lives as long as this.
        let _ = self.instances.send(instance(config));
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        self.events = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(
    events: &Receiver<Stamped>,
    instances: &Receiver<Instance>,
    mut exporter: Exporter,
    clock: ExportClock,
) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let first = events.recv_timeout(LOOK);
        if let Some(instance) = instances.try_iter().last() {
            exporter.set_instance(instance);
        }
        match first {
            Ok(first) => batch.push(first),
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        }
        batch.extend(events.try_iter().take(BATCH - 1));
        batch.iter().for_each(|stamped| log(stamped.event));
        exporter.offer(&batch);
        batch.clear();
    }
    exporter.end_all(export::Clock::now(&clock).unix_millis);
    exporter.stop(PATIENCE);
}

/// The daemon's clock, as the exporter wants it.
#[derive(Clone, Copy)]
struct ExportClock(Clock);

impl export::Clock for ExportClock {
    fn now(&self) -> Now {
        let monotonic = self.0.now();
        Now { monotonic, unix_millis: self.0.unix_millis(monotonic) }
    }
}

fn instance(config: &Config) -> Instance {
    Instance::of(config, &rustix::system::uname().nodename().to_string_lossy())
}

/// What happens all the time is for debugging. What an operator must know is a warning; the engine
/// limits its rate.
fn log(event: Event) {
    match event.kind {
        EventKind::PortSetGranted(grant) => tracing::debug!(
            subscriber = %grant.subscriber, b4 = %grant.b4, external = %grant.external,
            first_port = grant.first_port, last_port = grant.last_port, "port set granted"
        ),
        EventKind::PortSetReleased(grant) => tracing::debug!(
            subscriber = %grant.subscriber, b4 = %grant.b4, external = %grant.external,
            first_port = grant.first_port, last_port = grant.last_port, "port set released"
        ),
        EventKind::MappingCreated(record) => tracing::debug!(
            b4 = %record.b4, protocol = ?record.protocol, internal = %record.internal,
            external = %record.external, "mapping created"
        ),
        EventKind::MappingRemoved(record) => tracing::debug!(
            b4 = %record.b4, protocol = ?record.protocol, internal = %record.internal,
            external = %record.external, "mapping removed"
        ),
        EventKind::SoftwireMoved { subscriber, from, to } => {
            tracing::debug!(%subscriber, %from, %to, "softwire moved");
        }
        EventKind::PoolHigh { pool_id, percent } => {
            tracing::warn!(pool_id, percent, "pool is nearly used up: add addresses or drain subscribers");
        }
        EventKind::PoolLow { pool_id, percent } => {
            tracing::info!(pool_id, percent, "pool has room again");
        }
        EventKind::TableHigh { table, percent } => {
            tracing::warn!(table = table.name(), percent, "table is nearly full: raise its limit");
        }
        EventKind::TableLow { table, percent } => {
            tracing::info!(table = table.name(), percent, "table has room again");
        }
        EventKind::EcnAnomalies { count } => {
            tracing::warn!(count, "ECN of inner and outer packets do not fit: a router or B4 marks wrongly");
        }
        EventKind::LimitReached(limit) => tracing::warn!(%limit, "all in use: something new was refused"),
        EventKind::Refused { reason, count } => {
            tracing::warn!(reason = %reason.name(), count, "new mappings were refused");
        }
    }
}
