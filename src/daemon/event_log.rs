//! The engine's events outside the journal: as log lines, and to whoever is told by IPFIX or syslog.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::clock::Clock;
use super::start_error::StartError;
use crate::engine::{Config, Event, EventKind};
use crate::export::{self, Exporter, Instance, Now, Stamped};

/// Events that may wait for this reader (IPX-40).
const WAITING: usize = 1 << 16;
/// Events that are handed on at once.
const BATCH: usize = 1024;
/// Collectors have this long to take the rest at the end; spools keep what is left.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where a worker puts events, and where [`read`] takes them from.
pub(super) fn queue() -> (SyncSender<Stamped>, Receiver<Stamped>) {
    sync_channel(WAITING)
}

/// Starts the collectors' sessions and the thread that logs and exports; it ends after the workers.
pub(super) fn read(
    events: Receiver<Stamped>,
    config: &Config,
    clock: Clock,
) -> Result<JoinHandle<()>, StartError> {
    let instance = Instance::of(config, &host_name());
    let exporter = Exporter::start(&config.export, instance, Arc::new(ExportClock(clock)))
        .map_err(|error| StartError::Refused("cannot export".into(), error))?;
    let builder = std::thread::Builder::new().name("aftr-events".into());
    let thread = builder.spawn(move || run(&events, exporter));
    thread.map_err(|error| StartError::Refused("cannot start a thread".into(), error))
}

fn run(events: &Receiver<Stamped>, mut exporter: Exporter) {
    let mut batch = Vec::with_capacity(BATCH);
    while let Ok(first) = events.recv() {
        batch.clear();
        batch.push(first);
        batch.extend(events.try_iter().take(BATCH - 1));
        batch.iter().for_each(|stamped| log(stamped.event));
        exporter.offer(&batch);
    }
    exporter.stop(PATIENCE);
}

/// The daemon's clock, as the exporter wants it.
struct ExportClock(Clock);

impl export::Clock for ExportClock {
    fn now(&self) -> Now {
        let monotonic = self.0.now();
        Now { monotonic, unix_millis: self.0.unix_millis(monotonic) }
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
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
        EventKind::Refused { reason, count } => {
            tracing::warn!(reason = %reason.name(), count, "new mappings were refused");
        }
    }
}
