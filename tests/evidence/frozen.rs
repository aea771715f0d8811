//! A collector that is stopped (`SIGSTOP`), goes on, and is replaced by another one, at full rate.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use aftr::attribution::query::Archive;
use aftr::attribution::{Directory, Interval};
use aftr::export::{Change, What, records};
use rustix::process::{Pid, Signal, kill_process};

use crate::bed::{Bed, Daemon, eventually, in_namespaces, ip, meanwhile};
use crate::traffic::{Homes, OLD_HOMES, Witness};

const PORT: u16 = 4739;
/// New homes a second, at most: each is there for some seconds, and tables and pool have room for so many.
const MOST_HOMES: f64 = 30_000.0;
/// MiB of records that wait in memory, and of those that are sent again: the defaults.
const QUEUE: u32 = 64;
const RESEND: u32 = 40;
/// Milliseconds: journal and collectors are told the time by two readings of the clock.
const MOST_APART: u64 = 50;

/// IPX-40, IPX-41, IPX-43: nobody waits for a collector, and it has everything once in the end.
#[test]
fn a_frozen_collector_changes_nothing_and_misses_nothing() {
    in_namespaces("frozen::child_with_a_collector");
}

#[test]
#[ignore = "the child of another test"]
fn child_with_a_collector() {
    let is_long = std::env::var_os("AFTR_LONG").is_some();
    let frozen_for = Duration::from_secs(if is_long { 600 } else { 10 });
    let mut scene = Scene::new();
    // What all of them are told must fit into the memory of this test.
    scene.bound = is_long.then_some(3000.0);
    let (figures, old_sent) = scene.play(frozen_for);
    // A collector that is replaced while the daemon sends.
    scene.collector.kill();
    scene.collector = Collector::start(&scene.bed, "second");
    let rate_after = scene.new_homes_for(Duration::from_secs(3));
    let homes = scene.next - 1;
    let daemon = scene.daemon.take().unwrap();
    let told = wait_for_all(&scene, homes);
    let text = daemon.stop();
    let said = text.lines().filter(|line| line.contains("127.0.0.1:") || line.contains("events_lost"));
    println!("{}", said.collect::<Vec<_>>().join("\n"));
    assert!(text.contains("events_lost=0"), "{text}");
    check_told(&scene, &told, homes);
    scene.check_old(old_sent);
    println!(
        "{homes} homes; {:.0} new ones a second before, {:.0} while the collector was stopped for {:.0} s, {:.0} after \
         another took its place; {} packets of {OLD_HOMES} flows, none missing; memory grew by {} KiB before and {} KiB \
         meanwhile, spool {} MiB; every grant of the journal arrived, {} of {} records twice",
        figures.before,
        figures.frozen,
        frozen_for.as_secs_f64(),
        rate_after,
        old_sent * OLD_HOMES,
        figures.grown_before,
        figures.grown_frozen,
        figures.spool >> 20,
        told.twice,
        told.all,
    );
    assert!(figures.frozen > 0.5 * figures.before, "forwarding has become slower");
    // Queue and messages to send again, and tables that are touched for the first time.
    let most = u64::from(QUEUE + RESEND + 64) * 1024 + figures.grown_before;
    assert!(figures.grown_frozen < most, "the daemon has grown by {} KiB", figures.grown_frozen);
    assert!(figures.spool > 1 << 20, "nothing was spooled: {} octets", figures.spool);
}

struct Scene {
    bed: Bed,
    daemon: Option<Daemon>,
    collector: Collector,
    witness: Witness,
    next: u32,
    /// New homes a second, at most.
    most: Option<f64>,
    /// The same, once the tables are warm.
    bound: Option<f64>,
}

struct Figures {
    /// New homes a second.
    before: f64,
    frozen: f64,
    /// In KiB.
    grown_before: u64,
    grown_frozen: u64,
    /// Octets in the spool at the end of the frost.
    spool: u64,
}

