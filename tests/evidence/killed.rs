//! `kill -9`, again and again, while thousands of port sets a second are granted.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use aftr::attribution::query::{Archive, Question, Verdict};
use aftr::attribution::{Directory, EndCause, Interval};

use crate::bed::{AFTR, Bed, in_namespaces, meanwhile};
use crate::traffic::{Homes, Seen, Witness, b4};

/// RFC 6888 REQ-8, in milliseconds.
const QUARANTINE: u64 = 120_000;
/// First packets of new homes a millisecond.
const HOMES_PER_MILLISECOND: u32 = 8;
/// One of so many packets is asked for as an investigator would.
const ASKED: usize = 50;

/// ATT-1, ATT-2, INV-11, DP REQ-8-crash: no packet without its record, no port of a lost state used again too soon.
#[test]
fn a_daemon_that_is_killed_200_times_owes_no_record_and_gives_no_port_twice() {
    in_namespaces("killed::child_that_kills");
}

/// The same with what a killed daemon leaves behind at its interfaces: routes and filters.
#[test]
fn a_killed_daemon_on_packet_rings_starts_again_and_owes_no_record() {
    in_namespaces("killed::child_that_kills_on_packet_rings");
}

#[test]
#[ignore = "the child of another test"]
fn child_that_kills() {
    live_and_check("killed", kills(), "offload = false\nmanage-host = true\n");
}

#[test]
#[ignore = "the child of another test"]
fn child_that_kills_on_packet_rings() {
    let device = "device = 'packet'\ninterfaces = { b4 = 'access', internet = 'internet' }\n";
    live_and_check("killed-packet", kills().div_ceil(10), device);
}

fn kills() -> u32 {
    std::env::var("AFTR_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(200)
}

fn live_and_check(name: &str, kills: u32, device: &str) {
    let bed = Bed::new(name);
    let journal = bed.folder.join("journal");
    let config = bed.configure(&format!(
        "[nat.mapping-limits]\nlimit-subscribers = 65536\nlimit-port-mappings = 65536\nlimit-sessions = 65536\n\
         [[nat.external-ip-address-pool]]\npool-id = 1\nexternal-ip-pool = ['198.18.0.0/20']\n\
         [dataplane]\n{device}workers = 2\n[journal]\ndirectory = '{}'\n",
        journal.display()
    ));
    let witness = Witness::start(&bed);
    let begin = instant();
    let (homes, starts) = lives(&bed, &config, kills);
    let lived = begin.elapsed();
    std::thread::sleep(Duration::from_millis(200));
    let seen = witness.take();

    let directory = Directory::new(&journal);
    let archive = Archive::open(&directory).unwrap();
    let mut intervals = archive.recent().to_vec();
    for partition in &archive.catalogue().partitions {
        intervals.extend(archive.rows_of(partition).unwrap());
    }
    let by_address = sorted_by_address(&intervals);
    for packet in &seen {
        check_record(packet, &by_address);
    }
    for packet in seen.iter().step_by(ASKED) {
        ask(&archive, packet);
    }
    let chances = check_rest(&by_address);
    let verified =
        Command::new(AFTR).args(["journal", "verify", "--journal"]).arg(&journal).output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));

    let mut starts = starts;
    starts.sort_unstable();
    println!(
        "{kills} kills in {:.1} s; {} packets of {homes} homes sent first, {} arrived, {} intervals in the journal; \
         none without its record, {} asked; {chances:.0} ports would have been given twice by chance; from start to \
         ready {} ms at best, {} ms median, {} ms at most",
        lived.as_secs_f64(),
        homes,
        seen.len(),
        intervals.len(),
        seen.len().div_ceil(ASKED),
        starts[0].as_millis(),
        starts[starts.len() / 2].as_millis(),
        starts[starts.len() - 1].as_millis(),
    );
    assert!(seen.len() as u32 > kills * 100, "{} packets are no load", seen.len());
    if lived < Duration::from_millis(QUARANTINE) && kills >= 20 {
        assert!(chances > 50.0, "nothing is proved: no port was at stake");
    }
}

