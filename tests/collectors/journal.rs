//! The same run in the journal, read back: what every collector tells must be what the evidence says, record by
//! record. The journal does not know the host behind a B4 of a port set, and has no mappings: of each mapping that
//! a collector tells, it is asked whose port that was.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aftr::attribution::query::{Archive, Question, Verdict};
use aftr::attribution::wal::{WallClock, Writer, WriterOptions};
use aftr::attribution::{Directory, EndCause, Holding, Interval, Journal, Millis, Record};
use aftr::engine::{Event, EventKind, Grant, Instant, MappingRecord, Protocol};
use aftr::export::Stamped;
use ipnet::Ipv6Net;

use crate::run::{self, Told};

/// A change of who holds what, as both tell it: time, whether it began, B4, external address, ports.
type Change = (Millis, bool, Ipv6Addr, Ipv4Addr, (u16, u16));

/// IPX-48: the collector and the journal of the same events agree in every record.
pub(crate) fn assert_agrees(collector: &str, events: &[Stamped], told: &[Told]) {
    let archive = written(collector, events);
    let begins = |told: &Told| matches!(told.event, 1 | 8 | 16);
    let sets = told.iter().filter(|told| told.protocol == 0);
    let mut sets: Vec<Change> =
        sets.map(|told| (told.at, begins(told), told.b4, told.external, told.ports)).collect();
    sets.sort_unstable();
    assert_eq!(sets, changes(&archive), "{collector}");
    let mappings = told.iter().filter(|told| told.protocol != 0);
    let wrong =
        mappings.clone().filter(|told| holder(&archive, told) != Verdict::Unique(subscriber(told.b4)));
    assert_eq!(wrong.collect::<Vec<_>>(), Vec::<&Told>::new(), "{collector}");
    println!(
        "{collector}: {} port sets and {} mappings as the journal has them; {} partitions sealed",
        sets.len(),
        mappings.count(),
        archive.catalogue().partitions.len()
    );
}

/// Whom the journal gives for the external port that a mapping has.
fn holder(archive: &Archive, told: &Told) -> Verdict {
    let question = Question {
        address: told.external,
        port: Some(told.ports.1),
        time: told.at,
        uncertainty: 0,
        protocol: Some(told.protocol),
    };
    archive.ask(&question).expect("an answer").verdict
}

/// Every begin and every end that the journal knows, sealed or not. What the end of the run cut off is no end that
/// anybody was told of.
fn changes(archive: &Archive) -> Vec<Change> {
    let mut intervals: BTreeMap<(u64, Ipv4Addr, u16), Interval> = BTreeMap::new();
    let sealed = archive.catalogue().partitions.iter();
    let sealed = sealed.flat_map(|partition| archive.rows_of(partition).expect("a partition"));
    // One that goes on behind its partition stands in the next one, which knows more of it.
    for interval in sealed.chain(archive.recent().iter().copied()) {
        let Holding { external, first_port, .. } = interval.holding;
        intervals.insert((interval.start, external, first_port), interval);
    }
    let mut changes = Vec::new();
    for Interval { holding, start, end, .. } in intervals.into_values() {
        let change = |at, is_begin| {
            (at, is_begin, holding.b4, holding.external, (holding.first_port, holding.last_port))
        };
        changes.push(change(start, true));
        if let Some((at, EndCause::Idle | EndCause::Migration)) = end {
            changes.push(change(at, false));
        }
    }
    changes.sort_unstable();
    changes
}

