//! Section 10: RFC 6888, as far as packets go.

use aftr::engine::{DropReason, EventKind, Verdict};

use crate::bed::*;

#[test]
fn a_pool_is_any_mix_of_addresses_and_all_of_them_are_used() {
    covers("6888-REQ-3");
    let mut bed = Bed::with("subscriber-mask-v6 = 64", "", "");
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..17 {
        seen.insert(*bed.open_udp(&format!("2001:db8:0:{number:x}::1"), 5000).ip());
    }
    assert_eq!(seen.len(), 17, "the least loaded address is taken first");
    let more = "[[nat.external-ip-address-pool]]\npool-id = 1\nexternal-ip-pool = [\"192.0.2.0/28\", \"198.51.100.9\"]";
    let external = bed.open_udp("2001:db8:0:5::1", 5000);
    let changed = config("subscriber-mask-v6 = 64", "", more);
    bed.reconfigure(&changed).expect("pools change without a restart");
    let lives = external.ip().octets() != [198, 51, 100, 7];
    assert_eq!(bed.udp_reaches(external), lives);
    let fresh = (0x20..0x40).map(|number| *bed.open_udp(&format!("2001:db8:0:{number:x}::1"), 5000).ip());
    assert!(fresh.collect::<Vec<_>>().contains(&[198, 51, 100, 9].into()));
    bed.down(udp(R1, 80, [198, 51, 100, 7].into(), 2000)).dropped(DropReason::X4Dst);
}

#[test]
fn the_number_of_ports_is_limited_and_the_limit_can_change() {
    covers("6888-REQ-4");
    covers("6888-REQ-4a/4b");
    covers("6888-REQ-11a");
    covers("6888-REQ-11b");
    covers("5508-REQ-8");
    covers("6333-11-b/d");
    let nat = |udp: u32| format!("port-quota = {{ udp = {udp}, icmp = 2 }}");
    let mut bed = Bed::with("", &nat(3), "");
    let mapped: Vec<_> = (0..3).map(|port| bed.open_udp(A, 5000 + port)).collect();
    let refused = bed.up(A, udp(H, 5003, R1, 80)).rejected(A, DropReason::NatQuota, 3, 1);
    assert_eq!(refused.quoted(), udp(H, 5003, R1, 80).bytes());
    assert!(mapped.iter().all(|external| bed.udp_reaches(*external)));
    bed.up(A, echo(H, R1, 8, 1)).to_internet();
    bed.up(A, echo(H, R1, 8, 2)).to_internet();
    bed.up(A, echo(H, R1, 8, 3)).rejected(A, DropReason::NatQuota, 3, 1);
    bed.reconfigure(&config("", &nat(1), "")).expect("a quota changes without a restart");
    assert!(mapped.iter().all(|external| bed.udp_reaches(*external)), "what lives lives on");
    bed.reconfigure(&config("", &nat(4), "")).expect("again");
    bed.open_udp(A, 5003);
}

#[test]
fn the_default_quota_is_2048_and_four_port_sets() {
    covers("6888-REQ-4");
    covers("6888-REQ-14");
    let nat = "port-quota = { new-mappings-per-second = 100000, new-mappings-burst = 100000 }";
    let mut bed = Bed::with("", nat, "");
    (1..=2048).for_each(|port| {
        bed.open_udp(A, port);
    });
    bed.up(A, udp(H, 3000, R1, 80)).rejected(A, DropReason::NatQuota, 3, 1);
    assert_eq!(
        bed.count_events(|kind| matches!(kind, EventKind::PortSetGranted(_))),
        4,
        "a record for each set"
    );
}

#[test]
fn the_rate_of_new_mappings_is_limited_and_a_neighbour_does_not_notice() {
    covers("6888-REQ-4c");
    covers("M50");
    let mut bed = Bed::new();
    let mut made = 0;
    for number in 0..10_000u32 {
        let outcome = bed.up(A, tcp(H, 1024 + (number % 60_000) as u16, R1, 80, SYN));
        made += usize::from(outcome.verdict == Verdict::ToInternet);
        if number % 10 == 9 {
            bed.advance_millis(1);
        }
    }
    assert!((590..=600).contains(&made), "{made} mappings in a second");
    assert!(bed.dropped(DropReason::NatRate) > 9_000);
    bed.open_tcp(B, 5000);
}

#[test]
fn sessions_are_limited_for_each_mapping_and_each_subscriber() {
    covers("6888-REQ-5/5a/5b");
    let limits = "[nat.session-limits]\nlimit-per-mapping = 3\nlimit-per-subscriber = 5";
    let mut bed = Bed::with("", "", limits);
    let syn = |port, dport| tcp(H, port, R1, dport, SYN);
    (1..=3).for_each(|port| drop(bed.up(A, syn(5000, port)).to_internet()));
    bed.up(A, syn(5000, 4)).rejected(A, DropReason::NatQuota, 3, 1);
    (1..=2).for_each(|port| drop(bed.up(A, syn(5001, port)).to_internet()));
    bed.up(A, syn(5002, 1)).rejected(A, DropReason::NatQuota, 3, 1);
    bed.up(B, syn(5000, 1)).to_internet();
}

