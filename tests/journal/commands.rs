//! What an operator types, and reads.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use crate::bed::{Folder, block, small_journal};
use crate::program::{AFTR, aftr, assert_ends, text};

fn journal(name: &str) -> (Folder, String) {
    let folder = Folder::new(name);
    small_journal(&folder);
    let path = folder.to_str().unwrap().to_owned();
    (folder, path)
}

#[test]
fn nobody_is_told_anything_without_a_case() {
    let (folder, path) = journal("no-case");
    let question = ["attribute", "198.18.0.0", "1600", "2026-11-21T12:00:30Z", "--journal", &path];
    assert_ends(&aftr(&question), 2, &["no case reference was given", "--case REF"]);
    assert_ends(&aftr(&[&question[..], &["--case", " "]].concat()), 2, &["no case reference"]);
    assert_ends(&aftr(&["journal", "export", "--journal", &path]), 2, &["no case reference"]);
    assert!(!folder.join("audit").exists());
}

#[test]
fn one_subscriber_is_named_with_the_evidence_and_the_question_is_kept() {
    let (folder, path) = journal("unique");
    let ask = |time: &str, more: &[&str]| {
        let first = block(1).first_port.to_string();
        let words = ["attribute", "198.18.0.0", &first, time, "--journal", &path, "--case", "AZ 17/26"];
        aftr(&[&words[..], more].concat())
    };
    let parts = ["unique:", "2001:db8:b4:1::/64", "2026-11-21T12:01:00.000Z (idle)", ".parquet, SHA-256 "];
    assert_ends(&ask("2026-11-21T12:00:30Z", &[]), 0, &parts);
    assert_ends(
        &ask("2026-11-21T13:12:00+01:00", &[]),
        0,
        &["unique:", "2001:db8:b4:3::/64", ", no end yet"],
    );
    assert_ends(&ask("2026-11-21T12:05:00Z", &[]), 0, &["none:"]);
    assert_ends(&ask("2026-11-21T12:05:00Z", &["--uncertainty", "600"]), 0, &["unknown (before-retention)"]);
    assert_ends(&ask("2026-11-21T12:06:00Z", &["--uncertainty", "301"]), 0, &["ambiguous:", "2 subscribers"]);
    assert_ends(&ask("2026-11-21T11:00:00Z", &[]), 0, &["unknown (before-retention)"]);
    assert_ends(&ask("2026-11-21T20:00:00Z", &[]), 0, &["unknown (log-gap)", "the journal ends"]);
    let portless =
        ["attribute", "198.18.0.0", "", "2026-11-21T12:00:30Z", "--journal", &path, "--case", "AZ 17/26"];
    assert_ends(&aftr(&portless), 2, &["write a port", "or - when it is not known"]);
    assert_ends(&ask("yesterday", &[]), 2, &["write UTC as 2026-11-21T12:00:00Z"]);
    let audit = fs::read_to_string(folder.join("audit")).unwrap();
    assert_eq!(audit.lines().count(), 7);
    assert!(audit.lines().all(|line| line.contains(r#""case":"AZ 17/26""#)), "{audit}");
    assert_ends(&aftr(&["journal", "verify", "--journal", &path]), 0, &["7 queries", "everything fits"]);
}

/// Whatever the umask of who asks, others read nothing of it.
#[test]
fn the_record_of_queries_is_its_owners_alone() {
    let (folder, path) = journal("private");
    let words = ["attribute", "198.18.0.0", "-", "2026-11-21T12:00:30Z", "--journal", &path, "--case", "1"];
    let output = Command::new("sh").args(["-c", "umask 0; exec \"$@\"", "sh", AFTR]).args(words).output();
    assert_ends(&output.unwrap(), 0, &["broad:"]);
    assert_eq!(fs::metadata(folder.join("audit")).unwrap().mode() & 0o077, 0);
}

/// Europol's case of fifty customers: without the port nobody is singled out.
#[test]
fn without_a_port_the_answer_is_broad() {
    let (_folder, path) = journal("broad");
    let words = ["attribute", "198.18.0.0", "-", "2026-11-21T12:00:30Z", "--journal", &path, "--case", "1"];
    let parts = ["broad:", "any of 2 subscribers", "RFC 6302", "2001:db8:b4:2::/64"];
    assert_ends(&aftr(&words), 0, &parts);
    let later = ["attribute", "198.18.0.0", "-", "2026-11-21T12:05:00Z", "--journal", &path, "--case", "1"];
    assert_ends(&aftr(&later), 0, &["broad:", "may have been 1 subscriber\n", "2001:db8:b4:2::/64"]);
}

/// ATT-3: the batch says what the single questions say.
#[test]
fn a_batch_answers_as_single_questions_do() {
    let (folder, path) = journal("batch");
    let port = block(1).first_port.to_string();
    let times = ["2026-11-21T12:00:30Z", "2026-11-21T12:05:00Z", "2026-11-21T12:30:00Z"];
    let lines: Vec<String> = times.iter().map(|time| format!("198.18.0.0,{port},{time}\n")).collect();
    let file = folder.join("questions.csv");
    fs::write(&file, format!("address,port,time\n{}", lines.concat())).unwrap();
    let of = ["--journal", &path, "--case", "1", "--json"];
    let batch = aftr(&[&["attribute", "--batch", file.to_str().unwrap()], &of[..]].concat());
    let single: Vec<String> = times
        .iter()
        .map(|time| text(&aftr(&[&["attribute", "198.18.0.0", &port, time], &of[..]].concat())))
        .collect();
    assert_eq!(text(&batch), single.concat());
    let csv = aftr(&["attribute", "--batch", file.to_str().unwrap(), "--journal", &path, "--case", "1"]);
    assert_ends(&csv, 0, &["unique,,2001:db8:b4:1::/64", "none,,", "unique,,2001:db8:b4:3::/64"]);
}

#[test]
fn a_changed_journal_is_named_and_no_longer_right() {
    let (folder, path) = journal("verify");
    let sealed = fs::read_dir(folder.join("sealed")).unwrap().flatten().map(|entry| entry.path());
    let parquet =
        sealed.into_iter().find(|path| path.extension().is_some_and(|end| end == "parquet")).unwrap();
    let mut octets = fs::read(&parquet).unwrap();
    octets[10] ^= 4;
    fs::write(&parquet, octets).unwrap();
    assert_ends(&aftr(&["journal", "verify", "--journal", &path]), 1, &["WRONG", ".parquet", "has changed"]);
    assert_ends(&aftr(&["journal", "stat", "--journal", "/nowhere"]), 1, &["/nowhere is no journal"]);
}

#[test]
fn statistics_and_export_tell_what_there_is() {
    let (_folder, path) = journal("stat");
    assert_ends(&aftr(&["journal", "stat", "--journal", &path]), 0, &["partitions         1", "known-until"]);
    let export = text(&aftr(&["journal", "export", "--journal", &path, "--case", "1"]));
    let lines: Vec<serde_json::Value> =
        export.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        lines.iter().any(|line| line["subscriber"] == "2001:db8:b4:1::/64" && line["end-cause"] == "idle")
    );
    // Sealed: one closed, two that go on; those two again in what is recent.
    assert_eq!(lines.len(), 5, "{export}");
}
