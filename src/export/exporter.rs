//! All targets of a configuration, each with its own queue and thread, and the one place where events go in.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use aftr_config::{Export, Format, Log, Target};

use super::counters::{Counters, ExportCounters};
use super::datagrams::Datagrams;
use super::form::{Form, Surroundings};
use super::instance::Instance;
use super::ledger::{Ledger, Stamped};
use super::link::{self, Tcp};
use super::queue::Queue;
use super::record::{Class, Record};
use super::session::{Pause, Session};
use super::spool::Spool;
use super::time::Clock;

/// Records that wake a target before its flush interval is over.
const BATCH: usize = 1024;
/// Longest wait for a socket: what comes in meanwhile must fit into the queue.
const SOCKET_WAIT: Duration = Duration::from_millis(50);

const SPOOL_CURE: &str = "\n  give a directory that the account of aftr may write; under systemd one below \
                          /var/lib/aftr/spool (docs/export.md)";
const TLS_CURE: &str = "\n  give PEM files that the account of aftr may read; under systemd by LoadCredential= \
                        (docs/export.md)";

/// Tells all targets of a configuration.
pub struct Exporter {
    ledger: Ledger,
    targets: Vec<Running>,
    shared: Arc<Shared>,
    /// Of one offer: all records, and those that one target wants.
    all: Vec<Record>,
    wanted: Vec<Record>,
}

/// Classes of records that a target is told of.
#[derive(Clone, Copy, PartialEq)]
struct Wants {
    mappings: bool,
    notices: bool,
}

struct Running {
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    wants: Wants,
    thread: Option<JoinHandle<()>>,
}

/// What the threads of all targets look at.
struct Shared {
    clock: Arc<dyn Clock>,
    instance: Mutex<Arc<Instance>>,
    /// When targets that could not be told everything give up, by the monotonic clock; at first never.
    deadline: AtomicU64,
}

impl Exporter {
    /// Starts a thread for every target of the configuration. With none it does nothing, cheaply.
    ///
    /// # Errors
    /// When a spool's directory cannot be made or read, or a thread cannot be started. Collectors that are away
    /// are no error.
    pub fn start(config: &Export, instance: Instance, clock: Arc<dyn Clock>) -> io::Result<Exporter> {
        let log_mappings = config.targets().any(|target| target.log == Log::Mappings);
        let shared = Arc::new(Shared {
            clock,
            instance: Mutex::new(Arc::new(instance.clone())),
            deadline: AtomicU64::new(u64::MAX),
        });
        let mut targets = Vec::new();
        for (number, collector) in (1..).zip(&config.collectors) {
            let format = if collector.format == Format::Ipfix { "ipfix" } else { "netflow-v9" };
            let form = Form::of_collector(collector, number, &instance);
            let refresh = collector.template_refresh;
            // Collectors of NetFlow know no thresholds.
            let notices = collector.format == Format::Ipfix;
            let wants = Wants { mappings: collector.target.log == Log::Mappings, notices };
            targets.push(Running::start(&collector.target, format, form, refresh, wants, &shared)?);
        }
        for receiver in &config.receivers {
            let form = Form::of_receiver(receiver, &instance);
            let wants = Wants { mappings: receiver.target.log == Log::Mappings, notices: true };
            // Of syslog nothing but the quality of the time is repeated.
            targets.push(Running::start(&receiver.target, "syslog", form, 86_400, wants, &shared)?);
        }
        let ledger = Ledger::new(instance, log_mappings);
        Ok(Exporter { ledger, targets, shared, all: Vec::new(), wanted: Vec::new() })
    }

    /// Takes events, in their order. Never waits for a collector or a disk: what does not fit in a target's queue
    /// is lost to it and counted.
    pub fn offer(&mut self, events: &[Stamped]) {
        if self.targets.is_empty() {
            return;
        }
        self.all.clear();
        for event in events {
            self.ledger.enter(event, &mut self.all);
        }
        self.tell();
    }

    /// The translator has ended, and with it everything that somebody held: whoever was told of a begin is told of
    /// its end (RFC 8158 has one for each).
    pub fn end_all(&mut self, unix_millis: u64) {
        self.all.clear();
        self.ledger.end_all(unix_millis, &mut self.all);
        self.tell();
    }

    fn tell(&mut self) {
        let Some(last) = self.all.last() else { return };
        let now = last.at;
        for target in &self.targets {
            if target.wants == (Wants { mappings: true, notices: true }) {
                target.queue.push(&self.all, now);
                continue;
            }
            self.wanted.clear();
            self.wanted.extend(self.all.iter().filter(|record| target.wants.has(record.class())));
            target.queue.push(&self.wanted, now);
        }
    }

    /// The counters of every target, to be read from any thread.
    #[must_use]
    pub fn counters(&self) -> ExportCounters {
        ExportCounters { targets: self.targets.iter().map(|target| Arc::clone(&target.counters)).collect() }
    }

