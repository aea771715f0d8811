//! Whoever changes one octet is found.

use std::fs;
use std::path::{Path, PathBuf};

use aftr::attribution::query::{Archive, Question};
use aftr::attribution::{Asker, note, verify};

use crate::bed::{Folder, NOON, block, small_journal};

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            files.extend(self::files(&entry.path()))
        } else {
            files.push(entry.path())
        }
    }
    files.sort();
    files
}

#[test]
fn a_changed_bit_anywhere_is_found() {
    let folder = Folder::new("changed");
    let directory = small_journal(&folder);
    let archive = Archive::open(&directory).unwrap();
    let (address, port) = (block(1).external, Some(block(1).first_port));
    let question = Question { address, port, time: NOON + 5000, uncertainty: 1000, protocol: None };
    let asker = Asker { at: NOON, who: "uid 0".into(), from: "this host".into(), case: "4711".into() };
    let answer = archive.ask(&question).unwrap();
    note(&directory, &asker, &[answer.clone(), answer]).unwrap();
    assert_eq!(verify(&directory).unwrap().findings, [""; 0]);
    let mut changed = 0;
    for file in files(&folder).into_iter().filter(|file| !file.ends_with("lock")) {
        let good = fs::read(&file).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&file, &bad).unwrap();
            let found = verify(&directory);
            let is_found = match &found {
                // The last batch of the log looks as if its writer had died while it wrote.
                Ok(found) => !found.findings.is_empty() || !found.notes.is_empty(),
                Err(_) => true,
            };
            assert!(is_found, "{} octet {at}", file.display());
            changed += 1;
        }
        fs::write(&file, &good).unwrap();
    }
    assert!(changed > 3000, "{changed} octets were changed");
}

#[test]
fn the_first_bad_entry_of_the_record_of_queries_is_named() {
    let folder = Folder::new("changed-audit");
    let directory = small_journal(&folder);
    let archive = Archive::open(&directory).unwrap();
    let (address, port) = (block(1).external, Some(block(1).first_port));
    let question = Question { address, port, time: NOON + 5000, uncertainty: 1000, protocol: None };
    let asker = Asker { at: NOON, who: "uid 0".into(), from: "this host".into(), case: "4711".into() };
    let answer = archive.ask(&question).unwrap();
    note(&directory, &asker, &vec![answer; 5]).unwrap();
    let text = fs::read_to_string(directory.audit()).unwrap();
    let third: Vec<String> = text
        .lines()
        .map(|line| if line.contains(" 3 {") { line.replace("4711", "4712") } else { line.to_owned() })
        .collect();
    fs::write(directory.audit(), third.join("\n") + "\n").unwrap();
    let findings = verify(&directory).unwrap().findings;
    assert!(findings[0].starts_with("audit, record 3:"), "{findings:?}");
}

/// A sealed file that has changed proves nothing, and harms no other.
#[test]
fn a_changed_partition_answers_log_gap() {
    let folder = Folder::new("changed-partition");
    let directory = small_journal(&folder);
    let name = |end: &str| {
        files(&folder.join("sealed")).into_iter().find(|path| path.to_str().unwrap().ends_with(end))
    };
    for path in [name(".parquet").unwrap(), name(".marks").unwrap()] {
        let good = fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(7) {
            let mut bad = good.clone();
            bad[at] ^= 0x20;
            fs::write(&path, &bad).unwrap();
            let archive = Archive::open(&directory).unwrap();
            let (address, port) = (block(2).external, Some(block(2).first_port));
            let question = Question { address, port, time: NOON + 5000, uncertainty: 500, protocol: None };
            assert_eq!(archive.ask(&question).unwrap().verdict.name(), "unknown", "{} {at}", path.display());
        }
        fs::write(&path, &good).unwrap();
    }
}

/// ATT-2: a log without its end is not believed past it.
#[test]
fn a_shortened_log_answers_log_gap() {
    let folder = Folder::new("shortened");
    let directory = small_journal(&folder);
    let wal = files(&folder.join("wal")).pop().unwrap();
    let whole = fs::read(&wal).unwrap();
    fs::write(&wal, &whole[..whole.len() - 100]).unwrap();
    let archive = Archive::open(&directory).unwrap();
    let (address, port) = (block(2).external, Some(block(2).first_port));
    let ask = |time| {
        archive
            .ask(&Question { address, port, time, uncertainty: 500, protocol: None })
            .unwrap()
            .verdict
            .name()
    };
    assert_eq!(
        (ask(NOON + 5000), ask(NOON + 3_599_000), ask(NOON + 3_602_000)),
        ("unique", "unique", "unknown")
    );
}
