//! Sessions against a simulated collector and clock.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use aftr_config::{Config, Format, Log};

use super::*;
use crate::export::Encoder;
use crate::export::decode;
use crate::export::instance::Instance;
use crate::export::message::tests::assorted;
use crate::export::record::Class;

const TEXT: &str = "[softwire]\naftr-ipv6-addr = ['2001:db8:aaaa::1']\n[[nat.external-ip-address-pool]]\n\
    pool-id = 7\nexternal-ip-pool = ['198.51.100.0/28']\n[[ipfix.collector]]\naddress = '127.0.0.1'\n\
    resend-mib = 1\n";

/// What the collector and the network do.
#[derive(Default)]
struct World {
    refuses: bool,
    /// Octets that the socket takes before it is full.
    takes: usize,
    is_broken: bool,
    connects: Vec<u64>,
    now: u64,
    /// What the collector read, one stream for each session.
    read: Vec<Vec<u8>>,
}

struct Wire(Arc<Mutex<World>>);

struct End(Arc<Mutex<World>>);

impl Link for Wire {
    type Stream = End;

    fn connect(&mut self) -> io::Result<End> {
        let mut world = self.0.lock().unwrap();
        let now = world.now;
        world.connects.push(now);
        if world.refuses {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        world.is_broken = false;
        world.read.push(Vec::new());
        Ok(End(Arc::clone(&self.0)))
    }
}

impl Stream for End {
    fn is_connected(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let mut world = self.0.lock().unwrap();
        if world.is_broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let taken = octets.len().min(world.takes);
        if taken == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        world.takes -= taken;
        world.read.last_mut().unwrap().extend(&octets[..taken]);
        Ok(taken)
    }

    fn is_open(&mut self) -> io::Result<bool> {
        Ok(!self.0.lock().unwrap().is_broken)
    }