    /// After a reload that left `[ipfix]` and `[syslog]` alone: other pools and limits. When these sections
    /// changed, stop this exporter and start another.
    pub fn set_instance(&mut self, instance: Instance) {
        *self.shared.instance.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(instance.clone());
        self.ledger.instance = instance;
    }

    /// Ends: what waits is sent as long as `patience` lasts; what is left then, or may not have been read, goes
    /// to the spools.
    pub fn stop(mut self, patience: Duration) -> ExportCounters {
        let counters = self.counters();
        let deadline = self.shared.clock.now().monotonic + patience;
        self.shared.deadline.store(deadline.millis(), Ordering::Release);
        self.targets.iter().for_each(|target| target.queue.close());
        for thread in self.targets.iter_mut().filter_map(|target| target.thread.take()) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
        counters
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // Threads that nobody waits for put what they have into their spools and end.
        self.shared.deadline.fetch_min(0, Ordering::AcqRel);
        self.targets.iter().for_each(|target| target.queue.close());
    }
}

impl Wants {
    fn has(self, class: Class) -> bool {
        match class {
            Class::Notice => self.notices,
            Class::Mapping => self.mappings,
            Class::Grant => true,
        }
    }
}

impl Running {
    fn start(
        target: &Target,
        format: &str,
        form: Form,
        template_refresh: u32,
        wants: Wants,
        shared: &Arc<Shared>,
    ) -> io::Result<Running> {
        let queue = Arc::new(Queue::new(target.queue_octets, BATCH));
        let address: SocketAddr = link::address(target);
        let counters = Arc::new(Counters::new(format, address, Arc::clone(&queue)));
        let flush = Duration::from_millis(u64::from(target.flush_interval_ms));
        let about = About { shared: Arc::clone(shared), counters: Arc::clone(&counters) };
        let waits = Waits { queue: Arc::clone(&queue), flush };
        let builder = std::thread::Builder::new().name("aftr-export".into());
        let (own_queue, own_counters) = (Arc::clone(&queue), Arc::clone(&counters));
        let thread = if target.is_tcp() {
            let now = shared.clock.now();
            let domain = shared.instance().nat_instance_id;
            let open = |spool| {
                Spool::open(spool, domain, now).map_err(|error| {
                    io::Error::new(
                        error.kind(),
                        format!("spool {}: {error}{SPOOL_CURE}", spool.directory.display()),
                    )
                })
            };
            let spool = target.spool.as_ref().map(open).transpose()?;
            let link = Tcp::new(target).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: tls: {error}{TLS_CURE}", counters.name()))
            })?;
            let session = Session::new(link, target, form, spool, own_queue, own_counters);
            builder.spawn(move || run_session(session, &about, &waits))?
        } else {
            let datagrams = Datagrams::new(target, form, template_refresh, own_queue, own_counters);
            builder.spawn(move || run_datagrams(datagrams, &about, &waits))?
        };
        Ok(Running { queue, counters, wants, thread: Some(thread) })
    }
}

impl Shared {
    fn instance(&self) -> Arc<Instance> {
        Arc::clone(&self.instance.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a target's thread tells of.
struct About {
    shared: Arc<Shared>,
    counters: Arc<Counters>,
}

impl About {
    fn with<T>(&self, act: impl FnOnce(&Surroundings<'_>) -> T) -> T {
        let instance = self.shared.instance();
        let quality = self.shared.clock.quality();
        act(&Surroundings { instance: &instance, loss: self.counters.loss(), quality })
    }
}

/// What a target's thread waits for.
struct Waits {
    queue: Arc<Queue>,
    flush: Duration,
}

fn run_session(mut session: Session<Tcp>, about: &About, waits: &Waits) {
    let clock = &about.shared.clock;
    let is_over = || clock.now().monotonic.millis() >= about.shared.deadline.load(Ordering::Acquire);
    loop {
        let now = clock.now();
        let pause = about.with(|about| session.step(about, now));
        if waits.queue.is_closed() && (session.is_idle() || session.is_away() || is_over()) {
            break;
        }
        match pause {
            Pause::None => {}
            Pause::Records => waits.queue.wait(waits.flush),
            Pause::Socket => session.wait_socket(SOCKET_WAIT),
            Pause::Time => waits.queue.rest(waits.flush),
        }
    }
    let was_read = loop {
        match if session.is_idle() { session.finish() } else { Some(false) } {
            Some(was_read) => break was_read,
            None if is_over() => break false,
            None => {}
        }
    };
    session.end(was_read, clock.now());
}

fn run_datagrams(mut datagrams: Datagrams, about: &About, waits: &Waits) {
    loop {
        let now = about.shared.clock.now();
        about.with(|about| datagrams.step(about, now));
        if waits.queue.is_closed() {
            break datagrams.end(now);
        }
        if datagrams.is_idle() {
            waits.queue.wait(waits.flush);
        } else {
            waits.queue.rest(waits.flush);
        }
    }
}
