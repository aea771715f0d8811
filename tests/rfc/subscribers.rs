//! Section 3, RFC 7785: a subscriber is a prefix, and its B4 may change its address.

use aftr::engine::{DropReason, EventKind, Table, Verdict};

use crate::bed::*;
use crate::reassembly::outer_piece;

#[test]
fn the_mask_says_who_is_one_subscriber() {
    covers("7785-3-a");
    let mut one = Bed::with("max-softwires-per-subscriber = 2", "", "");
    one.open_udp(A, 5000);
    one.open_udp(A3, 5000);
    assert_eq!(one.aftr.subscribers().count(), 1);
    let mut two = Bed::with("subscriber-mask-v6 = 64", "", "");
    two.open_udp(A, 5000);
    two.open_udp(A3, 5000);
    assert_eq!(two.aftr.subscribers().count(), 2);
}

#[test]
fn two_softwires_share_address_and_quota() {
    covers("7785-4.1-a");
    covers("7785-4.2-a");
    let mut bed = Bed::with("max-softwires-per-subscriber = 2", "port-quota = { udp = 2 }", "");
    let a = bed.open_udp(A, 5000);
    let a2 = bed.open_udp(A2, 5000);
    assert_eq!(a.ip(), a2.ip());
    assert_ne!(a, a2);
    bed.down(udp(R1, 80, *a.ip(), a.port())).to_b4(A);
    bed.down(udp(R1, 80, *a2.ip(), a2.port())).to_b4(A2);
    bed.up(A2, udp(H, 5001, R1, 80)).rejected(A2, DropReason::NatQuota, 3, 1);
}

#[test]
fn state_follows_the_b4_to_its_new_address() {
    covers("7785-4.3-a");
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    assert_eq!(bed.open_udp(A2, 5000), external);
    bed.down(udp(R1, 80, *external.ip(), external.port())).to_b4(A2);
    assert_eq!(bed.count_events(|kind| matches!(kind, EventKind::SoftwireMoved { .. })), 1);
    let mut stays = Bed::with("state-migrate = false", "", "");
    stays.open_udp(A, 5000);
    stays.up(A2, udp(H, 5000, R1, 80)).dropped(DropReason::B4Limit);
}

#[test]
fn changes_are_limited_and_the_first_is_free() {
    covers("7785-4.3-b");
    covers("M48");
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    bed.open_udp(A2, 5000);
    bed.advance(10);
    bed.up(A, udp(H, 5000, R1, 80)).dropped(DropReason::B4Flap);
    bed.down(udp(R1, 80, *external.ip(), external.port())).to_b4(A2);
    for _ in 0..7 {
        bed.advance(255);
        bed.open_udp(A2, 5000);
    }
    bed.advance(6);
    bed.up(A, udp(H, 5000, R1, 80)).to_internet();
    bed.down(udp(R1, 80, *external.ip(), external.port())).to_b4(A);
}

#[test]
fn a_purge_clears_a_prefix_and_its_ports_are_held() {
    covers("7785-4.6-a");
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    bed.open_tcp(A, 6000);
    bed.open_udp(B, 5000);
    assert_eq!(bed.aftr.purge("2001:db8:0:a00::/56".parse().expect("a prefix"), bed.now), 2);
    assert!(!bed.udp_reaches(external));
    assert_eq!(bed.mappings(), 1, "B is not touched");
    bed.advance(500);
    bed.open_udp(B, 5000);
}

#[test]
fn a_full_softwire_table_refuses_the_new_and_keeps_the_old() {
    covers("M49");
    let mut bed =
        Bed::of_one_worker("", "", "[nat.mapping-limits]\nlimit-subscribers = 1\nlimit-softwires = 1");
    let external = bed.open_udp(A, 5000);
    bed.up(B, udp(H, 5000, R1, 80)).dropped(DropReason::B4Limit);
    assert!(bed.udp_reaches(external));
}

#[test]
fn the_pool_is_chosen_by_the_b4_prefix() {
    covers("6333-8.1-a");
    let pools = r#"
        [[nat.external-ip-address-pool]]
        pool-id = 1
        external-ip-pool = ["192.0.2.0/28"]
        [[nat.external-ip-address-pool]]
        pool-id = 2
        external-ip-pool = ["198.51.100.7"]
        b4-prefixes = ["2001:db8:0:b00::/56"]
    "#;
    let mut bed = Bed::with("", "", pools);
    assert_eq!(bed.open_udp(B, 5000).ip().octets(), [198, 51, 100, 7]);
    assert_eq!(bed.open_udp(A, 5000).ip().octets()[..3], [192, 0, 2]);
}

