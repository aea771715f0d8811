//! A bare forwarder: a loop on a thread of its own, until it is dropped.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::event::{PollFd, Timespec, poll};

use crate::commands::lab::topology::Node;

/// How often a loop looks whether it is to stop, when nothing comes.
const STOP_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// A running loop, and the host that it runs on.
pub(super) struct Bare {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
    _node: Node,
}

impl Bare {
    /// Runs `work`, which ends when what it is given is set.
    pub(super) fn start(
        node: Node,
        name: &str,
        work: impl FnOnce(&AtomicBool) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Bare> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || work(&stopped))?;
        Ok(Bare { stop, thread: Some(thread), _node: node })
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Waits until one of the descriptors is ready, or it is time to look whether to stop.
pub(super) fn wait(descriptors: &mut [PollFd<'_>]) {
    // An interrupted wait is as good as one that has ended.
    let _ = poll(descriptors, Some(&STOP_INTERVAL));
}
