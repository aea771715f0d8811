//! The daemon as a value: `aftr run` starts one for the host, `aftr lab` one inside a namespace.

use std::fmt;
use std::io;
use std::sync::Arc;

use ipnet::Ipv6Net;
use rustix::rand::{GetRandomFlags, getrandom};

use super::clock::Clock;
use super::data_plane::DataPlane;
use super::event_log::EventLog;
use super::journal_keeper::JournalKeeper;
use super::privileges;
use super::request::{Request, Snapshot};
use super::start_error::StartError;
use super::wake::Wake;
use super::workers::{NoAnswer, Plan, Workers};
use crate::attribution::wal::{Health, Producer};
use crate::engine::{Config, MappingView, Owners, Seed, SubscriberView};
use crate::export::ExportCounters;

/// How a daemon is started, besides its configuration.
#[derive(Default)]
pub struct Options {
    /// Log events, and tell the collectors of the configuration; else they are thrown away. No worker ever waits
    /// for that: what does not fit is counted in [`super::Losses::events`].
    pub tells_events: bool,
    /// The text of the configuration, for the journal to keep.
    pub text: Option<String>,
    /// Give up every capability but `CAP_NET_ADMIN` once the devices are open: of this thread and of
    /// the threads that it makes later. The configuration file must stay readable without them.
    pub drop_privileges: bool,
}

/// A running AFTR: devices, their routes and the workers. Dropping it stops it.
pub struct Daemon {
    host: DataPlane,
    config: Config,
    owners: Arc<Owners>,
    clock: Clock,
    workers: Workers,
    /// Closed after the workers.
    journal: Option<JournalKeeper>,
    /// Ends after the workers, too.
    events: Option<EventLog>,
}

/// Why a changed configuration was not taken over; nothing has changed then.
#[derive(Debug)]
pub enum ReloadError {
    /// These keys only change by a restart.
    NeedsRestart(Vec<&'static str>),
    /// The host does not have it.
    Host(StartError),
    /// A worker gives no answer.
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
        let seed = entropy().map_err(|error| StartError::Refused("no entropy".into(), error))?;
        let (key, seeds) = seed.for_workers(config.dataplane.workers);
        let owners = Arc::new(Owners::new(&config, key));
        let (mut host, devices) = DataPlane::set_up(&config, &owners)?;
        if options.drop_privileges {
            privileges::drop_all_but_net_admin().map_err(|error| {
                StartError::Refused("cannot drop privileges".into(), io::Error::other(error))
            })?;
        }
        let clock = Clock::start();
        let (mut journal, producers) = open_journal(&config, options.text.as_deref(), clock)?;
        let wakes = (0..config.dataplane.workers).map(|_| Wake::new()).collect::<io::Result<Vec<Wake>>>();
        let wakes = wakes.map_err(|error| StartError::Refused("no eventfd".into(), error))?;
        host.start(&wakes, clock)?;
        // Threads inherit capabilities, so this one comes after they were dropped.
        let events = options.tells_events.then(|| EventLog::start(&config, clock)).transpose()?;
        if let (Some(journal), Some(events)) = (&mut journal, &events) {
            events.tell(std::mem::take(&mut journal.untold));
        }
        let plan = Plan {
            config: &config,
            owners: &owners,
            seeds: &seeds,
            wakes: &wakes,
            clock,
            events: events.as_ref().and_then(EventLog::events),
            quarantine: journal.as_ref().map_or(&[], |journal| &journal.quarantine),
        };
        let workers = Workers::start(devices, producers, &plan)?;
        Ok(Daemon { host, config, owners, clock, workers, journal, events })
    }

    /// Has the journal keep the text of the configuration in force.
    pub(super) fn keep_configuration(&self, text: String) {
        if let Some(journal) = &self.journal {
            journal.keep_configuration(text);
        }
    }

    /// How the journal does, if there is one.
    #[must_use]
    pub fn journal_health(&self) -> Option<Health> {
        self.journal.as_ref().and_then(JournalKeeper::health)
    }

