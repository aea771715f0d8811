//! All workers of a daemon, asked and stopped as one.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::sync::mpsc;

use super::clock::Clock;
use super::exchange::Exchange;
use super::request::{Reply, Request, Snapshot};
use super::start_error::StartError;
use super::wake::Wake;
use super::worker::{LARGEST_PACKET, Worker};
use crate::engine::{Aftr, Config, Event, Owners, Seed, Share, TtlBy};
use crate::io::{AnyDevice, Device};

/// How long an answer of a worker may take: it answers between two batches, and its longest pause is the
/// listing of a full table.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// A worker gives no answer: it has ended, or hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoAnswer;

impl std::error::Error for NoAnswer {}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a worker gives no answer")
    }
}

/// What all workers are made of.
pub(super) struct Plan<'a> {
    pub(super) config: &'a Config,
    pub(super) owners: &'a Arc<Owners>,
    pub(super) seeds: &'a [Seed],
    pub(super) wakes: &'a [Wake],
    pub(super) clock: Clock,
    pub(super) events: Option<SyncSender<Event>>,
}

/// The threads.
pub(super) struct Workers {
    running: Vec<Running>,
    ended: Option<mpsc::Receiver<()>>,
}

struct Running {
    requests: Sender<Request>,
    wake: Wake,
    thread: JoinHandle<io::Result<Snapshot>>,
}

/// Says that a worker has ended, however it ended.
struct End(mpsc::Sender<()>);

impl Drop for End {
    fn drop(&mut self) {
        // One is enough.
        let _ = self.0.try_send(());
    }
}

impl Workers {
    /// Starts one for each device.
    pub(super) fn start(devices: Vec<AnyDevice>, plan: &Plan<'_>) -> Result<Workers, StartError> {
        let part = plan.config.of_one_worker();
        let mut exchanges = match plan.wakes {
            [_] => Vec::new(),
            wakes => Exchange::between(plan.owners, wakes, LARGEST_PACKET),
        }
        .into_iter();
        let (end, ended) = mpsc::channel(1);
        let mut workers = Workers { running: Vec::new(), ended: Some(ended) };
        for (((number, device), seed), wake) in (0..).zip(devices).zip(plan.seeds).zip(plan.wakes) {
            let ttl = if device.kernel_routes() { TtlBy::Kernel } else { TtlBy::Engine };
            let share = Share::new(Arc::clone(plan.owners), number);
            let (requests, received) = channel();
            let worker = Worker {
                device,
                aftr: Aftr::of_worker(&part, share, ttl, seed, plan.clock.now()),
                clock: plan.clock,
                requests: received,
                wake: wake.clone(),
                events: plan.events.clone(),
                exchange: exchanges.next(),
                unsent: 0,
                events_lost: 0,
            };
            let end = End(end.clone());
            let cpu = plan.config.dataplane.cpus.get(usize::from(number)).copied();
            let thread = std::thread::Builder::new()
                .name(format!("aftr-worker-{number}"))
                .spawn(move || {
                    let _end = end;
                    if let Some(cpu) = cpu {
                        pin(cpu);
                    }
                    worker.run()
                })
                .map_err(|error| StartError::Refused("cannot start a thread".into(), error))?;
            workers.running.push(Running { requests, wake: wake.clone(), thread });
        }
        Ok(workers)
    }

    /// Asks all of them, and waits for every answer.
    pub(super) fn ask<T>(&self, request: impl Fn(Reply<T>) -> Request) -> Result<Vec<T>, NoAnswer> {
        let mut answers = Vec::new();
        for worker in &self.running {
            let (reply, answer) = sync_channel(1);
            worker.requests.send(request(reply)).map_err(|_| NoAnswer)?;
            worker.wake.ring();
            answers.push(answer);
        }
        answers.into_iter().map(|answer| answer.recv_timeout(ANSWER_TIMEOUT).map_err(|_| NoAnswer)).collect()
    }

    /// Waits until one of them has ended by itself.
    pub(super) async fn ended(&mut self) {
        if let Some(ended) = &mut self.ended {
            let _ = ended.recv().await;
            self.ended = None;
        }
    }

    /// Stops all of them. Gives the state at the end, or why one of them had ended before; none when they were
    /// stopped already.
    pub(super) fn stop(&mut self) -> Option<io::Result<Snapshot>> {
        for worker in &self.running {
            // One that has ended takes no request and is joined at once.
            let _ = worker.requests.send(Request::Stop);
            worker.wake.ring();
        }
        let ends = self.running.drain(..).map(|worker| {
            worker.thread.join().unwrap_or_else(|_| Err(io::Error::other("the worker panicked")))
        });
        let snapshots: Vec<io::Result<Snapshot>> = ends.collect();
        let snapshots: io::Result<Vec<Snapshot>> = snapshots.into_iter().collect();
        match snapshots {
            Ok(snapshots) => Snapshot::of_all(snapshots).map(Ok),
            Err(error) => Some(Err(error)),
        }
    }
}

fn pin(cpu: u16) {
    let mut set = CpuSet::new();
    if usize::from(cpu) < CpuSet::MAX_CPU {
        set.set(cpu.into());
    }
    if let Err(error) = sched_setaffinity(None, &set) {
        tracing::warn!(cpu, %error, "the worker runs on any processor: there is none of this number for it");
    }
}
