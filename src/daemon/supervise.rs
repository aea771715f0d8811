//! A daemon as a service: signals, reload, the service manager and the status line.
//!
//! | signal | what it does |
//! |---|---|
//! | `SIGTERM`, `SIGINT` | stop: the interface and its routes go |
//! | `SIGHUP` | read the configuration again; a wrong one changes nothing |

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::load::load_with_text;
use super::privileges;
use super::service::{Daemon, Options};
use super::service_manager;
use super::status::Status;
use crate::engine::Config;
use crate::export::{ExportCounters, TargetStatus};

/// Between two status lines.
const STATUS_INTERVAL: Duration = Duration::from_secs(60);

/// Runs an AFTR until it is told to stop. `config` was read from the file at `path`, as `text`; a
/// reload reads it again.
///
/// # Errors
/// A [`super::StartError`], or why the AFTR could not go on.
pub fn supervise(path: &Path, config: Config, text: String) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Signals are caught before there is anything to clean up.
    let mut notices = runtime.block_on(async { Notices::new() })?;
    let options = Options { tells_events: true, drop_privileges: true, text: Some(text) };
    let daemon = Daemon::start(config, options)?;
    tracing::info!(
        version = %env!("CARGO_PKG_VERSION"),
        configuration = %path.display(),
        capabilities = %privileges::in_effect(),
        "aftr runs"
    );
    service_manager::ready("translating");
    attend(&runtime, &mut notices, daemon, path)
}

/// Does what each notice asks for. Only the waiting is asynchronous: netlink has a runtime of its own.
fn attend(runtime: &Runtime, notices: &mut Notices, mut daemon: Daemon, path: &Path) -> anyhow::Result<()> {
    let mut status = Status::default();
    loop {
        match runtime.block_on(notices.next(&mut daemon)) {
            Notice::Stop(signal) => {
                tracing::info!(%signal, "stopping");
                service_manager::stopping();
                let (journal, collectors) = (daemon.journal_health(), daemon.export_counters());
                let last = daemon.stop().context("the worker ended by itself")?;
                status.report(last, journal, &told(collectors));
                tracing::info!("stopped");
                return Ok(());
            }
            Notice::Reload => {
                service_manager::reloading();
                let outcome = reload(&mut daemon, path);
                service_manager::ready(outcome);
            }
            Notice::Status => match daemon.snapshot() {
                Ok(snapshot) => {
                    let (journal, collectors) = (daemon.journal_health(), daemon.export_counters());
                    service_manager::status(&status.report(snapshot, journal, &told(collectors)));
                }
                Err(error) => tracing::error!(%error, "no status"),
            },
            // Said only when the worker answers: systemd then restarts one that hangs.
            Notice::Watchdog => match daemon.snapshot() {
                Ok(_) => service_manager::alive(),
                Err(error) => tracing::error!(%error, "the watchdog is not fed"),
            },
            Notice::WorkerEnded => match daemon.stop() {
                Ok(_) => bail!("the worker ended by itself"),
                Err(error) => return Err(error).context("the worker cannot go on"),
            },
        }
    }
}

fn reload(daemon: &mut Daemon, path: &Path) -> &'static str {
    let (config, text) = match load_with_text(path) {
        Ok(loaded) => loaded,
        Err(error) => {
            tracing::error!(%error, "the old configuration stays in force");
            return "translating; the last reload found errors in the configuration";
        }
    };
    match daemon.reconfigure(config) {
        Ok(()) => {
            daemon.keep_configuration(text);
            tracing::info!(configuration = %path.display(), "reloaded");
            "translating; reloaded"
        }
        Err(error) => {
            tracing::error!(%error, "the old configuration stays in force");
            "translating; the last reload was refused"
        }
    }
}

fn told(collectors: Option<ExportCounters>) -> Vec<TargetStatus> {
    collectors.map(|counters| counters.status()).unwrap_or_default()
}

enum Notice {
    Stop(&'static str),
    Reload,
    Status,
    Watchdog,
    WorkerEnded,
}

/// What can end the wait of the supervising thread.
struct Notices {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    status: Interval,
    watchdog: Option<Interval>,
}

impl Notices {
    fn new() -> anyhow::Result<Notices> {
        Ok(Notices {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            status: every(STATUS_INTERVAL),
            watchdog: service_manager::watchdog_interval().map(every),
        })
    }

    async fn next(&mut self, daemon: &mut Daemon) -> Notice {
        tokio::select! {
            _ = self.terminate.recv() => Notice::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Notice::Stop("SIGINT"),
            _ = self.hangup.recv() => Notice::Reload,
            () = daemon.ended() => Notice::WorkerEnded,
            _ = self.status.tick() => Notice::Status,
            () = tick(&mut self.watchdog) => Notice::Watchdog,
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    // The first tick is one period away.
    interval.reset();
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}