/// Writes the run's events as a worker of the daemon does, seals what is finished, and opens all of it.
fn written(name: &str, events: &[Stamped]) -> Archive {
    let directory = Directory::new(&run::folder(&format!("journal-{name}")));
    let clock = RunClock(Arc::new(AtomicU64::new(run::START - 1000)));
    let (journal, recovered) = Journal::open(&directory, clock.now()).expect("a journal");
    let (writer, mut producers) =
        Writer::start(recovered.log, clock.clone(), WriterOptions::default()).expect("a writer");
    let mut since = HashMap::new();
    for Stamped { unix_millis, event } in events {
        let was = clock.0.swap(*unix_millis, Ordering::AcqRel);
        let Some(record) = record(event, *unix_millis, &mut since) else { continue };
        let ticket = producers[0].push(record).expect("room");
        // The writer's clock decides which partition a record is in: none may be left behind at the hour.
        if was / HOUR != unix_millis / HOUR {
            while !producers[0].is_durable(ticket) {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
    }
    let end = events.last().map_or(run::START, |event| event.unix_millis) + 5000;
    clock.0.store(end, Ordering::Release);
    assert_eq!(writer.stop().map(|log| log.pending()), Some(0));
    journal.tidy(180, end).expect("a tidy journal");
    Archive::open(&directory).expect("the journal")
}

const HOUR: Millis = 3_600_000;

/// Stands where the run stands.
#[derive(Clone)]
struct RunClock(Arc<AtomicU64>);

impl WallClock for RunClock {
    fn now(&self) -> Millis {
        self.0.load(Ordering::Acquire)
    }
}

/// What a worker's evidence of an event is.
fn record(event: &Event, at: Millis, since: &mut HashMap<(Ipv4Addr, u16), Millis>) -> Option<Record> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is no evidence of who held a port")]
    match event.kind {
        EventKind::PortSetGranted(grant) => {
            since.insert((grant.external, grant.first_port), at);
            Some(Record::Started { at, since: at, holding: Holding::of_grant(&grant, grant.pool_id, 0) })
        }
        EventKind::PortSetReleased(grant) => {
            let since = since.remove(&(grant.external, grant.first_port)).unwrap_or(at);
            let holding = Holding::of_grant(&grant, grant.pool_id, 0);
            Some(Record::Ended { at, since, holding, cause: EndCause::Idle })
        }
        EventKind::SoftwireMoved { subscriber, from, to } => {
            Some(Record::Moved { at, prefix_len: subscriber.prefix_len(), from, to })
        }
        _ => None,
    }
}

fn subscriber(b4: Ipv6Addr) -> Ipv6Net {
    Ipv6Net::new_assert(b4, 64).trunc()
}

/// More than an hour of 40 homes with the same private addresses, who get and give back port sets of four
/// addresses, have mappings in them, and change their B4s; the same ports are in many hands one after the other.
pub(crate) fn history() -> Vec<Stamped> {
    let mut homes: Vec<Home> = (0..40).map(Home::new).collect();
    let mut free: Vec<(u8, u16)> =
        (0..4).flat_map(|address| (0..12).map(move |set| (address, set))).collect();
    let (mut at, mut events, mut random) = (run::START, Vec::new(), Random(0x9e37_79b9));
    while events.len() < 1500 {
        at += 1 + random.below(15_000);
        let place = random.below(free.len() as u64 + 1) as usize;
        let home = &mut homes[random.below(40) as usize];
        let mut happens = |kind| {
            let event = Event { at: Instant::from_millis(at - run::START), kind };
            events.push(Stamped { unix_millis: at, event });
        };
        match random.below(8) {
            // The packet that asks for a port set makes a mapping in it.
            0..=3 if place < free.len() => {
                let (grant, mapping) = home.take(free.swap_remove(place), random.below(512) as u16);
                happens(EventKind::PortSetGranted(grant));
                happens(EventKind::MappingCreated(mapping));
            }
            4 if !home.held.is_empty() => {
                let from = home.b4();
                home.moves += 1;
                let (subscriber, to) = (subscriber(from), home.b4());
                happens(EventKind::SoftwireMoved { subscriber, from, to });
            }
            5..=7 => {
                if let Some((grant, mapping)) = home.give_back() {
                    happens(EventKind::MappingRemoved(mapping));
                    happens(EventKind::PortSetReleased(grant));
                    free.push(((grant.external.octets()[3] - 1), (grant.first_port - 1024) / 512));
                }
            }
            _ => {}
        }
    }
    events
}

struct Home {
    number: u16,
    moves: u16,
    held: Vec<(Grant, MappingRecord)>,
}

impl Home {
    fn new(number: u16) -> Home {
        Home { number, moves: 0, held: Vec::new() }
    }

    fn b4(&self) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0xb4, self.number, 0, 0, self.moves, 1)
    }

    fn take(&mut self, (address, set): (u8, u16), port: u16) -> (Grant, MappingRecord) {
        let (internal, external) = (Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(198, 51, 100, address + 1));
        let first_port = 1024 + 512 * set;
        let grant = Grant {
            subscriber: subscriber(self.b4()),
            b4: self.b4(),
            internal,
            pool_id: 7,
            external,
            first_port,
            last_port: first_port + 511,
        };
        let mapping = MappingRecord {
            b4: self.b4(),
            protocol: [Protocol::Tcp, Protocol::Udp, Protocol::Icmp][usize::from(port % 3)],
            internal: SocketAddrV4::new(internal, 5000 + port),
            external: SocketAddrV4::new(external, first_port + port),
            pool_id: 7,
        };
        self.held.push((grant, mapping));
        (grant, mapping)
    }

    /// Under the B4 that it has now.
    fn give_back(&mut self) -> Option<(Grant, MappingRecord)> {
        let b4 = self.b4();
        let (grant, mapping) = self.held.pop()?;
        Some((Grant { b4, ..grant }, MappingRecord { b4, ..mapping }))
    }
}

/// Marsaglia's xorshift: the same history each time.
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}