    fn wait_writable(&mut self, _time: Duration) {}

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn wait_readable(&mut self, _time: Duration) {}
}

struct Bed {
    session: Session<Wire>,
    world: Arc<Mutex<World>>,
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    instance: Instance,
    folder: Option<PathBuf>,
    now: u64,
}

const START: u64 = 1_793_193_845_067;

impl Bed {
    fn new(spool: Option<&str>, queue_octets: u64) -> Bed {
        let config = Config::parse(TEXT).unwrap();
        let instance = Instance::of(&config, "aftr");
        let collector = &config.export.collectors[0];
        let queue = Arc::new(Queue::new(queue_octets, 100));
        let address = "127.0.0.1:4739".parse().unwrap();
        let counters = Arc::new(Counters::new("ipfix", address, Arc::clone(&queue)));
        let folder = spool.map(|name| {
            let folder = std::env::temp_dir().join(format!("aftr-session-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            folder
        });
        let now = Now { monotonic: Instant::ZERO, unix_millis: START };
        let spool = folder.as_ref().map(|folder| {
            let spool =
                aftr_config::Spool { directory: folder.clone(), most_octets: 1 << 30, most_hours: 24 };
            Spool::open(&spool, 1, now).unwrap()
        });
        let encoder = Encoder::new(Format::Ipfix, false, 1, 2000);
        let form = Form::Messages { encoder, log: Log::Mappings, number: 1, told: 0, named: Vec::new() };
        let world = Arc::new(Mutex::new(World { takes: usize::MAX, ..World::default() }));
        let link = Wire(Arc::clone(&world));
        let session =
            Session::new(link, &collector.target, form, spool, Arc::clone(&queue), Arc::clone(&counters));
        Bed { session, world, queue, counters, instance, folder, now: 0 }
    }

    fn world(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.world.lock().unwrap());
    }

    /// Steps of 100 ms.
    fn run(&mut self, millis: u64) {
        let end = self.now + millis;
        while self.now < end {
            self.now += 100;
            self.world.lock().unwrap().now = self.now;
            let now = Now { monotonic: Instant::from_millis(self.now), unix_millis: START + self.now };
            let about = Surroundings { instance: &self.instance, loss: self.counters.loss(), quality: None };
            while self.session.step(&about, now) == Pause::None {}
        }
    }

    fn sessions(&self) -> Vec<Vec<Record>> {
        let world = self.world.lock().unwrap();
        world.read.iter().map(|stream| decode::records(stream).0).collect()
    }

    /// What the collector knows in the end, each record once.
    fn known(&self) -> BTreeSet<u64> {
        self.sessions().concat().iter().map(|record| record.at).collect()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// The same records in the same order, without printing thousands of them.
fn assert_same(left: &[Record], right: &[Record]) {
    let differs = left.iter().zip(right).position(|(left, right)| left != right);
    assert!(
        differs.is_none() && left.len() == right.len(),
        "{differs:?} of {} and {}",
        left.len(),
        right.len()
    );
}

fn times(records: &[Record]) -> BTreeSet<u64> {
    records.iter().map(|record| record.at).collect()
}

/// IPX-4
#[test]
fn templates_come_first_in_every_session() {
    let mut bed = Bed::new(None, 1 << 20);
    bed.queue.push(&assorted(5), START);
    bed.run(1000);
    bed.world(|world| world.is_broken = true);
    bed.run(61_000 + 6000);
    let world = bed.world.lock().unwrap();
    assert_eq!(world.read.len(), 2);
    for stream in &world.read {
        assert_eq!(stream[16..18], [0, 2], "the first set is one of templates");
        assert_eq!(stream[8..12], [0; 4], "and the sequence begins");
    }
}

/// RFC 7011 section 4: a reload changes the addresses of a pool, and a session that goes on says so.
#[test]
fn a_pool_that_changed_is_named_again() {
    let mut bed = Bed::new(None, 1 << 20);
    bed.run(3000);
    let names = |bed: &Bed, name: &str| {
        let world = bed.world.lock().unwrap();
        let octets = &world.read[0];
        octets.windows(name.len()).filter(|window| *window == name.as_bytes()).count()
    };
    bed.instance.pools[0].name = "203.0.113.0/24".into();
    bed.run(3000);
    assert_eq!((bed.sessions().len(), names(&bed, "203.0.113.0/24")), (1, 1));
    bed.run(10_000);
    assert_eq!(names(&bed, "203.0.113.0/24"), 1);
}

/// IPX-41: what was away is sent in order, then what comes in.
#[test]
fn an_outage_is_spooled_and_replayed_in_order() {
    let mut bed = Bed::new(Some("outage"), 1 << 20);
    let records = assorted(30_000);
    bed.world(|world| world.refuses = true);
    for batch in records[..20_000].chunks(1000) {
        bed.queue.push(batch, START);
        bed.run(1000);
    }
    assert!(bed.session.spool.as_ref().unwrap().octets() > 500_000);
    bed.world(|world| world.refuses = false);
    for batch in records[20_000..].chunks(100) {
        bed.queue.push(batch, START);
        bed.run(1000);
    }
    assert_same(&bed.sessions().concat(), &records);
    assert_eq!(bed.counters.loss(), Loss::default());
    // One more MiB was sent since, or an hour passed: the collector has read it.
    bed.run(3_700_000);
    assert_eq!(bed.session.spool.as_ref().unwrap().octets(), 0);
    let tries = bed.world.lock().unwrap().connects.clone();
    assert!(tries.windows(2).all(|pair| pair[1] - pair[0] >= 60_000), "{tries:?}");
}

/// IPX-40: a frozen collector; its socket takes nothing for ten minutes.
#[test]
fn a_frozen_collector_gets_everything_once_it_thaws() {
    let mut bed = Bed::new(Some("frozen"), 100 * 1000);
    let records = assorted(60_000);
    bed.run(100);
    bed.world(|world| world.takes = 30_011);
    for batch in records.chunks(100) {
        bed.queue.push(batch, START);
        bed.run(1000);
    }
    assert!(bed.queue.len() < 2000);
    bed.world(|world| world.takes = usize::MAX);
    bed.run(10_000);
    assert_same(&bed.sessions().concat(), &records);
    assert_eq!(bed.counters.loss(), Loss::default());
}

/// IPX-43: the link is cut mid-message a hundred times.
#[test]
fn a_hundred_cuts_lose_nothing() {
    let mut bed = Bed::new(None, 1 << 24);
    let records = assorted(50_000);
    for (cut, batch) in records.chunks(500).enumerate() {
        bed.queue.push(batch, START);
        bed.world(|world| world.takes = 7001 + 997 * cut);
        bed.run(200);
        bed.world(|world| {
            world.is_broken = true;
            // What the last octets said never arrives.
            if let Some(stream) = world.read.last_mut() {
                let arrived = stream.len().saturating_sub(3001);
                stream.truncate(arrived);
            }
        });
        bed.run(67_000);
    }
    bed.world(|world| world.takes = usize::MAX);
    bed.run(200_000);
    assert!(bed.known() == times(&records), "{} of {}", bed.known().len(), records.len());
    assert_eq!(bed.counters.loss(), Loss::default());
    assert_eq!(bed.counters.breaks.load(Ordering::Relaxed), 100);
    assert_eq!(bed.counters.sent.load(Ordering::Relaxed), 50_000);
    assert!(bed.counters.resent.load(Ordering::Relaxed) > 0);
    for session in bed.sessions() {
        assert!(session.windows(2).all(|pair| pair[0].at > pair[1].at), "out of order");
    }
}

/// IPX-42: without a spool the queue loses the least dear, and the collector is told how much.
#[test]
fn what_is_lost_is_told() {
    let mut bed = Bed::new(None, 56 * 1000);
    let records = assorted(3000);
    bed.world(|world| world.refuses = true);
    bed.queue.push(&records, START + 5);
    bed.run(1000);
    let loss = bed.counters.loss();
    assert_eq!(loss.total(), 2000);
    assert_eq!((loss.first, loss.last), (START + 5, START + 5));
    let notices = records.iter().filter(|record| record.class() == Class::Notice).count() as u64;
    assert_eq!(loss.of(Class::Notice), notices);
    bed.world(|world| world.refuses = false);
    bed.run(120_000);
    assert_eq!(bed.sessions().concat().len(), 1000);
    let world = bed.world.lock().unwrap();
    let stream = &world.read[0];
    let told = |at: usize| u64::from_be_bytes(stream[at..at + 8].try_into().unwrap());
    let at = stream.windows(4).rposition(|octets| octets == [1, 44, 0, 48]).expect("a set of template 300");
    assert_eq!(stream[at + 4..at + 8], [0, 0, 0, 1]);
    assert_eq!((told(at + 8), told(at + 32), told(at + 40)), (2000, START + 5, START + 5));
}

/// IPX-41: what may not have been read when the program ends is there when it begins again.
#[test]
fn the_end_keeps_what_may_not_have_been_read() {
    let mut bed = Bed::new(Some("end"), 1 << 20);
    let records = assorted(300);
    bed.queue.push(&records[..100], START);
    bed.run(1000);
    bed.world(|world| world.takes = 0);
    bed.queue.push(&records[100..200], START);
    bed.run(1000);
    bed.queue.push(&records[200..], START);
    let now = Now { monotonic: Instant::from_millis(bed.now), unix_millis: START + bed.now };
    bed.session.end(false, now);
    let spool =
        aftr_config::Spool { directory: bed.folder.clone().unwrap(), most_octets: 1 << 30, most_hours: 24 };
    let mut spool = Spool::open(&spool, 1, now).unwrap();
    let left: Vec<Record> = std::iter::from_fn(|| spool.next()).flat_map(|(_, records)| records).collect();
    assert_eq!(left.len(), 300);
    assert_eq!(times(&left), times(&records));
}

#[test]
fn a_spool_that_refuses_leaves_records_in_memory() {
    let mut bed = Bed::new(Some("refuses"), 1 << 20);
    let folder = bed.folder.clone().unwrap();
    fs::remove_dir_all(&folder).unwrap();
    bed.world(|world| world.refuses = true);
    let records = assorted(300);
    bed.queue.push(&records, START);
    bed.run(5000);
    assert!(bed.counters.is_spool_failing.load(Ordering::Relaxed));
    bed.world(|world| world.refuses = false);
    bed.run(70_000);
    assert_same(&bed.sessions().concat(), &records);
    assert_eq!(bed.counters.loss(), Loss::default());
}