impl Scene {
    fn new() -> Scene {
        let bed = Bed::new("frozen");
        let folder = bed.folder.display().to_string();
        // Ports come and go quickly: a home makes four events, and room for the next.
        let config = bed.configure(&format!(
            "[nat.timers]\nrelaxed-timers = true\nudp-timeout = 1\nhold-down-timeout = 1\n\
             [nat.mapping-limits]\nlimit-subscribers = 262144\nlimit-port-mappings = 262144\n\
             limit-sessions = 131072\n[[nat.external-ip-address-pool]]\npool-id = 1\n\
             external-ip-pool = ['198.18.0.0/21']\n[dataplane]\nmanage-host = true\noffload = false\n\
             [journal]\ndirectory = '{folder}/journal'\n\
             [[ipfix.collector]]\naddress = '127.0.0.1'\nport = {PORT}\nlog = 'mappings'\nreconnect-interval = 1\n\
             flush-interval-ms = 100\nspool = {{ directory = '{folder}/spool' }}\n"
        ));
        let config_text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(
            &config,
            config_text.replace("max-port-sets = 1\n", "max-port-sets = 1\nport-set-timeout = 1\n"),
        )
        .unwrap();
        let collector = Collector::start(&bed, "first");
        let witness = Witness::start(&bed);
        let daemon = Some(bed.start(&config));
        ip(&bed.aftr, "link set aftr0 txqueuelen 100000");
        Scene { bed, daemon, collector, witness, next: OLD_HOMES + 1, most: Some(MOST_HOMES), bound: None }
    }

    /// Before and during the frost, while the old homes send. Gives how often each of these did, too.
    fn play(&mut self, frozen_for: Duration) -> (Figures, u32) {
        let (is_over, sent) = (AtomicBool::new(false), AtomicU32::new(0));
        let mut homes = Homes::new(&self.bed);
        let sender = || {
            while !is_over.load(Ordering::Relaxed) {
                let number = sent.fetch_add(1, Ordering::Relaxed) + 1;
                (1..=OLD_HOMES).for_each(|home| homes.send(home, number));
                homes.kick();
                std::thread::sleep(Duration::from_millis(100));
            }
        };
        let figures = meanwhile(&is_over, sender, || self.measure(frozen_for));
        std::thread::sleep(Duration::from_millis(300));
        (figures, sent.into_inner())
    }

    fn measure(&mut self, frozen_for: Duration) -> Figures {
        let memory = |scene: &Scene| scene.daemon.as_ref().unwrap().memory();
        // Tables are touched for the first time, which takes longest for the last of them.
        self.new_homes_for(Duration::from_secs(if self.bound.is_some() { 30 } else { 8 }));
        self.most = self.bound.or(self.most);
        let at_first = memory(self);
        let before = self.new_homes_for(Duration::from_secs(6));
        let warm = memory(self);
        self.collector.signal(Signal::STOP);
        let frozen = self.new_homes_for(frozen_for);
        let spool = octets(&self.bed.folder.join("spool"));
        let after = memory(self);
        self.collector.signal(Signal::CONT);
        let (grown_before, grown_frozen) = (warm.saturating_sub(at_first), after.saturating_sub(warm));
        Figures { before, frozen, grown_before, grown_frozen, spool }
    }

    /// New homes as fast as their packets arrive, none of which may be lost. Gives how many a second.
    fn new_homes_for(&mut self, time: Duration) -> f64 {
        let mut link = Homes::new(&self.bed);
        let (begin, first, arrived) = (instant(), self.next, self.witness.new_homes());
        while begin.elapsed() < time {
            (0..64).for_each(|number| link.send(self.next + number, 1));
            link.kick();
            self.next += 64;
            let sent = u64::from(self.next - first);
            let is_there = || self.witness.new_homes() - arrived + 512 > sent;
            let is_due = || self.most.is_none_or(|most| begin.elapsed().as_secs_f64() * most > sent as f64);
            while !is_there() || !is_due() {
                std::thread::sleep(Duration::from_micros(100));
                assert!(begin.elapsed() < time + Duration::from_secs(10), "packets of new homes are missing");
            }
        }
        let sent = u64::from(self.next - first);
        eventually("the last new homes", || self.witness.new_homes() - arrived == sent);
        f64::from(self.next - first) / begin.elapsed().as_secs_f64()
    }

    fn check_old(&self, sent: u32) {
        let mut arrived: HashMap<u32, u32> = HashMap::new();
        for seen in self.witness.take().iter().filter(|seen| seen.home <= OLD_HOMES) {
            *arrived.entry(seen.home).or_default() += 1;
        }
        let missing = (1..=OLD_HOMES).filter(|home| arrived.get(home) != Some(&sent)).count();
        assert_eq!(missing, 0, "of {OLD_HOMES} homes that sent {sent} packets");
    }
}