/// Lives and kills. Gives how many homes have sent, and how long each start took.
fn lives(bed: &Bed, config: &std::path::Path, kills: u32) -> (u32, Vec<Duration>) {
    let (is_over, homes) = (AtomicBool::new(false), AtomicU32::new(0));
    let is_up = AtomicBool::new(false);
    let mut starts = Vec::new();
    let sender = || send(bed, &is_over, &is_up, &homes);
    meanwhile(&is_over, sender, || {
        for life in 0..kills {
            let begin = instant();
            let daemon = bed.start(config);
            starts.push(begin.elapsed());
            is_up.store(true, Ordering::Relaxed);
            // At another moment of the journal's turns in each life.
            std::thread::sleep(Duration::from_micros(u64::from(60_000 + life * 7919 % 120_000)));
            daemon.kill();
            is_up.store(false, Ordering::Relaxed);
        }
        // The end of the last life is in the journal when another one has begun.
        bed.start(config).stop();
    });
    (homes.into_inner(), starts)
}

/// New homes all the time; each sends a second packet a little later.
fn send(bed: &Bed, is_over: &AtomicBool, is_up: &AtomicBool, homes: &AtomicU32) {
    let mut link = Homes::new(bed);
    let mut next: u32 = 1;
    while !is_over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(1));
        if !is_up.load(Ordering::Relaxed) {
            continue;
        }
        for home in next..next + HOMES_PER_MILLISECOND {
            link.send(home, 1);
        }
        for home in
            next.saturating_sub(20 * HOMES_PER_MILLISECOND)..next.saturating_sub(19 * HOMES_PER_MILLISECOND)
        {
            link.send(home, 2);
        }
        link.kick();
        next += HOMES_PER_MILLISECOND;
        homes.store(next - 1, Ordering::Relaxed);
    }
}

type ByAddress = BTreeMap<Ipv4Addr, Vec<Interval>>;

/// In the order of ports and time.
fn sorted_by_address(intervals: &[Interval]) -> ByAddress {
    let mut by_address = ByAddress::new();
    for interval in intervals {
        by_address.entry(interval.holding.external).or_default().push(*interval);
    }
    for of_one in by_address.values_mut() {
        of_one.sort_unstable_by_key(|interval| (interval.holding.first_port, interval.start));
    }
    by_address
}

/// There is one interval that covers the packet, it is its sender's, and it began before the packet arrived.
fn check_record(packet: &Seen, by_address: &ByAddress) {
    let of_address = by_address.get(&packet.external).map_or(&[][..], Vec::as_slice);
    let behind = of_address.partition_point(|interval| interval.holding.first_port <= packet.port);
    let covers = |interval: &&Interval| {
        let end = interval
            .end
            .map_or(u64::MAX, |(end, cause)| if cause == EndCause::Crash { end + 1000 } else { end });
        interval.holding.last_port >= packet.port
            && interval.start <= packet.received
            && end >= packet.received
    };
    let holders: Vec<&Interval> = of_address[..behind].iter().rev().take(8).filter(covers).collect();
    match holders[..] {
        [holder] => {
            assert_eq!(holder.holding.b4, b4(packet.home), "{packet:?} {holder:?}");
            // The first packet brought it about; a worker reads the clock once a turn.
            assert!(packet.number > 1 || holder.start + 1000 >= packet.sent, "{packet:?} {holder:?}");
        }
        _ => panic!("{packet:?} has the records {holders:?}"),
    }
}

fn ask(archive: &Archive, packet: &Seen) {
    let (address, port) = (packet.external, Some(packet.port));
    let question = Question { address, port, time: packet.received, uncertainty: 0, protocol: Some(17) };
    let answer = archive.ask(&question).unwrap();
    let home = ipnet::Ipv6Net::from(b4(packet.home));
    assert_eq!(answer.verdict, Verdict::Unique(home), "{packet:?}\n{answer:#?}");
}

/// Between two holders of the same ports are 120 s, however many lives are in between. Gives how many pairs would
/// be closer if ports were drawn blindly.
fn check_rest(by_address: &ByAddress) -> f64 {
    for of_address in by_address.values() {
        for pair in of_address.windows(2) {
            if pair[0].holding.first_port == pair[1].holding.first_port {
                let end = pair[0].end.unwrap_or_else(|| panic!("{pair:?}")).0;
                assert!(pair[1].start >= end + QUARANTINE, "{} ms later: {pair:#?}", pair[1].start - end);
            }
        }
    }
    let granted: f64 = by_address.values().map(|of_one| of_one.len() as f64).sum();
    granted * granted / 2.0 / (4096.0 * 252.0)
}

#[expect(clippy::disallowed_methods, reason = "how long it takes")]
fn instant() -> Instant {
    Instant::now()
}