#[test]
fn full_tables_refuse_the_new_and_never_evict() {
    covers("6888-REQ-11d");
    covers("M50");
    let tables = "[nat.mapping-limits]\nlimit-port-mappings = 10\nlimit-sessions = 2";
    let mut bed = Bed::of_one_worker("", "", tables);
    bed.open_tcp(A, 4000);
    bed.open_tcp(A, 4001);
    bed.up(A, tcp(H, 4002, R1, 80, SYN)).rejected(A, DropReason::NatMem, 3, 1);
    let old: Vec<_> = (0..8).map(|port| bed.open_udp(A, 5000 + port)).collect();
    bed.up(B, udp(H, 5000, R1, 80)).rejected(B, DropReason::NatMem, 3, 1);
    for _ in 0..5 {
        bed.advance(120);
        (0..8).for_each(|port| {
            bed.open_udp(A, 5000 + port);
        });
        bed.up(B, udp(H, 5000, R1, 80));
    }
    assert!(old.iter().all(|external| bed.udp_reaches(*external)));
}

#[test]
fn a_destination_can_be_left_untranslated() {
    covers("6888-REQ-6");
    let rule = "[[nat.nat-pass-through]]\nprefix = \"203.0.113.2/32\"\nprotocol = \"tcp\"\nport = 443";
    let mut bed = Bed::with("", "", rule);
    let packet = tcp(H, 5000, R2, 443, SYN);
    let seen = bed.up(A, packet.clone()).to_internet();
    assert_eq!((seen.source, seen.sport, seen.ttl), (H, 5000, 63));
    assert_eq!(bed.mappings(), 0, "no port is used");
    let back = bed.down(tcp(R2, 443, H, 5000, SYN | ACK)).to_b4(A);
    assert_eq!((back.source, back.destination, back.ttl), (R2, H, 63));
    bed.up(B, packet.clone()).rejected(B, DropReason::PassClash, 3, 1);
    bed.up(A, packet.clone().sent_by([8, 8, 8, 8].into())).dropped(DropReason::InSrc);
    bed.up(A, packet.clone().ttl(1)).rejected(A, DropReason::InTtl, 11, 0);
    bed.down(tcp(R2, 443, H, 5001, SYN)).dropped(DropReason::X4Dst);
    assert_ne!(
        bed.up(A, tcp(H, 5000, R1, 443, SYN)).to_internet().source,
        H,
        "other destinations are translated"
    );
    bed.advance(8000);
    bed.up(B, packet).to_internet();
}

#[test]
fn a_freed_port_is_held_for_120_s() {
    covers("6888-REQ-8");
    let nat = "port-set = { port-set-size = 64, max-port-sets = 1 }\nport-quota = { udp = 64, new-mappings-per-second = 10000, new-mappings-burst = 10000 }";
    let mut bed = Bed::with("", nat, "");
    let held = bed.open_udp(A, 5000);
    bed.advance(301);
    assert_eq!(bed.mappings(), 0);
    let others: Vec<_> = (0..63).map(|port| bed.open_udp(A, 6000 + port)).collect();
    assert!(others.iter().all(|external| *external != held));
    bed.up(A, udp(H, 6063, R1, 80)).rejected(A, DropReason::NatQuota, 3, 1);
    bed.advance(122);
    assert_eq!(bed.open_udp(A, 6063), held, "the last free port of the set is found");
    covers("6056-3.3");
}

#[test]
fn a_port_closed_by_tcp_itself_may_be_used_at_once_and_any_other_end_holds_it() {
    covers("6888-REQ-8a");
    let nat = "port-set = { port-set-size = 64, max-port-sets = 1 }\nport-quota = { new-mappings-per-second = 10000, new-mappings-burst = 10000 }";
    for (closes, is_free) in [(true, true), (false, false)] {
        let mut bed = Bed::with("", nat, "");
        let external = if closes {
            let external = bed.open_tcp(A, 5000);
            bed.up(A, tcp(H, 5000, R1, 80, FIN | ACK)).to_internet();
            bed.down(tcp(R1, 80, *external.ip(), external.port(), FIN | ACK)).to_b4(A);
            external
        } else {
            bed.up(A, tcp(H, 5000, R1, 80, SYN)).to_internet().from()
        };
        bed.advance(241);
        assert_eq!(bed.mappings(), 0);
        let used: Vec<_> =
            (0..63u16).map(|port| bed.up(A, tcp(H, 6000 + port, R1, 80, SYN)).to_internet().from()).collect();
        let last = bed.up(A, tcp(H, 6063, R1, 80, SYN)).verdict == Verdict::ToInternet;
        assert_eq!(used.contains(&external) || last, is_free, "closed by TCP: {closes}");
    }
}