    /// What became of the records of each collector; they can still be read when the daemon has stopped.
    #[must_use]
    pub fn export_counters(&self) -> Option<ExportCounters> {
        self.events.as_ref().map(EventLog::counters)
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The clock that [`Snapshot::at`] and `Event::at` are read from.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Counters and gauges.
    ///
    /// # Errors
    /// When a worker has ended or hangs.
    pub fn snapshot(&self) -> Result<Snapshot, NoAnswer> {
        Snapshot::of_all(self.workers.ask(Request::Snapshot)?).ok_or(NoAnswer)
    }

    /// The same of each worker, in the order of their numbers.
    ///
    /// # Errors
    /// When a worker has ended or hangs.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>, NoAnswer> {
        self.workers.ask(Request::Snapshot)
    }

    /// Every mapping that lives. Packets wait meanwhile: about 10 ms for 100,000.
    ///
    /// # Errors
    /// When a worker has ended or hangs.
    pub fn mappings(&self) -> Result<Vec<MappingView>, NoAnswer> {
        Ok(self.workers.ask(Request::Mappings)?.concat())
    }

    /// Every subscriber that holds something. Packets wait meanwhile.
    ///
    /// # Errors
    /// When a worker has ended or hangs.
    pub fn subscribers(&self) -> Result<Vec<SubscriberView>, NoAnswer> {
        Ok(self.workers.ask(Request::Subscribers)?.concat())
    }

    /// Ends every mapping of every subscriber inside `prefix`; says how many.
    ///
    /// # Errors
    /// When a worker has ended or hangs.
    pub fn purge(&self, prefix: Ipv6Net) -> Result<usize, NoAnswer> {
        Ok(self.workers.ask(|reply| Request::Purge(prefix, reply))?.iter().sum())
    }

    /// Takes over a changed configuration; what it still allows lives on.
    ///
    /// # Errors
    /// Why it cannot be; then the old configuration stays in force whole.
    pub fn reconfigure(&mut self, config: Config) -> Result<(), ReloadError> {
        self.owners.check_unmoved(&config).map_err(ReloadError::NeedsRestart)?;
        // Routes come before the engine knows their addresses, and go after it has forgotten them.
        self.host.extend(&config).map_err(ReloadError::Host)?;
        let part = config.of_one_worker();
        let answers = self.workers.ask(|reply| Request::Reconfigure(Box::new(part.clone()), reply));
        // What one of them refuses all of them refuse: it follows from the configurations alone.
        let refusal = match answers.map(|answers| answers.into_iter().collect::<Result<(), _>>()) {
            Ok(Ok(())) => {
                self.host.shrink(&config);
                if let Some(events) = &self.events {
                    events.reconfigure(&config);
                }
                self.config = config;
                return Ok(());
            }
            Ok(Err(keys)) => ReloadError::NeedsRestart(keys),
            Err(error) => ReloadError::NoAnswer(error),
        };
        self.host.shrink(&self.config);
        Err(refusal)
    }

    /// Waits until a worker has ended by itself. [`Daemon::stop`] then says why.
    pub async fn ended(&mut self) {
        self.workers.ended().await;
    }

    /// Stops: the interface and its routes go. Gives the state at the end.
    ///
    /// # Errors
    /// Why a worker could not go on, when it ended before.
    pub fn stop(mut self) -> io::Result<Snapshot> {
        self.workers.stop().unwrap_or_else(|| Err(io::Error::other("the workers were stopped before")))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.workers.stop();
    }
}

fn open_journal(
    config: &Config,
    text: Option<&str>,
    clock: Clock,
) -> Result<(Option<JournalKeeper>, Vec<Producer>), StartError> {
    let Some(journal) = &config.journal else { return Ok((None, Vec::new())) };
    let (keeper, producers) = JournalKeeper::open(journal, config.dataplane.workers, text, clock)?;
    Ok((Some(keeper), producers))
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