#[test]
fn a_drained_address_serves_what_lives_and_nothing_new() {
    covers("6908-2.4-a");
    let pool = |drain: &str| {
        format!(
            "[[nat.external-ip-address-pool]]\npool-id = 1\nexternal-ip-pool = [\"192.0.2.0/31\"]\ndrain = [{drain}]"
        )
    };
    let mut bed = Bed::of_one_worker("", "", &pool(""));
    let external = bed.open_udp(A, 5000);
    let drained = config("", "", &pool(&format!("\"{}\"", external.ip())));
    bed.reconfigure(&drained).expect("a drain needs no restart");
    assert!(bed.udp_reaches(external));
    for number in 0x20..0x34 {
        let b4 = format!("2001:db8:0:{number:x}00::1");
        assert_ne!(bed.open_udp(&b4, 5000).ip(), external.ip());
    }
}

/// Also when it empties so soon after the alarm that the next notice would be too early, and nothing else is
/// due later.
#[test]
fn the_operator_is_told_when_there_is_room_again() {
    covers("6888-REQ-11c");
    let pool = |rest: &str| {
        format!(
            "[nat.mapping-limits]\nlimit-port-mappings = 100\n[[nat.external-ip-address-pool]]\npool-id = 9\nexternal-ip-pool = [\"192.0.2.1\"]\nhigh-threshold = 50\nlow-threshold = 5\nnotify-interval = 600\n{rest}"
        )
    };
    let mut bed = Bed::with("subscriber-mask-v6 = 64", "", &pool(""));
    for number in 0..90 {
        bed.open_udp(&format!("2001:db8:0:{number:x}::1"), 5000);
    }
    bed.advance(1);
    bed.aftr.purge("2001:db8::/32".parse().expect("a prefix"), bed.now);
    bed.advance(598);
    let pools = |bed: &Bed| {
        let high = bed.count_events(|kind| matches!(kind, EventKind::PoolHigh { pool_id: 9, .. }));
        (high, bed.count_events(|kind| matches!(kind, EventKind::PoolLow { pool_id: 9, .. })))
    };
    assert_eq!(pools(&bed), (1, 0));
    bed.advance(1);
    assert_eq!(pools(&bed), (1, 1));
    assert_eq!(
        bed.count_events(|kind| matches!(kind, EventKind::TableLow { table: Table::Mappings, .. })),
        1
    );
}

/// What was told of one pool is not taken for another's that stands in its place.
#[test]
fn an_alarm_is_about_a_pool_and_not_about_its_place() {
    covers("6888-REQ-11c");
    let pool = |id: u8, address: u8| {
        format!(
            "[[nat.external-ip-address-pool]]\npool-id = {id}\nexternal-ip-pool = [\"192.0.2.{address}\"]\nhigh-threshold = 50\nlow-threshold = 5\nnotify-interval = 20\n"
        )
    };
    let mut bed = Bed::of_one_worker("subscriber-mask-v6 = 64", "", &(pool(8, 1) + &pool(9, 2)));
    for number in 0..130 {
        bed.open_udp(&format!("2001:db8:0:{number:x}::1"), 5000);
    }
    let told = |bed: &Bed| bed.count_events(|kind| matches!(kind, EventKind::PoolLow { .. }));
    let swapped = config("subscriber-mask-v6 = 64", "", &(pool(9, 2) + &pool(7, 3)));
    bed.advance(21);
    bed.reconfigure(&swapped).expect("pools change without a restart");
    for number in 130..135 {
        bed.open_udp(&format!("2001:db8:0:{number:x}::1"), 5000);
    }
    assert_eq!(told(&bed), 0, "pool 7 was never high, and 9 still is");
}

