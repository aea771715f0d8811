//! A writer that is killed while it grants: `AFTR_KILLS=200 cargo test --release --test journal killed`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write, stdout};
use std::process::Stdio;
use std::time::Duration;

use aftr::attribution::query::{Archive, Question, Verdict};
use aftr::attribution::wal::{WallClock, Writer, WriterOptions};
use aftr::attribution::{Directory, Journal, Millis, Record};

use crate::bed::{Folder, HostClock, block, child, started};

const BLOCKS_PER_LIFE: u32 = 4000;

/// DP REQ-8-crash, INV-11: what was durable is there; nothing else was used; its ports rest.
#[test]
fn a_killed_writer_has_a_record_of_every_grant_that_was_used() {
    let kills: u32 = std::env::var("AFTR_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let folder = Folder::new("killed");
    let directory = Directory::new(&folder);
    let mut used: BTreeMap<u32, Millis> = BTreeMap::new();
    let mut total = 0;
    for life in 0..kills {
        let grants = live_and_die(&folder, life, kills);
        assert!(!grants.is_empty(), "life {life}: it has granted something");
        total += grants.len();
        for &(number, at) in &grants {
            if let Some(before) = used.insert(number, at) {
                panic!("block {number} was used at {before} and at {at}, {} ms later", at - before);
            }
        }
        check(&directory, &grants, life);
    }
    println!("{kills} kills, {total} grants used, none without its record");
}

/// Runs a writer, kills it, and gives the grants that it used.
fn live_and_die(folder: &std::path::Path, life: u32, kills: u32) -> Vec<(u32, Millis)> {
    let mut writer = child("killed::child_that_grants")
        .env("JOURNAL", folder)
        .env("LIFE", life.to_string())
        .env("BLOCKS", (kills * BLOCKS_PER_LIFE).to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
    let used = |line: String| {
        let (number, at) = line.strip_prefix("used ")?.split_once(' ')?;
        Some((number.parse().ok()?, at.parse().ok()?))
    };
    // The first one, so that it is at work; then a while, another for each life.
    let first = lines.by_ref().map_while(Result::ok).find_map(used);
    std::thread::sleep(Duration::from_millis(20 + u64::from(life * 37 % 180)));
    writer.kill().unwrap();
    writer.wait().unwrap();
    first.into_iter().chain(lines.map_while(Result::ok).filter_map(used)).collect()
}

fn check(directory: &Directory, grants: &[(u32, Millis)], life: u32) {
    let archive = Archive::open(directory).unwrap();
    for &(number, at) in grants {
        let holding = block(number);
        let question = Question {
            address: holding.external,
            port: Some(holding.first_port + 7),
            time: at,
            uncertainty: 0,
            protocol: None,
        };
        let answer = archive.ask(&question).unwrap();
        assert_eq!(answer.verdict, Verdict::Unique(holding.subscriber()), "life {life}: {answer:#?}");
    }
    drop(archive);
    // What another writer would find.
    let (_journal, recovered) = Journal::open(directory, HostClock.now()).unwrap();
    let resting: BTreeSet<_> =
        recovered.quarantine.iter().map(|block| (block.external, *block.ports.start())).collect();
    for (number, _) in grants {
        let holding = block(*number);
        assert!(resting.contains(&(holding.external, holding.first_port)), "block {number} rests");
    }
}

#[test]
#[ignore = "the child of another test"]
fn child_that_grants() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let directory = Directory::new(std::path::Path::new(&variable("JOURNAL")));
    let (life, blocks) =
        (variable("LIFE").parse::<u32>().unwrap(), variable("BLOCKS").parse::<u32>().unwrap());
    let (_journal, recovered) = Journal::open(&directory, HostClock.now()).unwrap();
    let resting: BTreeSet<_> =
        recovered.quarantine.iter().map(|block| (block.external, *block.ports.start())).collect();
    let (_writer, mut producers) = Writer::start(recovered.log, HostClock, WriterOptions::default()).unwrap();
    // An odd factor visits every block of the ring once, from another place in each life.
    let mut at = life.wrapping_mul(7919);
    let mut waiting = std::collections::VecDeque::new();
    let mut granted = BTreeSet::new();
    loop {
        at = at.wrapping_add(1);
        let number = at.wrapping_mul(2_654_435_761) % blocks;
        let holding = block(number);
        if !resting.contains(&(holding.external, holding.first_port)) && granted.insert(number) {
            let now = HostClock.now();
            let record: Record = started(now, number);
            if let Ok(ticket) = producers[0].push(record) {
                waiting.push_back((ticket, number, now));
            }
        }
        // A few hundred grants wait for the disk at once; a packet leaves when its record is durable.
        while let Some(&(ticket, number, now)) = waiting.front()
            && (producers[0].is_durable(ticket) || waiting.len() > 400)
        {
            if producers[0].is_durable(ticket) {
                writeln!(stdout(), "used {number} {now}").unwrap();
                waiting.pop_front();
            } else {
                std::thread::yield_now();
            }
        }
        if granted.len() as u32 >= blocks / 2 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
