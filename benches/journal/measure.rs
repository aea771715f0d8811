//! The measurements, each a line.

use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use aftr::attribution::query::{Archive, Question, Verdict};
use aftr::attribution::wal::{WallClock, Writer, WriterOptions};
use aftr::attribution::{Directory, EndCause, Holding, Journal, Millis, Record};

use crate::history::{History, mixed};

struct HostClock;

impl WallClock for HostClock {
    #[expect(clippy::disallowed_methods, reason = "a bench in real time")]
    fn now(&self) -> Millis {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as Millis
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn start() -> Instant {
    Instant::now()
}

/// One worker writes as fast as the disk makes it durable; nothing may be lost.
pub(crate) fn write(path: &Path, records: u64) -> String {
    let directory = Directory::new(path);
    let (_journal, recovered) = Journal::open(&directory, HostClock.now()).expect("a journal");
    let options = WriterOptions { queue: 1 << 17, ..WriterOptions::default() };
    let (writer, mut producers) = Writer::start(recovered.log, HostClock, options).expect("a thread");
    let turns = Turns::new(records);
    let (begin, mut tickets) = (start(), std::collections::VecDeque::new());
    for number in 0..records {
        // Half of the queue waits at most: nothing is refused.
        while tickets.len() >= 1 << 16 {
            match tickets.front() {
                Some(&ticket) if producers[0].is_durable(ticket) => drop(tickets.pop_front()),
                _ => std::thread::yield_now(),
            }
        }
        tickets.push_back(producers[0].push(turns.record(number)).expect("room in the queue"));
    }
    while tickets.back().is_some_and(|&ticket| !producers[0].is_durable(ticket)) {
        std::thread::yield_now();
    }
    let took = begin.elapsed();
    let health = writer.health();
    assert_eq!(health.lost, 0);
    // As a crash would leave it.
    std::mem::forget(writer);
    format!(
        "{records} records durable in {:.2} s, {:.2} million a second, {} syncs ({:.2} ms each), none lost",
        took.as_secs_f64(),
        records as f64 / took.as_secs_f64() / 1e6,
        health.syncs,
        took.as_secs_f64() * 1e3 / health.syncs as f64
    )
}

/// Grants that come and go, at an even rate in the last two hours; this many are held at a time.
struct Turns {
    begin: Millis,
    records: u64,
    holdings: Vec<Holding>,
}

impl Turns {
    const HELD: u64 = 1 << 17;
    const TIME: Millis = 7_200_000;

    fn new(records: u64) -> Turns {
        let history = History::new(1_000_000);
        let holdings = (0..2 * Turns::HELD).map(|number| history.grant(number).holding).collect();
        Turns { begin: HostClock.now() - Turns::TIME, records, holdings }
    }

    fn record(&self, number: u64) -> Record {
        let time = |number: u64| self.begin + Turns::TIME * number / self.records;
        let holding = |number: u64| self.holdings[number as usize % self.holdings.len()];
        let at = time(number);
        match number.checked_sub(2 * Turns::HELD + 1) {
            Some(start) if number % 2 == 1 => {
                let cause = EndCause::Idle;
                Record::Ended { at, since: time(start), holding: holding(start / 2), cause }
            }
            _ if number % 2 == 1 => Record::Alive { at },
            _ => Record::Started { at, since: at, holding: holding(number / 2) },
        }
    }
}

/// What a crash leaves is read, checked and closed. The lock of the writer before is held: another directory.
pub(crate) fn recovery(path: &Path) -> String {
    let copy = path.with_extension("copy");
    std::fs::create_dir_all(&copy).expect("a folder");
    std::fs::rename(path.join("wal"), copy.join("wal")).expect("the log");
    let begin = start();
    let (_journal, recovered) = Journal::open(&Directory::new(&copy), HostClock.now()).expect("a journal");
    let took = begin.elapsed();
    format!(
        "{} records in {:.2} s, {} holdings ended, {} faults",
        recovered.records,
        took.as_secs_f64(),
        recovered.ended.len(),
        recovered.faults.len()
    )
}

/// Writes and seals a history hour by hour.
pub(crate) fn seal(path: &Path, history: &History) -> String {
    let directory = Directory::new(path);
    let (journal, recovered) = Journal::open(&directory, 0).expect("a journal");
    let (mut log, mut ending, mut records) = (recovered.log, Vec::new(), 0);
    let (mut sealed, mut longest) = (0.0, 0.0_f64);
    for hour in 0..history.hours + 3 {
        let of_hour = history.hour(hour, &mut ending);
        records += of_hour.len();
        for some in of_hour.chunks(16384) {
            let at = some[0].at();
            log.append(at, some);
            log.sync(at).expect("a disk");
        }
        let begin = start();
        journal.tidy(730, history.grant(0).start).expect("a disk");
        sealed += begin.elapsed().as_secs_f64();
        longest = longest.max(begin.elapsed().as_secs_f64());
    }
    let octets: u64 = std::fs::read_dir(path.join("sealed"))
        .expect("partitions")
        .flatten()
        .filter_map(|file| file.metadata().ok())
        .map(|data| data.len())
        .sum();
    format!(
        "{} grants, {records} records in {} partitions: {:.2} million records a second, at most {longest:.2} s for one; \
         {:.1} octets a grant",
        history.grants,
        history.hours,
        records as f64 / sealed / 1e6,
        octets as f64 / history.grants as f64
    )
}

/// Asks about grants and moments of chance, as separate investigators would: each answer is checked.
pub(crate) fn attribute(path: &Path, history: &History, questions: u64) -> String {
    let directory = Directory::new(path);
    let begin = start();
    let archive = Archive::open(&directory).expect("a journal");
    let opened = begin.elapsed();
    let mut times = Vec::new();
    for number in 0..questions {
        let grant = history.grant(mixed(number * 3) % history.grants);
        let question = Question {
            address: grant.holding.external,
            port: Some(grant.holding.first_port + (mixed(number) % 512) as u16),
            time: grant.start + mixed(number * 7) % (grant.end - grant.start),
            uncertainty: 1000,
            protocol: None,
        };
        let begin = start();
        let answer = archive.ask(&question).expect("an answer");
        times.push(begin.elapsed());
        assert_eq!(answer.verdict, Verdict::Unique(grant.holding.subscriber()), "{answer:#?}");
    }
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    format!(
        "{questions} questions over {} grants: p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms; {:.0} ms to open the archive",
        history.grants,
        at(0.5),
        at(0.99),
        at(1.0),
        opened.as_secs_f64() * 1e3
    )
}
