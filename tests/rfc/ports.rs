//! Section 11: which port. RFC 6056, RFC 7422; RFC 6888 REQ-15.

use aftr::engine::{DropReason, EventKind};

use crate::bed::*;

/// C = 14 and D = 2 of RFC 7422, and a pool for the 256 subscribers that the B4 prefix can hold.
const DETERMINISTIC: &str = "[[nat.external-ip-address-pool]]\npool-id = 1\nexternal-ip-pool = [\"192.0.2.0/27\"]\n[nat.deterministic]";

const FAST: &str =
    "port-quota = { udp = 10000, new-mappings-per-second = 100000, new-mappings-burst = 100000 }";

#[test]
fn ports_are_spread_evenly_and_do_not_follow_each_other() {
    covers("6888-REQ-15");
    covers("6056-4");
    covers("7857-9/10");
    // Ports are taken 8 at a time from fresh sets of 64: each draw is from a nearly free set.
    let nat = format!("port-set = {{ port-set-size = 512, max-port-sets = 1 }}\n{FAST}");
    let mut bed = Bed::with("subscriber-mask-v6 = 64", &nat, "");
    let mut offsets = Vec::new();
    for number in 0..1250 {
        let b4 = format!("2001:db8:0:{number:x}::1");
        offsets.extend((0..8).map(|port| f64::from((bed.open_udp(&b4, 5000 + port).port() - 1024) % 512)));
    }
    let count = offsets.len() as f64;
    let mut cells = [0f64; 16];
    offsets.iter().for_each(|offset| cells[*offset as usize / 32] += 1.0);
    let expected = count / 16.0;
    let chi_square: f64 = cells.iter().map(|cell| (cell - expected).powi(2) / expected).sum();
    assert!(chi_square < 45.0, "chi-square {chi_square:.1} with 15 degrees of freedom");
    let mean = offsets.iter().sum::<f64>() / count;
    let variance: f64 = offsets.iter().map(|offset| (offset - mean).powi(2)).sum::<f64>() / count;
    let serial: f64 = offsets.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum::<f64>() / count;
    assert!((serial / variance).abs() < 0.05, "serial correlation {:.3}", serial / variance);
}

#[test]
fn a_deterministic_subscriber_has_the_ports_that_follow_from_its_prefix() {
    covers("7422-2-a");
    covers("7422-2-d");
    covers("6888-REQ-8b/8c");
    let mut bed = Bed::with("max-softwires-per-subscriber = 2", FAST, DETERMINISTIC);
    let b4 = |number: usize| format!("2001:db8:0:{number:x}00::1");
    for (number, first) in [(0, 1024), (1, 5056), (13, 1024 + 13 * 4032)] {
        let external = bed.open_udp(&b4(number), 5000);
        assert_eq!(external.ip().octets(), [192, 0, 2, 0]);
        assert!((first..first + 4032).contains(&external.port()), "{number}: {external}");
    }
    assert_eq!(bed.open_udp(&b4(14), 5000).ip().octets(), [192, 0, 2, 1]);
    let second_b4 = bed.open_udp("2001:db8:0:100::9", 5000);
    assert!((5056..9088).contains(&second_b4.port()), "two B4s of a prefix share its range");
    assert_eq!(bed.count_events(|kind| matches!(kind, EventKind::PortSetGranted(_))), 0, "nothing to log");
}

#[test]
fn a_deterministic_port_may_be_used_again_at_once() {
    covers("6888-REQ-8b/8c");
    let mut bed = Bed::with("", FAST, DETERMINISTIC);
    for port in 1..=4032 {
        bed.open_udp(A, port);
    }
    bed.advance(301);
    assert_eq!(bed.mappings(), 0);
    let before = bed.count_events(|kind| matches!(kind, EventKind::PortSetGranted(_)));
    for port in 1..=4032 {
        bed.open_udp(A, port);
    }
    assert_eq!(bed.count_events(|kind| matches!(kind, EventKind::PortSetGranted(_))), before);
}

#[test]
fn overflow_comes_after_the_own_range_and_is_logged() {
    covers("7422-2-b");
    let nat = format!("port-set = {{ port-set-size = 512, max-port-sets = 3 }}\n{FAST}");
    let mut bed = Bed::with("", &nat, DETERMINISTIC);
    for port in 1..=4032 {
        assert!(bed.open_udp("2001:db8:0:100::1", port).port() < 9088);
    }
    for port in 4033..=4032 + 1024 {
        assert!(bed.open_udp("2001:db8:0:100::1", port).port() >= 57_472);
    }
    assert_eq!(bed.count_events(|kind| matches!(kind, EventKind::PortSetGranted(_))), 2);
    bed.up("2001:db8:0:100::1", udp(H, 60_000, R1, 80)).rejected(
        "2001:db8:0:100::1",
        DropReason::NatQuota,
        3,
        1,
    );
}

#[test]
fn the_own_range_comes_first_again_when_overflow_outlived_it() {
    covers("7422-2-b");
    const SUBSCRIBER: &str = "2001:db8:0:100::1";
    let nat = format!("port-set = {{ port-set-size = 512, max-port-sets = 2 }}\n{FAST}");
    let mut bed = Bed::with("", &nat, DETERMINISTIC);
    for port in 1..=4033 {
        bed.open_udp(SUBSCRIBER, port);
    }
    // Only the last one, which is in an overflow set, is kept.
    for _ in 0..10 {
        bed.advance(100);
        bed.up(SUBSCRIBER, udp(H, 4033, R1, 80)).to_internet();
    }
    assert!(bed.open_udp(SUBSCRIBER, 5000).port() < 9088);
}

#[test]
fn without_dynamic_shares_there_is_no_overflow() {
    covers("7422-2-a");
    let deterministic = "[nat.deterministic]\nsubscribers-per-address = 16\ndynamic-shares = 0";
    let mut bed = Bed::with("", FAST, deterministic);
    for port in 1..=4032 {
        bed.open_udp(A, port);
    }
    bed.up(A, udp(H, 60_000, R1, 80)).rejected(A, DropReason::NatPool, 3, 1);
}

#[test]
fn what_deterministic_ports_follow_from_cannot_change_while_they_are_in_use() {
    covers("7422-2-d");
    let mut bed = Bed::of_one_worker("", FAST, DETERMINISTIC);
    let external = bed.open_udp(A, 5000);
    let mut other = config("", FAST, DETERMINISTIC);
    other.softwire.b4_prefixes = vec!["2001:db8:0:800::/53".parse().expect("a prefix")];
    let refused = bed.reconfigure(&other).expect_err("it needs a restart");
    assert_eq!(refused, ["softwire.b4-prefixes (with nat.deterministic)"]);
    assert!(bed.udp_reaches(external), "nothing has changed");
}
