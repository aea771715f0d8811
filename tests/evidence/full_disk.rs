//! The journal's disk is full, then read-only as well, then has room again; a tmpfs of the test's own mount
//! namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use aftr::attribution::query::{Archive, LogGap, Question, Reason, Verdict};
use aftr::attribution::wal::{Position, replay};
use aftr::attribution::{Directory, GapCause, Millis, Record, time_text};

use crate::bed::{AFTR, Bed, Daemon, eventually, in_namespaces, ip, meanwhile, now};
use crate::traffic::{Homes, OLD_HOMES as OLD, Seen, Witness, b4};

/// More grants than the queue and the writer's memory take: (65536 × 64 + 16 MiB) / 64, and some.
const TOO_MANY: u32 = 345_000;

/// ATT-2, IPX-40: under `alarm` everybody is served; the journal says what it does not know, and knows it afterwards.
#[test]
fn a_full_disk_under_alarm_serves_on_and_leaves_an_honest_gap() {
    in_namespaces("full_disk::child_under_alarm");
}

/// INV-11: under `refuse-new-blocks` nobody gets ports without a record, and whoever has some goes on.
#[test]
fn a_full_disk_under_refuse_new_blocks_grants_nothing_and_loses_nothing() {
    in_namespaces("full_disk::child_under_refusal");
}

/// A daemon whose journal has a small disk, and its traffic.
struct Scene {
    bed: Bed,
    daemon: Option<Daemon>,
    witness: Witness,
    seen: Vec<Seen>,
    /// The next new home.
    next: u32,
}

impl Scene {
    fn new(name: &str, on_loss: &str) -> Scene {
        let bed = Bed::new(name);
        let disk = bed.folder.join("disk");
        std::fs::create_dir(&disk).unwrap();
        assert!(mount(&["-t", "tmpfs", "-o", "size=8m", "tmpfs"], &disk));
        let config = bed.configure(&format!(
            "[nat.mapping-limits]\nlimit-subscribers = 524288\nlimit-port-mappings = 524288\n\
             limit-sessions = 524288\n[[nat.external-ip-address-pool]]\npool-id = 1\n\
             external-ip-pool = ['198.18.0.0/20']\n[dataplane]\nmanage-host = true\noffload = false\n\
             [journal]\ndirectory = '{}'\non-loss = '{on_loss}'\n",
            disk.join("journal").display()
        ));
        let witness = Witness::start(&bed);
        let daemon = Some(bed.start(&config));
        // A test that is not scheduled for a while loses nothing.
        ip(&bed.aftr, "link set aftr0 txqueuelen 100000");
        Scene { bed, daemon, witness, seen: Vec::new(), next: OLD + 1 }
    }

    fn disk(&self) -> std::path::PathBuf {
        self.bed.folder.join("disk")
    }

    fn directory(&self) -> Directory {
        Directory::new(&self.disk().join("journal"))
    }

    fn fill_disk(&self) {
        let mut ballast = std::fs::File::create(self.disk().join("ballast")).unwrap();
        while std::io::Write::write_all(&mut ballast, &[1; 4096]).is_ok() {}
    }

    fn wait_for(&self, line: &str) {
        let daemon = self.daemon.as_ref().unwrap();
        eventually(line, || daemon.text().contains(line));
    }

    /// So many new homes send one packet each; no more than 512 are on their way, if all should arrive.
    fn new_homes(&mut self, count: u32, all_arrive: bool) {
        let mut homes = Homes::new(&self.bed);
        let before = self.witness.new_homes();
        for sent in 0..count {
            homes.send(self.next, 1);
            self.next += 1;
            if sent % 64 == 63 {
                homes.kick();
                if !all_arrive {
                    std::thread::sleep(Duration::from_millis(4));
                }
                let is_there = || self.witness.new_homes() - before + 512 > u64::from(sent);
                if all_arrive {
                    eventually("packets of new homes", is_there);
                }
            }
        }
        homes.kick();
    }

    /// Every packet of the old homes but those of the last moments, each once, by one and the same port.
    fn check_old(&mut self, sent: u32) {
        self.seen.extend(self.witness.take());
        let mut numbers: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        let mut ports = BTreeSet::new();
        let old = self.seen.iter().filter(|seen| seen.home <= OLD);
        for seen in old {
            assert!(numbers.entry(seen.home).or_default().insert(seen.number), "twice: {seen:?}");
            ports.insert((seen.home, seen.external, seen.port));
        }
        assert_eq!(ports.len(), OLD as usize, "somebody has another port now");
        let missing: Vec<_> = numbers.iter().filter(|(_, numbers)| numbers.len() != sent as usize).collect();
        let first = missing.first().map(|(home, numbers)| {
            (
                home,
                numbers.len(),
                (1..=sent).filter(|number| !numbers.contains(number)).take(5).collect::<Vec<_>>(),
            )
        });
        assert!(missing.is_empty(), "{} of {OLD} miss some of {sent} packets: {first:?}", missing.len());
    }

    fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        let wal = self.disk().join("journal/wal");
        let replayed = replay(&wal, Position::START, |_, record| records.push(*record)).unwrap();
        assert_eq!(replayed.faults, []);
        records
    }

    fn verdict(&self, archive: &Archive, seen: &Seen, time: Millis) -> Verdict {
        let (address, port) = (seen.external, Some(seen.port));
        archive.ask(&Question { address, port, time, uncertainty: 0, protocol: None }).unwrap().verdict
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.daemon = None;
        let _ = Command::new("umount").arg("--lazy").arg(self.disk()).status();
    }
}

/// Runs `play` while the old homes send; gives what it gives, and how often each of them sent.
fn while_old_homes_send<T>(scene: &mut Scene, play: impl FnOnce(&mut Scene) -> T) -> (T, u32) {
    let (is_over, sent) = (AtomicBool::new(false), AtomicU32::new(0));
    let mut homes = Homes::new(&scene.bed);
    let sender = || {
        while !is_over.load(Ordering::Relaxed) {
            let number = sent.fetch_add(1, Ordering::Relaxed) + 1;
            for some in (1..=OLD).collect::<Vec<_>>().chunks(20) {
                some.iter().for_each(|&home| homes.send(home, number));
                homes.kick();
                std::thread::sleep(Duration::from_millis(4));
            }
        }
    };
    let played = meanwhile(&is_over, sender, || play(scene));
    std::thread::sleep(Duration::from_millis(300));
    (played, sent.into_inner())
}

#[test]
#[ignore = "the child of another test"]
fn child_under_alarm() {
    let mut scene = Scene::new("alarm", "alarm");
    let ((known, hole, back), sent) = while_old_homes_send(&mut scene, |scene| {
        scene.new_homes(2000, true);
        std::thread::sleep(Duration::from_millis(300));
        let known = now();
        scene.fill_disk();
        scene.new_homes(2000, true);
        scene.wait_for("the journal cannot be written");
        scene.new_homes(TOO_MANY, true);
        let hole = now();
        eventually("a read-only disk", || mount(&["-o", "remount,ro"], &scene.disk()));
        scene.new_homes(2000, true);
        std::thread::sleep(Duration::from_millis(1500));
        make_room(scene);
        scene.wait_for("the journal is written again");
        let back = now();
        scene.new_homes(2000, true);
        // What is still held is said again, and a sign of life is behind it.
        std::thread::sleep(Duration::from_millis(3000));
        (known, hole, back)
    });
    scene.check_old(sent);
    let records = scene.records();
    let told = check_gap(&records, scene.next - 1, (known, hole, back));
    check_answers(&scene, &told, known);
    check_command(&scene, hole);
    let text = scene.daemon.take().unwrap().stop();
    assert_eq!(text.matches("the journal cannot be written").count(), 1, "{text}");
    assert_eq!(sum_of(&text, "waiting_lost="), 0, "{text}");
    assert!(!text.contains("drop.nat.journal"), "{text}");
    println!(
        "alarm: {} homes served, {} packets of {OLD} flows from before arrived, none missing; {} records lost in a \
         gap of {} ms, {} said again",
        scene.next - 1,
        sent * OLD,
        told.lost,
        told.to - told.from,
        told.again
    );
}

/// What the journal says of its gap.
struct Told {
    from: Millis,
    to: Millis,
    lost: u64,
    /// Records that say something again.
    again: usize,
}

/// The gap is there, in the right place, and names the right number.
fn check_gap(records: &[Record], homes: u32, (known, hole, back): (Millis, Millis, Millis)) -> Told {
    let of_losses = |record: &Record| {
        let Record::Gap { from, to, why: GapCause::QueueFull, lost } = *record else { return None };
        Some((from, to, lost))
    };
    let gaps: Vec<_> = records.iter().filter_map(of_losses).collect();
    let &[(from, to, lost)] = &gaps[..] else { panic!("{gaps:?}") };
    assert!(
        from > known && from < hole && to >= hole && to <= back + 2000,
        "{known} {from} {hole} {to} {back}"
    );
    let starts =
        records.iter().filter(|record| matches!(record, Record::Started { at, since, .. } if at == since));
    let again =
        records.iter().filter(|record| matches!(record, Record::Started { at, since, .. } if at != since));
    // Homes are granted one set each, and give none back so soon.
    assert_eq!(starts.count() as u64 + lost, u64::from(homes), "grants are recorded or counted as lost");
    let late = |record: &Record| matches!(record, Record::Gap { why: GapCause::WriteError, lost: 0, .. });
    assert!(records.iter().any(late), "nothing says that records came late");
    let again = again.count();
    assert!(again as u32 >= homes - 2000, "{again} of {homes} were said again");
    Told { from, to, lost, again }
}

