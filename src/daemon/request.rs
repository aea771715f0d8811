//! What a worker can be asked between two batches.

use std::sync::mpsc::SyncSender;

use ipnet::Ipv6Net;

use crate::engine::{Config, Counters, Gauges, Instant, MappingView, SubscriberView};
use crate::io::DeviceCounters;

/// Where an answer goes: a channel with room for it, so that the worker never waits for who asked.
pub(super) type Reply<T> = SyncSender<T>;

/// A question or an order to a worker.
pub(super) enum Request {
    Snapshot(Reply<Snapshot>),
    Mappings(Reply<Vec<MappingView>>),
    Subscribers(Reply<Vec<SubscriberView>>),
    Reconfigure(Box<Config>, Reply<Result<(), Vec<&'static str>>>),
    Purge(Ipv6Net, Reply<usize>),
    Stop,
}

/// A worker at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// When, on the daemon's clock.
    pub at: Instant,
    /// What the engine counted since the start.
    pub counters: Counters,
    /// How many live in each table.
    pub gauges: Gauges,
    /// What the worker counted since the start.
    pub losses: Losses,
    /// What its device counted since the start.
    pub device: DeviceCounters,
}

/// What got lost around the engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Packets that could not be sent: a queue was full, or the interface is down.
    pub unsent: u64,
    /// Events that their reader was too slow for.
    pub events: u64,
}
