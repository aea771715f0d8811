//! The daemon as a value: `aftr run` starts one for the host, `aftr lab` one inside a namespace.

use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use ipnet::Ipv6Net;
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::sync::oneshot;

use super::clock::Clock;
use super::data_plane::DataPlane;
use super::privileges;
use super::request::{Losses, Reply, Request, Snapshot};
use super::start_error::StartError;
use super::wake::Wake;
use super::worker::Worker;
use crate::engine::{Aftr, Config, Event, MappingView, Seed, SubscriberView, TtlBy};
use crate::io::Device;

/// How long an answer of the worker may take: it answers between two batches, and its longest pause is
/// the listing of a full table.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How a daemon is started, besides its configuration.
#[derive(Default)]
pub struct Options {
    /// Where events go; without it they are thrown away. The worker never waits for the reader: what
    /// does not fit is counted in [`Losses::events`].
    pub events: Option<SyncSender<Event>>,
    /// Give up every capability but `CAP_NET_ADMIN` once the devices are open: of this thread and of
    /// the threads that it makes later. The configuration file must stay readable without them.
    pub drop_privileges: bool,
}

/// A running AFTR: a device, its routes and one worker. Dropping it stops it.
pub struct Daemon {
    host: DataPlane,
    config: Config,
    clock: Clock,
    requests: Sender<Request>,
    wake: Wake,
    worker: Option<JoinHandle<io::Result<Snapshot>>>,
    ended: Option<oneshot::Receiver<()>>,
}

/// The worker gives no answer: it has ended, or hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoAnswer;

impl std::error::Error for NoAnswer {}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the worker gives no answer")
    }
}

/// Why a changed configuration was not taken over; nothing has changed then.
#[derive(Debug)]
pub enum ReloadError {
    /// These keys only change by a restart.
    NeedsRestart(Vec<&'static str>),
    /// The host does not have it.
    Host(StartError),
    /// The worker gives no answer.
    NoAnswer(NoAnswer),
}

impl std::error::Error for ReloadError {}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReloadError::NeedsRestart(keys) => write!(f, "only a restart changes {}", keys.join(", ")),
            ReloadError::Host(error) => error.fmt(f),
            ReloadError::NoAnswer(error) => error.fmt(f),
        }
    }
}

impl Daemon {
    /// Starts it in the network namespace of the calling thread, which later threads of the daemon
    /// share; all later calls must come from this thread.
    ///
    /// # Errors
    /// What this host lacks, and the cure. Nothing is left behind.
    pub fn start(config: Config, options: Options) -> Result<Daemon, StartError> {
        let (mut host, device) = DataPlane::set_up(&config)?;
        if options.drop_privileges {
            privileges::drop_all_but_net_admin().map_err(|error| {
                StartError::Refused("cannot drop privileges".into(), io::Error::other(error))
            })?;
        }
        let clock = Clock::start();
        let ttl = if device.kernel_routes() { TtlBy::Kernel } else { TtlBy::Engine };
        let seed = entropy().map_err(|error| StartError::Refused("no entropy".into(), error))?;
        let wake = Wake::new().map_err(|error| StartError::Refused("no eventfd".into(), error))?;
        let (requests, received_requests) = channel();
        host.start(&wake, clock)?;
        let worker = Worker {
            device,
            aftr: Aftr::new(&config, ttl, &seed, clock.now()),
            clock,
            requests: received_requests,
            wake: wake.clone(),
            events: options.events,
            losses: Losses::default(),
        };
        let (end, ended) = oneshot::channel::<()>();
        let worker = std::thread::Builder::new()
            .name("aftr-worker".into())
            .spawn(move || {
                // Dropped when the worker ends, however it ends.
                let _end = end;
                worker.run()
            })
            .map_err(|error| StartError::Refused("cannot start a thread".into(), error))?;
        Ok(Daemon { host, config, clock, requests, wake, worker: Some(worker), ended: Some(ended) })
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The clock that [`Snapshot::at`] and [`Event::at`] are read from.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Counters and gauges.
    ///
    /// # Errors
    /// When the worker has ended or hangs.
    pub fn snapshot(&self) -> Result<Snapshot, NoAnswer> {
        self.ask(Request::Snapshot)
    }

    /// Every mapping that lives. Packets wait meanwhile: about 10 ms for 100,000.
    ///
    /// # Errors
    /// When the worker has ended or hangs.
    pub fn mappings(&self) -> Result<Vec<MappingView>, NoAnswer> {
        self.ask(Request::Mappings)
    }

    /// Every subscriber that holds something. Packets wait meanwhile.
    ///
    /// # Errors
    /// When the worker has ended or hangs.
    pub fn subscribers(&self) -> Result<Vec<SubscriberView>, NoAnswer> {
        self.ask(Request::Subscribers)
    }

    /// Ends every mapping of every subscriber inside `prefix`; says how many.
    ///
    /// # Errors
    /// When the worker has ended or hangs.
    pub fn purge(&self, prefix: Ipv6Net) -> Result<usize, NoAnswer> {
        self.ask(|reply| Request::Purge(prefix, reply))
    }

    /// Takes over a changed configuration; what it still allows lives on.
    ///
    /// # Errors
    /// Why it cannot be; then the old configuration stays in force whole.
    pub fn reconfigure(&mut self, config: Config) -> Result<(), ReloadError> {
        // Routes come before the engine knows their addresses, and go after it has forgotten them.
        self.host.extend(&config).map_err(ReloadError::Host)?;
        let answer = self.ask(|reply| Request::Reconfigure(Box::new(config.clone()), reply));
        let refusal = match answer {
            Ok(Ok(())) => {
                self.host.shrink(&config);
                self.config = config;
                return Ok(());
            }
            Ok(Err(keys)) => ReloadError::NeedsRestart(keys),
            Err(error) => ReloadError::NoAnswer(error),
        };
        self.host.shrink(&self.config);
        Err(refusal)
    }

    /// Waits until the worker has ended by itself. [`Daemon::stop`] then says why.
    pub async fn ended(&mut self) {
        if let Some(ended) = &mut self.ended {
            let _ = ended.await;
            self.ended = None;
        }
    }

    /// Stops: the interface and its routes go. Gives the state at the end.
    ///
    /// # Errors
    /// Why the worker could not go on, when it ended before.
    pub fn stop(mut self) -> io::Result<Snapshot> {
        self.stop_worker().unwrap_or_else(|| Err(io::Error::other("the worker was stopped before")))
    }

    fn stop_worker(&mut self) -> Option<io::Result<Snapshot>> {
        let worker = self.worker.take()?;
        // One that has ended takes no request and is joined at once.
        let _ = self.requests.send(Request::Stop);
        self.wake.ring();
        Some(worker.join().unwrap_or_else(|_| Err(io::Error::other("the worker panicked"))))
    }

    fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, NoAnswer> {
        let (reply, answer): (SyncSender<T>, Receiver<T>) = sync_channel(1);
        self.requests.send(request(reply)).map_err(|_| NoAnswer)?;
        self.wake.ring();
        answer.recv_timeout(ANSWER_TIMEOUT).map_err(|_| NoAnswer)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop_worker();
    }
}

/// Ports must be hard to guess (RFC 6056): nothing but the kernel's randomness will do.
fn entropy() -> io::Result<Seed> {
    let mut bytes = [0; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
    }
    Ok(Seed::new(bytes))
}
