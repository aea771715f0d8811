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

/// A worker at one moment, or all of them.
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
    /// Packets that the kernel gave to another worker than the one whose they are. Many of them: the kernel does
    /// not steer.
    pub strays: u64,
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
    /// Packets that one worker had for another, faster than this one took them.
    pub between_workers: u64,
    /// Packets that found no room to wait until the record of their grant was on the disk.
    pub waiting: u64,
}

impl Snapshot {
    /// All workers together.
    pub(super) fn of_all(workers: Vec<Snapshot>) -> Option<Snapshot> {
        workers.into_iter().reduce(|sum, one| Snapshot {
            at: sum.at.max(one.at),
            counters: [sum.counters, one.counters].iter().sum(),
            gauges: [sum.gauges, one.gauges].into_iter().sum(),
            losses: Losses {
                unsent: sum.losses.unsent + one.losses.unsent,
                events: sum.losses.events + one.losses.events,
                between_workers: sum.losses.between_workers + one.losses.between_workers,
                waiting: sum.losses.waiting + one.losses.waiting,
            },
            strays: sum.strays + one.strays,
            device: sum.device.plus(&one.device),
        })
    }
}
