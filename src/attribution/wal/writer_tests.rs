use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use super::super::recovery::{Sealed, recover};
use super::super::replay::{Position, replay};
use super::*;
use crate::attribution::testing::{Folder, holding};

/// A clock that stands until it is set.
#[derive(Clone, Default)]
struct Set(Arc<AtomicU64>);

impl WallClock for Set {
    fn now(&self) -> Millis {
        self.0.load(Ordering::Relaxed)
    }
}

fn started(folder: &Path, clock: &Set, options: WriterOptions) -> (Writer, Vec<Producer>) {
    let (wal, aside) = (folder.join("wal"), folder.join("aside"));
    let recovered = recover(&wal, &aside, &Sealed::default(), clock.now()).unwrap();
    Writer::start(recovered.log, clock.clone(), options).unwrap()
}

fn records(folder: &Path) -> Vec<Record> {
    let mut records = Vec::new();
    let replay = replay(&folder.join("wal"), Position::START, |_, &record| records.push(record)).unwrap();
    assert_eq!(replay.faults, []);
    records
}

/// Waits for another thread, at most ten seconds.
fn eventually(mut is_so: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("it never came");
}

fn grant(at: Millis, number: u16) -> Record {
    Record::Started { at, since: at, holding: holding(number) }
}

#[test]
fn a_ticket_is_durable_when_its_record_is() {
    let (folder, clock) = (Folder::new("writer-ticket"), Set::default());
    clock.0.store(5000, Ordering::Relaxed);
    let (writer, mut producers) =
        started(&folder, &clock, WriterOptions { producers: 2, ..Default::default() });
    let tickets: Vec<_> = (0..100u16)
        .map(|number| producers[usize::from(number % 2)].push(grant(5000, number)).unwrap())
        .collect();
    eventually(|| (0..100).all(|at| producers[at % 2].is_durable(tickets[at])));
    let seen = records(&folder);
    assert_eq!(seen.iter().filter(|record| matches!(record, Record::Started { .. })).count(), 100);
    assert!(writer.health().syncs < 50, "grouped: {:?}", writer.health());
    writer.stop();
    assert_eq!(records(&folder).last(), Some(&Record::Closed { at: 5000 }));
}

#[test]
fn an_alive_mark_comes_with_each_second() {
    let (folder, clock) = (Folder::new("writer-alive"), Set::default());
    let (writer, _producers) = started(&folder, &clock, WriterOptions::default());
    eventually(|| writer.health().durable > 0);
    for second in 1..=5 {
        let before = writer.health().durable;
        clock.0.store(second * 1000, Ordering::Relaxed);
        eventually(|| writer.health().durable > before);
    }
    drop(writer);
    let marks: Vec<Millis> = records(&folder)
        .iter()
        .filter(|record| matches!(record, Record::Alive { .. }))
        .map(Record::at)
        .collect();
    assert_eq!(marks, [1000, 2000, 3000, 4000, 5000]);
}

/// A file where the folder should be: nothing can be written, whoever asks.
#[test]
fn a_disk_that_does_not_work_is_said_and_tried_again() {
    let (folder, clock) = (Folder::new("writer-disk"), Set::default());
    clock.0.store(1000, Ordering::Relaxed);
    let wal = folder.join("wal");
    let recovered = recover(&wal, &folder.join("aside"), &Sealed::default(), 1000).unwrap();
    fs::write(&wal, "in the way").unwrap();
    let options = WriterOptions { queue: 16, ..Default::default() };
    let (writer, mut producers) = Writer::start(recovered.log, clock.clone(), options).unwrap();
    let ticket = producers[0].push(grant(1000, 1)).unwrap();
    eventually(|| writer.health().write_errors > 1);
    assert!(writer.health().is_failing && !producers[0].is_durable(ticket));
    // More than the queue and the writer keep: the worker is told at once.
    let mut refused = 0;
    for _ in 0..2_000_000 {
        refused += u64::from(producers[0].push(grant(1001, 2)).is_err());
    }
    assert!(refused > 0);
    assert_eq!(writer.health().lost, refused);
    clock.0.store(3000, Ordering::Relaxed);
    fs::remove_file(&wal).unwrap();
    eventually(|| !writer.health().is_failing && producers[0].is_durable(ticket));
    writer.stop();
    let is_gap = |record: &Record| matches!(record, Record::Gap { .. });
    let gaps: Vec<_> = records(&folder).into_iter().filter(is_gap).collect();
    let late = Record::Gap { from: 1000, to: 3000, why: GapCause::WriteError, lost: 0 };
    assert!(gaps.contains(&late), "{gaps:?}");
    let lost: u64 = gaps.iter().map(|gap| if let Record::Gap { lost, .. } = gap { *lost } else { 0 }).sum();
    assert_eq!(lost, refused);
    assert!(gaps.iter().any(|gap| matches!(gap, Record::Gap { from: 1001, to: 3000, .. })), "{gaps:?}");
}