/// What both collectors have: grants and releases by the key of IPX-43, with how often each came.
struct Told {
    sets: BTreeMap<(u64, bool, u32, u16, u128), u32>,
    /// Of grants.
    grants: usize,
    twice: usize,
    all: usize,
}

fn told(scene: &Scene) -> Told {
    let mut told = Told { sets: BTreeMap::new(), grants: 0, twice: 0, all: 0 };
    for entry in std::fs::read_dir(scene.bed.folder.join("collected")).unwrap() {
        let octets = std::fs::read(entry.unwrap().path()).unwrap();
        for record in records(&octets).0 {
            told.all += 1;
            if let What::PortSet { change, host, external, first_port, .. } = record.what {
                let is_grant = change == Change::Begin;
                let key = (record.at, is_grant, external.to_bits(), first_port, host.b4.to_bits());
                let count = told.sets.entry(key).or_default();
                *count += 1;
                told.grants += usize::from(*count == 1 && is_grant);
                told.twice += usize::from(*count > 1);
            }
        }
    }
    told
}

fn wait_for_all(scene: &Scene, homes: u32) -> Told {
    for _ in 0..60 {
        let now = told(scene);
        if now.grants as u32 >= homes {
            return now;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    told(scene)
}

/// The journal is what is true: each of its grants has arrived, and nothing else has.
fn check_told(scene: &Scene, told: &Told, homes: u32) {
    let archive = Archive::open(&Directory::new(&scene.bed.folder.join("journal"))).unwrap();
    let mut intervals = archive.recent().to_vec();
    for partition in &archive.catalogue().partitions {
        intervals.extend(archive.rows_of(partition).unwrap());
    }
    // One that goes on behind a partition stands in the next one too.
    let mut journal: BTreeMap<(u32, u16, u128), BTreeSet<u64>> = BTreeMap::new();
    for Interval { holding, start, .. } in intervals {
        let key = (holding.external.to_bits(), holding.first_port, holding.b4.to_bits());
        journal.entry(key).or_default().insert(start);
    }
    assert_eq!(
        journal.values().map(BTreeSet::len).sum::<usize>() as u32,
        homes,
        "each home was granted one set"
    );
    let mut later = 0;
    for &(at, is_grant, external, first_port, b4) in told.sets.keys().filter(|key| key.1) {
        let recorded = &journal[&(external, first_port, b4)];
        assert!(
            recorded.iter().any(|&other| other.abs_diff(at) <= MOST_APART),
            "{is_grant} {at} {recorded:?}"
        );
        later += usize::from(!recorded.contains(&at));
    }
    println!("{later} of {} grants have another time than in the journal", told.grants);
    assert!(later * 50 < told.grants, "clocks disagree");
    assert_eq!(told.grants as u32, homes, "grants that the collectors have");
}

/// A process that keeps what it reads, one file for each session.
struct Collector(Child);

impl Collector {
    fn start(bed: &Bed, name: &str) -> Collector {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "frozen::child_that_collects", "--ignored", "--nocapture"]);
        let folder = bed.folder.join("collected");
        std::fs::create_dir_all(&folder).unwrap();
        command.env("STREAMS", folder.join(name)).stdout(Stdio::null());
        Collector(bed.aftr.run(|| command.spawn()).unwrap().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.kill();
    }
}

#[test]
#[ignore = "the child of another test"]
fn child_that_collects() {
    let path = std::env::var("STREAMS").unwrap();
    // The one before may have left its port a moment ago.
    let mut listener = TcpListener::bind(("127.0.0.1", PORT));
    for _ in 0..100 {
        if listener.is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
        listener = TcpListener::bind(("127.0.0.1", PORT));
    }
    for (number, session) in listener.unwrap().incoming().enumerate() {
        let (mut session, path) = (session.unwrap(), format!("{path}-{number}"));
        std::thread::spawn(move || {
            let mut file = std::fs::File::create(path).unwrap();
            let mut buffer = vec![0; 1 << 16];
            while let Ok(octets @ 1..) = session.read(&mut buffer) {
                file.write_all(&buffer[..octets]).unwrap();
            }
        });
    }
}

fn octets(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => octets(&entry.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .sum()
}

#[expect(clippy::disallowed_methods, reason = "how long it takes")]
fn instant() -> Instant {
    Instant::now()
}
