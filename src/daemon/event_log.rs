//! The engine's events as log lines, until the journal reads them too.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::engine::{Event, EventKind};

/// Events that may wait for this reader.
const WAITING: usize = 1 << 14;

/// Where a worker puts events, and where [`read`] takes them from.
pub(super) fn queue() -> (SyncSender<Event>, Receiver<Event>) {
    sync_channel(WAITING)
}

/// Starts the thread that logs; it ends with the worker.
pub(super) fn read(events: Receiver<Event>) -> std::io::Result<()> {
    std::thread::Builder::new().name("aftr-events".into()).spawn(move || events.into_iter().for_each(log))?;
    Ok(())
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
