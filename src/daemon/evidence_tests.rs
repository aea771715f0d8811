use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::attribution::testing::Folder;
use crate::attribution::wal::{Position, WallClock, Writer, WriterOptions, replay};
use crate::attribution::{Directory, GapCause, Journal};

const B4: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xb4, 0, 0, 0, 0, 1);
const SHARED: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

struct Bed {
    folder: Folder,
    writer: Writer,
    evidence: Evidence,
    clock: Arc<AtomicU64>,
}

#[derive(Clone)]
struct Wall(Arc<AtomicU64>);

impl WallClock for Wall {
    fn now(&self) -> Millis {
        self.0.load(Ordering::Relaxed)
    }
}

impl Bed {
    fn new(name: &str, on_loss: OnLoss, queue: usize) -> Bed {
        let folder = Folder::new(name);
        let (_, recovered) = Journal::open(&Directory::new(&folder), 1).unwrap();
        let clock = Arc::new(AtomicU64::new(1));
        let options = WriterOptions { queue, ..WriterOptions::default() };
        let (writer, mut producers) =
            Writer::start(recovered.log, Wall(Arc::clone(&clock)), options).unwrap();
        let evidence = Evidence::new(producers.pop().unwrap(), 0, on_loss);
        let mut bed = Bed { folder, writer, evidence, clock };
        bed.wait("a journal", |bed| bed.writer.health().durable > 0);
        bed
    }

    /// From the next record on: it is of another hour, and belongs into another file.
    fn break_disk(&self) {
        std::fs::rename(self.folder.join("wal"), self.folder.join("away")).unwrap();
        std::fs::write(self.folder.join("wal"), "").unwrap();
        self.clock.fetch_add(3_600_000, Ordering::Relaxed);
    }

    fn mend_disk(&self) {
        std::fs::remove_file(self.folder.join("wal")).unwrap();
        std::fs::rename(self.folder.join("away"), self.folder.join("wal")).unwrap();
    }

    fn wait(&mut self, what: &str, mut is_so: impl FnMut(&Bed) -> bool) {
        for _ in 0..5000 {
            if is_so(self) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("{what}: never");
    }

    fn grant(&mut self, set: u16, at: u64) {
        let event = Event { at: Instant::from_millis(at), kind: EventKind::PortSetGranted(grant(set)) };
        self.evidence.note(&event, || at);
    }

    fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        replay(&self.folder.join("wal"), Position::START, |_, record| records.push(*record)).unwrap();
        records
    }
}

fn grant(set: u16) -> Grant {
    let b4 = Ipv6Addr::from_bits(B4.to_bits() + u128::from(set));
    Grant {
        subscriber: b4.into(),
        b4,
        internal: Ipv4Addr::new(10, 0, 0, 2),
        pool_id: 1,
        external: SHARED,
        first_port: 1024 + set * 64,
        last_port: 1024 + set * 64 + 63,
    }
}

/// From the shared address: UDP from this port, or what has no port.
fn packet(port: Option<u16>) -> Packet {
    let offset = if port.is_none() { 185 } else { 0 };
    let mut bytes = vec![0x45, 0, 0, 28, 0, 1, 0, offset, 64, 17, 0, 0, 198, 51, 100, 1, 203, 0, 113, 1];
    bytes.extend(port.unwrap_or(0).to_be_bytes());
    bytes.extend([0, 53, 0, 8, 0, 0]);
    Packet::copied_from(&bytes, Side::B4)
}

const TO_INTERNET: Way = Way::To(Side::Internet);
const NOW: Instant = Instant::from_millis(10);
const LATER: Instant = Instant::from_millis(10 + PATIENCE.as_millis() as u64 + 1);

/// INV-11, and RFC 6888 section 4: a failing disk is no reason to cut off who has ports already.
#[test]
fn while_the_disk_fails_only_the_ports_without_a_record_wait() {
    let mut bed = Bed::new("evidence-shared", OnLoss::RefuseNewBlocks, 64);
    bed.break_disk();
    bed.grant(7, 10);
    bed.wait("an error", |bed| bed.evidence.refuses_grants());
    bed.evidence.look(NOW);
    let (new, old) = (packet(Some(grant(7).first_port)), packet(Some(grant(6).last_port)));
    assert!(bed.evidence.keeps(&new, TO_INTERNET, NOW));
    assert!(!bed.evidence.keeps(&old, TO_INTERNET, NOW), "the neighbour on the same address");
    assert!(!bed.evidence.keeps(&packet(Some(grant(8).first_port)), TO_INTERNET, NOW));
    assert!(bed.evidence.keeps(&packet(None), TO_INTERNET, NOW), "it keeps its place");
    assert!(!bed.evidence.keeps(&packet(None), TO_INTERNET, LATER), "but not for ever");
    assert!(bed.evidence.release(NOW).is_none());
}