#[test]
fn the_number_of_held_ports_can_be_limited() {
    covers("6888-REQ-8-max");
    let mut bed = Bed::with("", "hold-down-max = 10", "");
    (0..11).for_each(|port| {
        bed.open_udp(A, 5000 + port);
    });
    bed.advance(301);
    assert_eq!(bed.aftr.counters().hold_down_early, 1);
}

#[test]
fn a_port_set_goes_back_and_is_granted_again_when_its_last_port_is_due() {
    covers("6888-REQ-8");
    covers("6888-REQ-13");
    let pool = "[[nat.external-ip-address-pool]]\npool-id = 1\nexternal-ip-pool = [\"192.0.2.1\"]";
    let mut bed = Bed::with("subscriber-mask-v6 = 64", "", pool);
    for number in 0..126 {
        bed.open_udp(&format!("2001:db8:0:{number:x}::1"), 5000);
    }
    let late = "2001:db8:0:200::1";
    bed.up(late, udp(H, 5000, R1, 80)).rejected(late, DropReason::NatPool, 3, 1);
    covers("7857-4");
    let paired = "2001:db8:0:5::1";
    let nat = "port-quota = { new-mappings-per-second = 10000, new-mappings-burst = 10000 }";
    bed.reconfigure(&config("subscriber-mask-v6 = 64", nat, pool)).expect("a rate changes live");
    (0..511).for_each(|port| {
        bed.open_udp(paired, 10_000 + port);
    });
    bed.up(paired, udp(H, 20_000, R1, 80)).rejected(paired, DropReason::NatPool, 3, 1);
    bed.advance(301 + 118);
    bed.up(late, udp(H, 5000, R1, 80));
    assert_eq!(bed.mappings(), 0, "still held");
    bed.advance(4);
    bed.open_udp(late, 5000);
    assert_eq!(bed.aftr.subscribers().count(), 1);
}

#[test]
fn the_number_of_subscribers_on_an_address_can_be_limited() {
    covers("6888-REQ-13");
    let pool = "[[nat.external-ip-address-pool]]\npool-id = 1\nexternal-ip-pool = [\"192.0.2.0/31\"]\nmax-subscribers-per-address = 2";
    let mut bed = Bed::with("subscriber-mask-v6 = 64", "", pool);
    let b4 = |number: usize| format!("2001:db8:0:{number:x}::1");
    (0..4).for_each(|number| {
        bed.open_udp(&b4(number), 5000);
    });
    bed.up(&b4(4), udp(H, 5000, R1, 80)).rejected(&b4(4), DropReason::NatPool, 3, 1);
}

#[test]
fn a_static_mapping_is_reached_from_outside_at_any_time() {
    covers("6888-REQ-9");
    covers("6056-3.2");
    let entry = format!(
        "[[nat.mapping-table]]\nb4-ipv6-address = \"{A}\"\ntransport-protocol = \"tcp\"\ninternal-src-address = \"10.0.0.2\"\n\
         internal-src-port = 80\nexternal-src-address = \"192.0.2.3\"\nexternal-src-port = 8080"
    );
    let mut bed = Bed::with("", "", &entry);
    bed.advance(86_400);
    let seen = bed.down(tcp(R1, 5555, [192, 0, 2, 3].into(), 8080, SYN)).to_b4(A);
    assert_eq!((seen.destination, seen.dport), (H, 80));
    bed.up(A, tcp(H, 80, R1, 5555, SYN | ACK)).to_internet();
    assert_eq!(bed.open_udp(A, 5000).ip().octets(), [192, 0, 2, 3], "one address for all that A does");
    bed.advance(86_400);
    bed.down(tcp(R2, 5555, [192, 0, 2, 3].into(), 8080, SYN)).to_b4(A);
    for number in 0..200 {
        let external = bed.open_udp(&format!("2001:db8:0:{number:x}00::1"), 5000);
        let in_reserved_set =
            external.ip().octets() == [192, 0, 2, 3] && (7680..8192).contains(&external.port());
        assert!(!in_reserved_set, "{external} is in the set of a static port");
    }
}

#[test]
fn no_event_names_a_destination() {
    covers("6888-REQ-12");
    let mut bed = Bed::new();
    bed.open_tcp(A, 5000);
    bed.open_udp(B, 5000);
    bed.advance(8000);
    assert!(!bed.events.is_empty());
    assert!(!format!("{:?}", bed.events).contains(&R1.to_string()));
}
