//! A disk that is full, then read-only, then has room again: a tmpfs of 2 MiB in a namespace of its own.

use std::process::Command;
use std::time::Duration;

use aftr::attribution::query::{Archive, Question, Verdict};
use aftr::attribution::wal::{Health, WallClock, Writer, WriterOptions};
use aftr::attribution::{Directory, Journal};

use crate::bed::{Folder, HostClock, block, child, started};

#[test]
fn a_full_or_read_only_disk_is_said_and_stops_nobody() {
    let folder = Folder::new("full-disk");
    let inner = child("full_disk::child_on_a_small_disk");
    let script = "mount -t tmpfs -o size=2m tmpfs \"$DISK\" && exec \"$@\"";
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .env("DISK", &*folder)
        .output();
    let Ok(output) = output else { return skip("no unshare on this host") };
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // What fails once the child runs is no reason to skip.
    if !text.contains("running 1 test") {
        return skip(&format!("no namespace can be made here: {text}"));
    }
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn skip(why: &str) {
    println!("SKIPPED: full_disk: {why}");
    assert!(std::env::var_os("AFTR_NOTHING_SKIPPED").is_none(), "nothing may be skipped here");
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("{what} never came");
}

fn remount(disk: &std::path::Path, how: &str) -> bool {
    let status = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(disk).status();
    status.is_ok_and(|status| status.success())
}

#[test]
#[ignore = "the child of another test"]
fn child_on_a_small_disk() {
    let disk = std::path::PathBuf::from(std::env::var("DISK").unwrap());
    let ballast = disk.join("ballast");
    std::fs::write(&ballast, vec![1; 1 << 20]).unwrap();
    let directory = Directory::new(&disk.join("journal"));
    let (_journal, recovered) = Journal::open(&directory, HostClock.now()).unwrap();
    let options = WriterOptions { queue: 1024, ..Default::default() };
    let (writer, mut producers) = Writer::start(recovered.log, HostClock, options).unwrap();
    let mut number = 0;
    let mut push = |count: u32| {
        let mut refused = 0;
        for _ in 0..count {
            number += 1;
            refused += u64::from(producers[0].push(started(HostClock.now(), number)).is_err());
        }
        refused
    };
    eventually("a full disk", || {
        push(500);
        writer.health().is_failing
    });
    eventually("a refusal", || push(5000) > 0);
    eventually("a read-only disk", || remount(&disk, "ro"));
    let errors = writer.health().write_errors;
    eventually("another attempt", || writer.health().write_errors > errors + 1);
    assert!(remount(&disk, "rw"));
    std::thread::sleep(Duration::from_millis(200));
    assert!(writer.health().is_failing, "it is still full");
    std::fs::remove_file(&ballast).unwrap();
    // What waits is more than the disk has: only a larger one takes it.
    assert!(remount(&disk, "size=64m"));
    eventually("room", || !writer.health().is_failing);
    let Health { lost, .. } = writer.health();
    assert!(lost > 0);
    let last = started(HostClock.now(), 4_000_000);
    let ticket = producers[0].push(last).unwrap();
    eventually("the last record", || producers[0].is_durable(ticket));
    writer.stop();
    let archive = Archive::open(&directory).unwrap();
    assert_eq!(archive.faults(), []);
    let holding = block(4_000_000);
    let ask = |time| {
        let (address, port) = (holding.external, Some(holding.first_port));
        archive.ask(&Question { address, port, time, uncertainty: 0, protocol: None }).unwrap()
    };
    let answer = ask(last.at());
    assert!(
        matches!(&answer.verdict, Verdict::Unique(_)) || answer.verdict.name() == "unknown",
        "{answer:?}"
    );
    // Just before, records were lost.
    assert_eq!(ask(last.at() - 150).verdict.name(), "unknown", "{lost} records are lost");
}
