//! Section 5: UDP and what holds for every protocol (RFC 4787), with the updates of RFC 7857.

use aftr::engine::{DropReason, Verdict};
use aftr::wire::Side;

use crate::bed::*;

#[test]
fn a_mapping_does_not_depend_on_where_packets_go() {
    covers("4787-REQ-1");
    let mut bed = Bed::new();
    let seen: Vec<_> = [(R1, 80), (R1, 81), (R2, 80)]
        .map(|(remote, port)| bed.up(A, udp(H, 5000, remote, port)).to_internet().from())
        .to_vec();
    assert!(seen.iter().all(|external| *external == seen[0]), "{seen:?}");
}

#[test]
fn a_subscriber_is_seen_from_one_address() {
    covers("4787-REQ-2");
    covers("6888-REQ-2");
    let mut bed = Bed::new();
    let mut seen = Vec::new();
    for last in 2..12u8 {
        let host = [10, 0, 0, last].into();
        seen.push(bed.up(A, udp(host, 5000, R1, 80)).to_internet().source);
        seen.push(bed.up(A, tcp(host, 5000, R1, 80, SYN)).to_internet().source);
        seen.push(bed.up(A, echo(host, R1, 8, 5000)).to_internet().source);
    }
    assert!(seen.iter().all(|address| *address == seen[0]), "{seen:?}");
}

#[test]
fn no_port_is_given_twice_and_none_below_1024() {
    covers("4787-REQ-3");
    covers("7857-3");
    covers("4787-REQ-3a");
    covers("6908-2.11-a");
    covers("4787-REQ-11");
    let nat = "port-quota = { new-mappings-per-second = 100000, new-mappings-burst = 100000 }";
    let mut bed = Bed::with("", nat, "");
    let mut seen = std::collections::BTreeSet::new();
    for b4 in [A, B] {
        for port in 0..2048u16 {
            let external = bed.up(b4, udp(H, port + 1, R1, 80)).to_internet().from();
            assert!(external.port() >= 1024);
            assert!(seen.insert(external), "{external} twice");
        }
    }
}

#[test]
fn parity_is_kept_on_request_only() {
    covers("4787-REQ-4, 7857-8");
    let mut bed = Bed::with("", "port-parity-preservation = true", "");
    for port in 5000..5100 {
        assert_eq!(bed.open_udp(A, port).port() % 2, port % 2);
    }
    let mut plain = Bed::new();
    let odd = (5000..5100).filter(|port| plain.open_udp(A, port * 2).port() % 2 == 1).count();
    assert!(odd > 20, "{odd} odd ports for a hundred even ones");
}

#[test]
fn a_udp_mapping_lives_300_s_and_not_much_longer() {
    covers("4787-REQ-5b/c");
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    bed.advance(299);
    assert!(bed.udp_reaches(external));
    bed.advance(7);
    assert!(!bed.udp_reaches(external));
    assert_eq!(bed.dropped(DropReason::NatNoMapping), 1);
}

#[test]
fn a_shorter_timer_is_for_the_chosen_port_only() {
    covers("4787-REQ-5/5a");
    let special = "[[nat.timers.per-port-timeout]]\nport-number = 53\ntimeout = 10";
    let mut bed = Bed::with("", "", special);
    let dns = bed.up(A, udp(H, 5000, R1, 53)).to_internet().from();
    let other = bed.open_udp(A, 5001);
    let both = bed.open_udp(A, 5002);
    bed.up(A, udp(H, 5002, R1, 53)).to_internet();
    bed.advance(12);
    assert!(!bed.udp_reaches(dns));
    assert!(bed.udp_reaches(other) && bed.udp_reaches(both));
}

#[test]
fn packets_from_inside_keep_a_mapping_for_as_long_as_they_come() {
    covers("4787-REQ-6");
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    for _ in 0..12 {
        bed.advance(299);
        assert_eq!(bed.open_udp(A, 5000), external);
    }
}

#[test]
fn packets_from_outside_do_not_unless_asked() {
    covers("4787-REQ-6a");
    for (refreshes, lives) in [("false", false), ("true", true)] {
        let mut bed = Bed::with("", &format!("udp-inbound-refresh = {refreshes}"), "");
        let external = bed.open_udp(A, 5000);
        for _ in 0..5 {
            bed.advance(61);
            bed.udp_reaches(external);
        }
        assert_eq!(bed.udp_reaches(external), lives, "udp-inbound-refresh = {refreshes}");
    }
}

#[test]
fn internal_and_external_numbers_may_overlap() {
    covers("4787-REQ-7");
    let mut bed = Bed::with("internal-prefixes = [\"203.0.113.0/24\"]", "", "");
    let host = [203, 0, 113, 9].into();
    let external = bed.up(A, udp(host, 5000, R1, 80)).to_internet().from();
    let seen = bed.down(udp(R1, 80, *external.ip(), external.port())).to_b4(A);
    assert_eq!(seen.destination, host);
}