/// RFC 6888 REQ-8, INV-11: a home's first packet may be for another home, in a softwire or at another worker.
#[test]
fn a_call_from_home_to_home_waits_for_its_grant_too() {
    let mut bed = Bed::new("evidence-hairpin", OnLoss::RefuseNewBlocks, 64);
    bed.break_disk();
    bed.grant(7, 10);
    let call = packet(Some(grant(7).first_port));
    let mut inside = vec![0x60, 0, 0, 0, 0, 28, 4, 64];
    inside.extend([0; 32]);
    inside.extend(call.bytes());
    let inside = Packet::copied_from(&inside, Side::B4);
    assert!(bed.evidence.keeps(&inside, Way::To(Side::B4), NOW));
    assert!(bed.evidence.keeps(&call, Way::ToWorker(1), NOW));
    let neighbour = packet(Some(grant(6).first_port));
    assert!(!bed.evidence.keeps(&neighbour, Way::ToWorker(1), NOW));
    bed.mend_disk();
    let mut released = Vec::new();
    for _ in 0..5000 {
        released.extend(bed.evidence.release(NOW).map(|(_, way)| way));
        if released.len() == 2 {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(released, [Way::To(Side::B4), Way::ToWorker(1)]);
}

/// A packet that leaves much later might use ports that somebody else has by then.
#[test]
fn what_has_waited_too_long_is_thrown_away_and_counted() {
    let mut bed = Bed::new("evidence-late", OnLoss::RefuseNewBlocks, 64);
    bed.break_disk();
    bed.grant(7, 10);
    bed.wait("an error", |bed| bed.evidence.refuses_grants());
    assert!(bed.evidence.keeps(&packet(Some(grant(7).first_port)), TO_INTERNET, NOW));
    assert!(bed.evidence.release(LATER).is_none());
    assert_eq!((bed.evidence.lost, bed.evidence.is_waiting()), (1, false));
    bed.mend_disk();
    bed.wait("a disk", |bed| !bed.evidence.refuses_grants());
    bed.evidence.look(LATER);
    assert!(!bed.evidence.keeps(&packet(Some(grant(7).first_port)), TO_INTERNET, LATER));
}

/// A grant whose record no queue took would be used without one.
#[test]
fn grants_are_refused_before_the_queue_is_full_and_again_allowed_when_it_is_empty() {
    let mut bed = Bed::new("evidence-crowded", OnLoss::RefuseNewBlocks, 64);
    let mut granted = 0;
    bed.break_disk();
    while !bed.evidence.refuses_grants() && granted < 1000 {
        granted += 1;
        bed.grant(granted, 10);
    }
    assert!(granted <= 33, "{granted} grants, and 64 have room");
    bed.mend_disk();
    // Nothing is pushed meanwhile.
    bed.wait("grants", |bed| !bed.evidence.refuses_grants());
    assert_eq!(bed.writer.health().lost, 0);
}

#[test]
fn an_alarm_lets_everything_go_on() {
    let mut bed = Bed::new("evidence-alarm", OnLoss::Alarm, 64);
    bed.break_disk();
    bed.grant(7, 10);
    let new = packet(Some(grant(7).first_port));
    bed.wait("an error", |bed| bed.writer.health().is_failing);
    bed.evidence.look(NOW);
    assert!(!bed.evidence.refuses_grants() && !bed.evidence.keeps(&new, TO_INTERNET, NOW));
}

/// After a gap the journal knows again who has what.
#[test]
fn what_is_still_held_is_said_again_after_a_gap() {
    let mut bed = Bed::new("evidence-again", OnLoss::Alarm, 64);
    for set in 1..=20 {
        bed.grant(set, 10);
    }
    bed.wait("the disk", |bed| bed.writer.health().durable >= 21);
    bed.break_disk();
    let released = Event { at: Instant::from_millis(30), kind: EventKind::PortSetReleased(grant(3)) };
    bed.evidence.note(&released, || 30);
    // More than the queue takes, and what the writer takes between two attempts.
    while bed.writer.health().lost == 0 {
        bed.evidence.push(Record::Alive { at: 31 });
    }
    bed.mend_disk();
    bed.wait("a gap", |bed| bed.evidence.producer.gaps() > 0);
    loop {
        bed.evidence.say_again(|| (1..=20).map(grant), || 4000);
        if !bed.evidence.is_waiting() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let said = bed.evidence.said.expect("something was said");
    bed.wait("the last word", |bed| bed.evidence.producer.is_durable(said));
    let records = bed.records();
    let gap = |record: &Record| matches!(record, Record::Gap { why: GapCause::QueueFull, .. });
    let behind = records.iter().rposition(gap).expect("a gap") + 1;
    let said_again = |record: &Record| {
        let Record::Started { at: 4000, since: 10, holding } = record else { return None };
        Some(holding.first_port)
    };
    let again: Vec<u16> = records[behind..].iter().filter_map(said_again).collect();
    let mut expected: Vec<u16> = (1..=20).filter(|&set| set != 3).map(|set| grant(set).first_port).collect();
    let mut again = again;
    again.sort_unstable();
    again.dedup();
    expected.sort_unstable();
    assert_eq!(again, expected, "all but the one that was given back");
}
