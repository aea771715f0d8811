//! All workers of a daemon, asked and stopped as one.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use aftr_config::OnLoss;
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::sync::mpsc;

use super::clock::Clock;
use super::evidence::Evidence;
use super::exchange::Exchange;
use super::request::{Reply, Request, Snapshot};
use super::start_error::StartError;
use super::wake::Wake;
use super::worker::{LARGEST_PACKET, Worker};
use crate::attribution::wal::{Block, Producer};
use crate::engine::{Aftr, Config, Instant, Owners, Seed, Share, TtlBy};
use crate::export::Stamped;
use crate::io::Device;

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
    pub(super) events: Option<SyncSender<Stamped>>,
    /// Ports that nobody may be granted for a while.
    pub(super) quarantine: &'a [Block],
}

impl Plan<'_> {
    /// A block and the end of its quarantine, on the engine's clock.
    fn due(&self, block: &Block) -> (Ipv4Addr, RangeInclusive<u16>, Instant) {
        let now = self.clock.now();
        let left = block.until.saturating_sub(self.clock.unix_millis(now));
        (block.external, block.ports.clone(), now + Duration::from_millis(left))
    }
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
    /// Starts one for each device; `producers` are the ways to the journal, none or one for each.
    pub(super) fn start<D>(
        devices: Vec<D>,
        producers: Vec<Producer>,
        plan: &Plan<'_>,
    ) -> Result<Workers, StartError>
    where
        D: Device + AsFd + Send + 'static,
    {
        let part = plan.config.of_one_worker();
        let mut exchanges = match plan.wakes {
            [_] => Vec::new(),
            wakes => Exchange::between(plan.owners, wakes, LARGEST_PACKET),
        }
        .into_iter();
        let mut producers = producers.into_iter();
        let (end, ended) = mpsc::channel(1);
        let mut workers = Workers { running: Vec::new(), ended: Some(ended) };
        for (((number, device), seed), wake) in (0..).zip(devices).zip(plan.seeds).zip(plan.wakes) {
            let ttl = if device.kernel_routes() { TtlBy::Kernel } else { TtlBy::Engine };
            let share = Share::new(Arc::clone(plan.owners), number);
            let (requests, received) = channel();
            let mut aftr = Aftr::of_worker(&part, share, ttl, seed, plan.clock.now());
            aftr.quarantine(plan.quarantine.iter().map(|block| plan.due(block)));
            let on_loss = plan.config.journal.as_ref().map_or(OnLoss::Alarm, |journal| journal.on_loss);
            let worker = Worker {
                device,
                aftr,
                clock: plan.clock,
                requests: received,
                wake: wake.clone(),
                events: plan.events.clone(),
                evidence: producers.next().map(|producer| Evidence::new(producer, number, on_loss)),
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

impl Drop for Workers {
    /// Also of those that were started when a later one could not be.
    fn drop(&mut self) {
        self.stop();
    }
}

fn pin(cpu: u16) {
    let mut set = CpuSet::new();
    if usize::from(cpu) < CpuSet::MAX_CPU {
        set.set(cpu.into());
    }
    if let Err(error) = sched_setaffinity(None, &set) {
        tracing::warn!(
            cpu,
            %error,
            "the worker runs on any processor: this one is not there for it, or it may not choose \
             (sched_setaffinity)"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::BorrowedFd;
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::daemon::testing::config;
    use crate::io::DeviceCounters;
    use crate::wire::{Packet, Side};

    /// Fails in the way that is sent to it.
    struct Fuse(UnixDatagram);

    impl AsFd for Fuse {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }

    impl Device for Fuse {
        fn kernel_routes(&self) -> bool {
            true
        }

        fn receive(&mut self, _: &mut [Packet]) -> io::Result<usize> {
            let mut order = [0; 8];
            match self.0.recv(&mut order).map(|length| &order[..length]) {
                Ok(b"fail") => Err(io::Error::other("the cable is cut")),
                Ok(order) => panic!("{order:?}"),
                Err(_) => Ok(0),
            }
        }

        fn send(&mut self, _: &Packet, _: Side) -> io::Result<()> {
            Ok(())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn counters(&self) -> DeviceCounters {
            DeviceCounters::default()
        }
    }

    fn three() -> (Vec<UnixDatagram>, Workers) {
        let config = config("198.51.100.0/28", 3);
        let (key, seeds) = Seed::from_number(1).for_workers(3);
        let owners = Arc::new(Owners::new(&config, key));
        let wakes: Vec<Wake> = (0..3).map(|_| Wake::new().unwrap()).collect();
        let (orders, devices): (Vec<_>, Vec<_>) = (0..3)
            .map(|_| {
                let (order, device) = UnixDatagram::pair().unwrap();
                device.set_nonblocking(true).unwrap();
                (order, Fuse(device))
            })
            .unzip();
        let clock = Clock::start();
        let plan = Plan {
            config: &config,
            owners: &owners,
            seeds: &seeds,
            wakes: &wakes,
            clock,
            events: None,
            quarantine: &[],
        };
        (orders, Workers::start(devices, Vec::new(), &plan).unwrap())
    }

    fn wait_for_the_end(workers: &mut Workers) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ended = runtime.block_on(async { tokio::time::timeout(ANSWER_TIMEOUT, workers.ended()).await });
        ended.expect("nobody said that a worker has ended");
    }

    #[test]
    fn one_that_cannot_go_on_ends_all_and_says_why() {
        let (orders, mut workers) = three();
        assert_eq!(workers.ask(Request::Snapshot).map(|all| all.len()), Ok(3));
        orders[1].send(b"fail").unwrap();
        wait_for_the_end(&mut workers);
        assert_eq!(workers.ask(Request::Snapshot).map(|all| all.len()), Err(NoAnswer));
        let error = workers.stop().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "the cable is cut");
        assert!(workers.stop().is_none());
    }

    #[test]
    fn one_that_panics_ends_all() {
        let (orders, mut workers) = three();
        orders[2].send(b"panic").unwrap();
        wait_for_the_end(&mut workers);
        let error = workers.stop().unwrap().unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
    }

    #[test]
    fn all_end_with_their_owner() {
        let (orders, workers) = three();
        drop(workers);
        // Nobody holds the other ends any more.
        assert!(orders.iter().all(|order| order.send(b"?").is_err()));
    }
}