#[test]
fn filtering_is_open_by_default_and_can_be_by_address_or_by_port() {
    covers("4787-REQ-8");
    covers("6888-REQ-7");
    covers("M43");
    for (kind, from_r2, from_r1_9) in [
        ("endpoint-independent", true, true),
        ("address-dependent", false, true),
        ("address-and-port-dependent", false, false),
    ] {
        let mut bed = Bed::with("", &format!("filtering-type = \"{kind}\""), "");
        let external = bed.open_udp(A, 5000);
        let mut passes = |remote, port| {
            let verdict = bed.down(udp(remote, port, *external.ip(), external.port())).verdict;
            assert!(verdict == Verdict::ToB4 || verdict == Verdict::Drop(DropReason::NatFilter));
            verdict == Verdict::ToB4
        };
        assert!(passes(R1, 80), "{kind}");
        assert_eq!(passes(R2, 9), from_r2, "{kind}");
        assert_eq!(passes(R1, 9), from_r1_9, "{kind}");
    }
}

#[test]
fn a_filtered_packet_keeps_nothing_alive() {
    covers("7857-7");
    let mut bed = Bed::with("", "filtering-type = \"address-dependent\"", "");
    let external = bed.open_udp(A, 5000);
    for _ in 0..30 {
        bed.advance(10);
        bed.down(udp(R2, 9, *external.ip(), external.port()));
    }
    bed.advance(6);
    assert_eq!(bed.mappings(), 0);
}

#[test]
fn homes_call_each_other_by_their_external_addresses() {
    covers("4787-REQ-9/9a");
    let mut bed = Bed::new();
    let called = bed.open_udp(B, 6000);
    let seen = bed.up(A, udp(H, 5000, *called.ip(), called.port())).to_b4(B);
    assert_eq!((seen.destination, seen.dport), (H, 6000));
    let caller = seen.from();
    let back = bed.up(B, udp(H, 6000, *caller.ip(), caller.port())).to_b4(A);
    assert_eq!((back.from(), back.destination, back.dport), (called, H, 5000));
    // The same B4, and the same host.
    let own = bed.open_udp(A, 5001);
    let seen = bed.up(A, udp([10, 0, 0, 3].into(), 7000, *own.ip(), own.port())).to_b4(A);
    assert_eq!((seen.source, seen.destination, seen.dport), (*own.ip(), H, 5001));
    let seen = bed.up(A, udp(H, 5002, *own.ip(), own.port())).to_b4(A);
    assert_eq!((seen.source, seen.destination, seen.dport), (*own.ip(), H, 5001));
    assert_eq!(bed.aftr.counters().hairpinned.packets, 4);
}

#[test]
fn no_icmp_ends_or_keeps_a_mapping() {
    covers("4787-REQ-12");
    covers("5508-REQ-6");
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    let sent = bed.up(A, udp(H, 5000, R1, 80)).to_internet();
    for kind in [3, 11, 12] {
        for code in 0..16 {
            bed.down(icmp(R2, *external.ip(), kind, code, [0; 4], &sent.bytes)).to_b4(A);
        }
    }
    assert!(bed.udp_reaches(external));
    for _ in 0..10 {
        bed.advance(30);
        bed.down(icmp(R2, *external.ip(), 3, 3, [0; 4], &sent.bytes));
    }
    bed.advance(6);
    assert_eq!(bed.mappings(), 0, "errors kept it alive");
}

#[test]
fn an_icmp_error_may_come_from_any_router() {
    covers("4787-REQ-12a/b");
    let mut bed = Bed::with("", "filtering-type = \"address-and-port-dependent\"", "");
    let sent = bed.up(A, udp(H, 5000, R1, 80)).to_internet();
    let seen = bed.down(icmp([198, 18, 5, 5].into(), sent.source, 3, 1, [0; 4], &sent.bytes)).to_b4(A);
    assert_eq!(seen.source.octets(), [198, 18, 5, 5]);
    // Routers of a core network may have private addresses; nobody else, and no martian.
    for router in [[10, 1, 1, 1], [100, 64, 0, 1], [192, 168, 0, 1], [169, 254, 0, 1]] {
        let seen = bed.down(icmp(router.into(), sent.source, 11, 0, [0; 4], &sent.bytes)).to_b4(A);
        assert_eq!(seen.source.octets(), router);
        bed.down(udp(router.into(), 80, sent.source, port(&sent))).dropped(DropReason::X4Src);
        bed.down(icmp(router.into(), sent.source, 8, 0, [0, 9, 0, 1], &[])).dropped(DropReason::X4Src);
    }
    for martian in [[0, 0, 0, 1], [127, 0, 0, 1], [224, 0, 0, 1], [192, 0, 0, 1]] {
        bed.down(icmp(martian.into(), sent.source, 11, 0, [0; 4], &sent.bytes)).dropped(DropReason::X4Src);
    }
}

