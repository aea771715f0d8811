//! The AFTR of the lab: the daemon of `aftr run`, in a namespace and on a thread of its own.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use anyhow::Context as _;

use super::topology::Node;
use crate::daemon::{Daemon, Options, Snapshot};
use crate::engine::{Config, Counters, DropReason, Instant, MappingView};

/// What the other threads ask the daemon's thread to do.
type Work = Box<dyn FnOnce(&mut Daemon) + Send>;

/// A running AFTR.
pub struct Gateway {
    node: Node,
    work: Option<Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

impl Gateway {
    /// Starts the daemon in the namespace of `node`.
    ///
    /// # Errors
    /// What this host lacks.
    pub fn start(node: Node, config: Config) -> anyhow::Result<Gateway> {
        let (work, received) = channel::<Work>();
        let (ready, started) = channel();
        let thread = std::thread::scope(|scope| {
            // The thread must be in the namespace before it opens anything there.
            let entered = scope.spawn(|| {
                node.enter()?;
                std::thread::Builder::new()
                    .name("aftr".into())
                    .spawn(move || serve(config, &ready, received))
                    .context("cannot start a thread")
            });
            entered.join().map_err(|_| anyhow::anyhow!("the thread of the AFTR panicked"))?
        })?;
        started.recv().context("the AFTR ended while it started")??;
        Ok(Gateway { node, work: Some(work), thread: Some(thread) })
    }

    /// Its host.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Counters and gauges.
    ///
    /// # Errors
    /// When the worker gives no answer.
    pub fn snapshot(&self) -> anyhow::Result<Snapshot> {
        Ok(self.ask(|daemon| daemon.snapshot())??)
    }

    /// The same of each worker.
    ///
    /// # Errors
    /// When a worker gives no answer.
    pub fn snapshots(&self) -> anyhow::Result<Vec<Snapshot>> {
        Ok(self.ask(|daemon| daemon.snapshots())??)
    }

    /// The configuration in force.
    ///
    /// # Errors
    /// When the AFTR has ended.
    pub fn config(&self) -> anyhow::Result<Config> {
        self.ask(|daemon| daemon.config().clone())
    }

    /// Takes over a changed configuration, as a reload does.
    ///
    /// # Errors
    /// Why it cannot be; then nothing has changed.
    pub fn reconfigure(&self, config: Config) -> anyhow::Result<()> {
        Ok(self.ask(|daemon| daemon.reconfigure(config))??)
    }

    /// The counter of a drop reason.
    ///
    /// # Errors
    /// When the worker gives no answer.
    pub fn dropped(&self, reason: DropReason) -> anyhow::Result<u64> {
        let counters: Counters = self.snapshot()?.counters;
        Ok(counters.dropped(reason))
    }

    /// Every mapping that lives.
    ///
    /// # Errors
    /// When the worker gives no answer.
    pub fn mappings(&self) -> anyhow::Result<Vec<MappingView>> {
        Ok(self.ask(|daemon| daemon.mappings())??)
    }

    /// The AFTR's time.
    ///
    /// # Errors
    /// When the worker gives no answer.
    pub fn now(&self) -> anyhow::Result<Instant> {
        Ok(self.snapshot()?.at)
    }

    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Daemon) -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let (reply, answer) = channel();
        let work: Work = Box::new(move |daemon| {
            let _ = reply.send(question(daemon));
        });
        self.work.as_ref().context("the AFTR was stopped")?.send(work).ok().context("the AFTR has ended")?;
        answer.recv().context("the AFTR has ended")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(config: Config, ready: &Sender<anyhow::Result<()>>, work: Receiver<Work>) {
    let mut daemon = match Daemon::start(config, Options { tells_events: true, ..Options::default() }) {
        Ok(daemon) => daemon,
        Err(error) => {
            let _ = ready.send(Err(error.into()));
            return;
        }
    };
    let _ = ready.send(Ok(()));
    for work in work {
        work(&mut daemon);
    }
}
