//! The thread that keeps the way to the neighbours: it listens to the kernel, publishes what changed, and
//! has the kernel ask for neighbours that a worker wants.
//!
//! The kernel does not see what we send, so it would forget neighbours, and not notice one that has moved:
//! those that packets went to are asked for again every few seconds.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::{Error, Handle, MulticastGroup};
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::clock::Clock;
use super::next_hops::{Tables, ask_for};
use super::wake::Wake;
use crate::io::packet::{Neighbour, Published};

/// How often neighbours that are used are asked for.
const REFRESH: Duration = Duration::from_secs(5);
/// What follows one change is waited for, so that many are read once.
const SETTLE: Duration = Duration::from_millis(2);
/// Reading the kernel's tables takes at most one part in this many of the thread's time.
const REST: u64 = 20;
/// Gateways that are asked for before any packet goes there.
const MOST_GATEWAYS: usize = 256;
const GROUPS: &[MulticastGroup] =
    &[MulticastGroup::Link, MulticastGroup::Neigh, MulticastGroup::Ipv4Route, MulticastGroup::Ipv6Route];

/// What the thread works with.
pub(super) struct Watch {
    pub(super) interfaces: Vec<u32>,
    pub(super) tables: Tables,
    pub(super) published: Arc<Published>,
    pub(super) wanted: Receiver<Neighbour>,
    pub(super) wakes: Vec<Wake>,
    pub(super) clock: Clock,
}

/// The running thread. Dropping it stops it.
pub(super) struct Neighbours {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Neighbours {
    /// Starts it in the network namespace, and with the capabilities, of the calling thread.
    pub(super) fn start(watch: Watch) -> io::Result<Neighbours> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (handle, events) = {
            let _guard = runtime.enter();
            let (connection, handle, events) = rtnetlink::new_multicast_connection(GROUPS)?;
            runtime.spawn(connection);
            (handle, events)
        };
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("aftr-neighbours".into())
            .spawn(move || runtime.block_on(watch.run(&handle, events, stopped)))?;
        Ok(Neighbours { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Which tables have changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Changes {
    routes: bool,
    neighbours: bool,
    links: bool,
}

impl Changes {
    const ALL: Changes = Changes { routes: true, neighbours: true, links: true };

    fn is_any(self) -> bool {
        self != Changes::default()
    }

    fn note(&mut self, message: &NetlinkMessage<RouteNetlinkMessage>) {
        let NetlinkPayload::InnerMessage(inner) = &message.payload else { return };
        #[expect(clippy::wildcard_enum_match_arm, reason = "the groups bring nothing else")]
        match inner {
            RouteNetlinkMessage::NewRoute(_) | RouteNetlinkMessage::DelRoute(_) => self.routes = true,
            RouteNetlinkMessage::NewNeighbour(_) | RouteNetlinkMessage::DelNeighbour(_) => {
                self.neighbours = true;
            }
            // An interface that goes down takes routes of IPv4 along, and says so once.
            _ => *self = Changes::ALL,
        }
    }
}

type Event = (NetlinkMessage<RouteNetlinkMessage>, rtnetlink::sys::SocketAddr);

impl Watch {
    async fn run(
        mut self,
        handle: &Handle,
        mut events: impl Stream<Item = Event> + Unpin,
        mut stop: oneshot::Receiver<()>,
    ) {
        let mut refresh = interval(REFRESH);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut changes = Changes::ALL;
        let pause = sleep(Duration::ZERO);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                _ = &mut stop => return,
                Some(neighbour) = self.wanted.recv() => ask(handle, neighbour).await,
                Some((message, _)) = events.next() => {
                    if pause.is_elapsed() && !changes.is_any() {
                        pause.set(sleep(SETTLE));
                    }
                    changes.note(&message);
                }
                _ = refresh.tick() => {
                    self.refresh(handle).await;
                    // Events may have been lost, and workers must forget what they remember.
                    changes = Changes::ALL;
                }
                () = &mut pause, if changes.is_any() => {
                    let start = self.clock.now();
                    self.publish(handle, std::mem::take(&mut changes)).await;
                    let took = self.clock.now().millis() - start.millis();
                    pause.set(sleep(Duration::from_millis(took * REST)));
                }
            }
        }
    }

    /// Asks again for every neighbour that packets went to, and for those that routes name.
    async fn refresh(&mut self, handle: &Handle) {
        self.tables.round += 1;
        let current = self.published.current();
        let used = current.neighbours.iter().filter(|(_, (_, used))| used.load(Ordering::Relaxed));
        let gateways = self.tables.routes.gateways().take(MOST_GATEWAYS);
        let whom: BTreeSet<Neighbour> = used.map(|(&neighbour, _)| neighbour).chain(gateways).collect();
        for neighbour in whom {
            // Asking for an entry that somebody wrote would make it one that can expire.
            if !self.tables.neighbours.get(&neighbour).is_some_and(|known| known.is_permanent) {
                ask(handle, neighbour).await;
            }
        }
    }

    /// Reads what has changed, and wakes the worker for it.
    async fn publish(&mut self, handle: &Handle, changes: Changes) {
        if let Err(error) = self.read(handle, changes).await {
            tracing::warn!(%error, "the kernel's routes or neighbours cannot be read; the old ones are used");
        }
        self.published.publish(Arc::new(self.tables.next_hops()));
        self.wakes.iter().for_each(Wake::ring);
    }

    async fn read(&mut self, handle: &Handle, changes: Changes) -> Result<(), Error> {
        if changes.links {
            self.tables.read_links(handle, &self.interfaces).await?;
        }
        if changes.routes {
            self.tables.read_routes(handle, &self.interfaces).await?;
        }
        if changes.neighbours {
            self.tables.read_neighbours(handle, &self.interfaces).await?;
        }
        Ok(())
    }
}

/// A refusal is most often an interface that is down: the packets that wait are counted when they are lost.
async fn ask(handle: &Handle, neighbour: Neighbour) {
    if let Err(error) = ask_for(handle, neighbour).await {
        let (interface, address) = neighbour;
        tracing::debug!(interface, %address, %error, "the kernel does not ask for a neighbour");
    }
}