/// The external port that a packet left with.
fn port(sent: &Seen) -> u16 {
    u16::from_be_bytes([sent.payload[0], sent.payload[1]])
}

#[test]
fn checksum_0_stays_0_and_a_wrong_one_stays_wrong_by_as_much() {
    covers("UDP-0");
    covers("1624-3");
    covers("M33");
    let mut bed = Bed::new();
    let mut none = udp(H, 5000, R1, 80);
    none.payload[6..8].fill(0);
    let seen = bed.up(A, none).to_internet();
    assert_eq!(seen.payload[6..8], [0, 0]);
    let right = bed.up(A, udp(H, 5000, R1, 80)).to_internet();
    let mut wrong = udp(H, 5000, R1, 80);
    wrong.payload[7] ^= 0x01;
    let outcome = bed.up(A, wrong);
    assert_eq!(outcome.verdict, Verdict::ToInternet);
    let seen = Seen::read_unchecked(&outcome.bytes);
    let word = |seen: &Seen| u16::from_be_bytes([seen.payload[6], seen.payload[7]]);
    assert_eq!(i32::from(word(&seen)).abs_diff(i32::from(word(&right))), 1);
}

#[test]
fn remote_peers_cost_nothing() {
    covers("UDP-STATE");
    let mut bed = Bed::new();
    bed.open_udp(A, 5000);
    for number in 0..10_000u32 {
        bed.up(A, udp(H, 5000, (0x0800_0000 + number).into(), 80)).to_internet();
    }
    let mapping = bed.aftr.mappings(bed.now).next().expect("one");
    assert_eq!((bed.mappings(), mapping.sessions), (1, 0));
}

#[test]
fn protocols_are_mapped_and_filtered_apart() {
    covers("7857-5");
    covers("7857-6");
    let mut bed = Bed::new();
    let tcp_only = bed.up(A, tcp(H, 5000, R1, 80, SYN)).to_internet().from();
    bed.down(udp(R1, 80, *tcp_only.ip(), tcp_only.port())).dropped(DropReason::NatNoMapping);
    bed.open_udp(A, 5000);
    assert_eq!(bed.mappings(), 2);
    let each = "filtering-type = { tcp = \"endpoint-independent\", udp = \"address-dependent\", icmp = \"endpoint-independent\" }";
    let mut bed = Bed::with("", each, "");
    let (open, closed) = (bed.open_tcp(A, 5000), bed.open_udp(A, 5000));
    bed.down(tcp(R2, 9, *open.ip(), open.port(), SYN)).to_b4(A);
    bed.down(udp(R2, 9, *closed.ip(), closed.port())).dropped(DropReason::NatFilter);
}

#[test]
fn an_error_that_answers_a_probe_keeps_nothing_alive() {
    covers("7857-7.1");
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    for _ in 0..5 {
        bed.advance(60);
        let probe = bed.down(udp(R2, 9, *external.ip(), external.port()));
        if probe.verdict == Verdict::ToB4 {
            let received = probe.to_b4(A);
            bed.up(A, icmp(H, R2, 3, 3, [0; 4], &received.bytes));
        }
    }
    bed.advance(1);
    assert_eq!(bed.mappings(), 0);
}

#[test]
fn the_engine_takes_batches_as_it_takes_packets() {
    covers("INV-9");
    let script: Vec<(Vec<u8>, Side)> = (0..200u16)
        .map(|number| {
            (
                encapsulate(
                    [A, B][usize::from(number % 2)],
                    T,
                    0,
                    4,
                    &[],
                    &udp(H, 5000 + number % 40, R1, 80).bytes(),
                ),
                Side::B4,
            )
        })
        .collect();
    let mut one_by_one = Bed::new();
    let expected: Vec<_> = script.iter().map(|(bytes, side)| one_by_one.send(bytes, *side)).collect();
    let mut batched = Bed::new();
    let mut packets: Vec<_> =
        script.iter().map(|(bytes, side)| aftr::wire::Packet::copied_from(bytes, *side)).collect();
    let mut verdicts = vec![Verdict::Hold; packets.len()];
    batched.aftr.process(&mut packets, &mut verdicts, batched.now);
    for ((packet, verdict), expected) in packets.iter().zip(verdicts).zip(expected) {
        assert_eq!((packet.bytes(), verdict), (&expected.bytes[..], expected.verdict));
    }
}

#[test]
fn ipsec_crosses_in_udp() {
    covers("IPSEC-1");
    let mut bed = Bed::new();
    let seen = bed.up(A, udp(H, 4500, R1, 4500)).to_internet();
    assert_eq!(seen.dport, 4500);
    let back = bed.down(udp(R1, 4500, seen.source, seen.sport)).to_b4(A);
    assert_eq!((back.destination, back.dport), (H, 4500));
}
