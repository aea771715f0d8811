//! Partitions and configurations over days.

use std::net::Ipv6Addr;

use aftr::attribution::query::{Archive, Place, Question, Verdict};
use aftr::attribution::{Directory, Journal, Record};

use crate::bed::{Folder, NOON, block, started};

const HOUR: u64 = 3_600_000;

/// PRIV-3: behind the retention time everything is gone, and said to be.
#[test]
fn after_the_retention_time_the_files_are_gone_and_the_answer_says_so() {
    let folder = Folder::new("retention");
    let directory = Directory::new(&folder);
    let (journal, mut recovered) = Journal::open(&directory, NOON).unwrap();
    recovered.log.append(NOON, &[started(NOON, 1)]);
    for hour in 0..6 * 24 {
        let now = NOON + hour * HOUR;
        recovered.log.append(now, &[Record::Alive { at: now }]);
        recovered.log.sync(now).unwrap();
        if hour % 24 == 0 {
            journal.tidy(4, now).unwrap();
        }
    }
    let now = NOON + 6 * 24 * HOUR;
    journal.tidy(4, now).unwrap();
    let archive = Archive::open(&directory).unwrap();
    let ask = |hours: u64| {
        let (address, port, time) = (block(1).external, Some(block(1).first_port), now - hours * HOUR);
        archive.ask(&Question { address, port, time, uncertainty: 1000, protocol: None }).unwrap()
    };
    assert_eq!((ask(4 * 24 + 1).verdict.name(), ask(5 * 24).verdict.name()), ("unknown", "unknown"));
    // Held for six days: each hour's partition tells it.
    assert_eq!(ask(4 * 24 - 1).verdict, Verdict::Unique(block(1).subscriber()));
    let left = std::fs::read_dir(folder.join("sealed")).unwrap().count();
    assert!((2 * 94..=2 * 97).contains(&left), "{left} files");
}

/// RFC 7422 section 3: the answer is that of the configuration that held, before and after a change.
#[test]
fn own_ranges_follow_from_the_configuration_of_that_moment() {
    let folder = Folder::new("configuration");
    let directory = Directory::new(&folder);
    let config = |first: &str| {
        format!(
            "[softwire]\naftr-ipv6-addr = ['2001:db8:aaaa::1']\nb4-prefixes = ['{first}']\n\
             subscriber-mask-v6 = 64\n[[nat.external-ip-address-pool]]\npool-id = 1\n\
             external-ip-pool = ['192.0.2.0/30']\n[nat.deterministic]\nsubscribers-per-address = 14\n"
        )
    };
    let (journal, mut recovered) = Journal::open(&directory, NOON).unwrap();
    let mut write = |at, record| {
        recovered.log.append(at, &[record]);
        recovered.log.sync(at).unwrap();
    };
    write(NOON, journal.keep_configuration(&config("2001:db8:a::/60"), NOON).unwrap());
    let change = NOON + 3 * HOUR;
    for hour in 1..8 {
        write(NOON + hour * HOUR, Record::Alive { at: NOON + hour * HOUR });
    }
    write(
        NOON + 8 * HOUR,
        journal.keep_configuration(&config("2001:db8:b::/60"), change + 5 * HOUR).unwrap(),
    );
    write(NOON + 9 * HOUR, Record::Alive { at: NOON + 9 * HOUR });
    journal.tidy(180, NOON + 9 * HOUR).unwrap();
    let archive = Archive::open(&directory).unwrap();
    let ask = |time| {
        let question = Question {
            address: "192.0.2.0".parse().unwrap(),
            port: Some(5056),
            time,
            uncertainty: 1000,
            protocol: Some(6),
        };
        archive.ask(&question).unwrap()
    };
    let early = ask(NOON + 5 * HOUR);
    assert_eq!(early.verdict, Verdict::Unique("2001:db8:a:1::/64".parse().unwrap()));
    assert!(matches!(early.evidence[0].place, Place::Configuration(_)));
    assert_eq!(ask(NOON + 8 * HOUR + 5000).verdict, Verdict::Unique("2001:db8:b:1::/64".parse().unwrap()));
    assert_eq!(ask(NOON + 8 * HOUR).verdict.name(), "ambiguous");
    let b4: Ipv6Addr = "2001:db8:a:1::77".parse().unwrap();
    let ranges = archive.own_ranges(b4, NOON + 5 * HOUR).unwrap();
    assert_eq!((ranges.len(), ranges[0].ports.clone()), (1, 5056..=9087));
    // Whoever changes the text changes no answer: there is none then.
    let text = std::fs::read_dir(folder.join("configurations")).unwrap().flatten().map(|entry| entry.path());
    text.into_iter().for_each(|path| std::fs::write(path, config("2001:db8:c::/60")).unwrap());
    assert_eq!(ask(NOON + 5 * HOUR).verdict.name(), "unknown");
}