/// Before, behind and inside.
fn check_answers(scene: &Scene, told: &Told, known: Millis) {
    let archive = Archive::open(&scene.directory()).unwrap();
    let end = archive.known_until().unwrap();
    let unique = |seen: &Seen| Verdict::Unique(b4(seen.home).into());
    let (mut before, mut lost, mut behind) = (0, 0, 0);
    for seen in scene.seen.iter().filter(|seen| seen.home > OLD).step_by(101) {
        if seen.received < told.from {
            before += 1;
            assert_eq!(scene.verdict(&archive, seen, seen.received), unique(seen), "before: {seen:?}");
        } else if seen.received <= told.to {
            lost += 1;
            let gap = Verdict::Unknown(Reason::LogGap(LogGap::Lost(GapCause::QueueFull)));
            assert_eq!(scene.verdict(&archive, seen, seen.received), gap, "inside: {seen:?}");
        } else {
            behind += 1;
            assert_eq!(scene.verdict(&archive, seen, seen.received), unique(seen), "behind: {seen:?}");
        }
        // It is still held: whoever asks now is told so, even if the record of its start is lost.
        assert_eq!(scene.verdict(&archive, seen, end), unique(seen), "now: {seen:?}");
    }
    assert!(before > 20 && lost > 20 && behind > 10, "{before} {lost} {behind}");
    for seen in scene.seen.iter().filter(|seen| seen.home <= OLD && seen.number == 1) {
        assert_eq!(scene.verdict(&archive, seen, known), unique(seen));
        assert_eq!(scene.verdict(&archive, seen, end), unique(seen));
    }
}

/// As an investigator asks.
fn check_command(scene: &Scene, hole: Millis) {
    let seen = &scene.seen[0];
    let mut command = Command::new(AFTR);
    command.args(["attribute", &seen.external.to_string(), &seen.port.to_string(), &time_text(hole)]);
    let output =
        command.args(["--case", "test", "--journal"]).arg(scene.disk().join("journal")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("unknown") && text.contains("log-gap"), "{text}");
}

#[test]
#[ignore = "the child of another test"]
fn child_under_refusal() {
    let mut scene = Scene::new("refusal", "refuse-new-blocks");
    let ((before, after), sent) = while_old_homes_send(&mut scene, |scene| {
        scene.new_homes(2000, true);
        std::thread::sleep(Duration::from_millis(300));
        scene.fill_disk();
        scene.new_homes(2000, false);
        scene.wait_for("the journal cannot be written");
        std::thread::sleep(Duration::from_millis(300));
        let before = scene.witness.new_homes();
        scene.new_homes(5000, false);
        eventually("a read-only disk", || mount(&["-o", "remount,ro"], &scene.disk()));
        scene.new_homes(5000, false);
        std::thread::sleep(Duration::from_millis(1500));
        let after = scene.witness.new_homes();
        make_room(scene);
        scene.wait_for("the journal is written again");
        scene.new_homes(2000, true);
        std::thread::sleep(Duration::from_millis(1500));
        (before, after)
    });
    assert_eq!(before, after, "somebody was granted ports without a record");
    scene.check_old(sent);
    let records = scene.records();
    let lost = records.iter().any(|record| matches!(record, Record::Gap { lost: 1.., .. }));
    assert!(!lost, "nothing is lost where nothing is granted");
    let text = scene.daemon.take().unwrap().stop();
    let (dropped, late) = (sum_of(&text, "drop.nat.journal "), sum_of(&text, "waiting_lost="));
    let arrived = scene.witness.new_homes();
    let homes = u64::from(scene.next - 1 - OLD);
    assert_eq!(arrived + dropped + late, homes, "{arrived} arrived, {dropped} dropped, {late} late\n{text}");
    assert!(dropped >= 10_000, "{dropped}");
    let archive = Archive::open(&scene.directory()).unwrap();
    for seen in scene.seen.iter().filter(|seen| seen.home > OLD || seen.number == 1).step_by(11) {
        assert_eq!(
            scene.verdict(&archive, seen, seen.received),
            Verdict::Unique(b4(seen.home).into()),
            "{seen:?}"
        );
    }
    println!(
        "refuse-new-blocks: {} packets of {OLD} flows from before arrived, none missing; of {homes} new homes {arrived} \
         were served, {dropped} refused, {late} late",
        sent * OLD
    );
}

fn make_room(scene: &Scene) {
    assert!(mount(&["-o", "remount,rw,size=512m"], &scene.disk()));
    std::fs::remove_file(scene.disk().join("ballast")).unwrap();
}

fn mount(arguments: &[&str], disk: &Path) -> bool {
    let output = Command::new("mount").args(arguments).arg(disk).output();
    output.is_ok_and(|output| output.status.success())
}

/// Of all numbers that stand behind `name`.
fn sum_of(text: &str, name: &str) -> u64 {
    let number = |rest: &str| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse::<u64>().ok();
    text.split(name).skip(1).filter_map(number).sum()
}