#[test]
fn the_operator_is_told_before_a_pool_runs_out() {
    covers("6333-6.3-r");
    covers("6888-REQ-11c");
    let pool = "[[nat.external-ip-address-pool]]\npool-id = 9\nexternal-ip-pool = [\"192.0.2.1\"]\nhigh-threshold = 80";
    let mut bed = Bed::with("subscriber-mask-v6 = 64", "", pool);
    for number in 0..126 {
        bed.open_udp(&format!("2001:db8:0:{number:x}::1"), 5000);
    }
    assert_eq!(bed.count_events(|kind| matches!(kind, EventKind::PoolHigh { pool_id: 9, percent: 80 })), 1);
    for _ in 0..10_000 {
        bed.up("2001:db8:0:200::1", udp(H, 5000, R1, 80));
    }
    bed.advance(11);
    let told: Vec<u64> = bed
        .events
        .iter()
        .filter_map(|event| {
            if let EventKind::Refused { reason: DropReason::NatPool, count } = event.kind {
                Some(count)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(told, [1, 9_999], "one notice at once, one after the interval with the count");
}

#[test]
fn a_b4_that_a_new_configuration_refuses_is_refused_while_its_ports_are_held() {
    covers("6333-11-c, 4213-3.6-b");
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    let mut changed = config("", "", "");
    changed.softwire.b4_prefixes = vec!["2001:db8:0:b00::/56".parse().expect("a prefix")];
    bed.reconfigure(&changed).expect("prefixes change without a restart");
    bed.up(A, udp(H, 5000, R1, 80)).dropped(DropReason::V6Acl);
    bed.down(udp(R1, 80, *external.ip(), external.port())).dropped(DropReason::NatNoMapping);
    bed.up(B, udp(H, 5000, R1, 80)).to_internet();
    // And welcome again when it is allowed again.
    bed.reconfigure(&config("", "", "")).expect("again");
    bed.up(A, udp(H, 5000, R1, 80)).to_internet();
    assert_eq!(bed.aftr.gauges().softwires, 2, "it has one softwire, as before");
    bed.advance(1000);
    assert_eq!(bed.aftr.gauges().softwires, 0);
}

#[test]
fn homes_of_an_address_that_leaves_the_pool_get_another_at_once() {
    covers("6333-8.1-a");
    let pool =
        |ip: &str| format!("[[nat.external-ip-address-pool]]\npool-id = 1\nexternal-ip-pool = [\"{ip}\"]");
    let mut bed = Bed::of_one_worker("", "", &pool("192.0.2.1"));
    let old = bed.open_udp(A, 5000);
    bed.reconfigure(&config("", "", &pool("192.0.2.2"))).expect("pools change");
    let new = bed.open_udp(A, 5000);
    assert_eq!((old.ip().octets()[3], new.ip().octets()[3]), (1, 2));
    bed.open_udp(A, 5001);
    // The old address comes back while its ports are still held: the pairing stays.
    let both =
        "[[nat.external-ip-address-pool]]\npool-id = 1\nexternal-ip-pool = [\"192.0.2.1\", \"192.0.2.2\"]";
    bed.reconfigure(&config("", "", both)).expect("pools change");
    for port in 6000..6100 {
        assert_eq!(bed.open_udp(A, port).ip(), new.ip());
    }
    bed.advance(10_000);
    assert_eq!((bed.aftr.gauges().subscribers, bed.aftr.gauges().softwires), (0, 0));
}

#[test]
fn a_syn_that_waits_for_an_address_that_left_is_forgotten() {
    covers("5382-REQ-4");
    let pool =
        |ip: &str| format!("[[nat.external-ip-address-pool]]\npool-id = 1\nexternal-ip-pool = [\"{ip}\"]");
    let mut bed = Bed::of_one_worker("", "", &pool("192.0.2.1"));
    assert_eq!(bed.down(tcp(R1, 80, [192, 0, 2, 1].into(), 2000, SYN)).verdict, Verdict::Hold);
    bed.reconfigure(&config("", "", &pool("192.0.2.2"))).expect("pools change");
    assert!(bed.advance(10).is_empty());
}

#[test]
fn the_operator_is_told_before_a_table_is_full() {
    covers("6333-6.3-r");
    let mut bed = Bed::with("", "", "[nat.mapping-limits]\nlimit-port-mappings = 100");
    let told = |bed: &Bed, wanted: &dyn Fn(&EventKind) -> bool| bed.count_events(wanted);
    let high = |kind: &EventKind| matches!(kind, EventKind::TableHigh { table: Table::Mappings, .. });
    for port in 0..79 {
        bed.open_udp(A, 5000 + port);
    }
    bed.advance(1);
    assert_eq!(told(&bed, &high), 0);
    for port in 79..100 {
        bed.open_udp(A, 5000 + port);
    }
    bed.advance(10);
    assert_eq!(told(&bed, &high), 1, "once, not at every look");
    bed.advance(400);
    let low = |kind: &EventKind| matches!(kind, EventKind::TableLow { table: Table::Mappings, .. });
    assert_eq!((told(&bed, &high), told(&bed, &low)), (1, 1));
    // Fragments that wait, too.
    let mut bed = Bed::with("", "", "[softwire.reassembly]\nlimit = 40");
    for identification in 0..32 {
        bed.send(&outer_piece(A, identification, 0, 0, true, &[0; 64]), aftr::wire::Side::B4);
    }
    bed.advance(1);
    assert_eq!(told(&bed, &|kind| matches!(kind, EventKind::TableHigh { table: Table::Reassembly, .. })), 1);
}
