//! Section 12: identification and options of the IPv4 header.

use aftr::engine::DropReason;

use crate::bed::*;

#[test]
fn what_may_be_cut_gets_an_identification_of_its_own_and_nothing_else_does() {
    covers("6864-5.3.1");
    covers("6864-atomic");
    covers("7857-9/10");
    let mut bed = Bed::with("", "", ONE_ADDRESS);
    let id = |seen: Seen| u16::from_be_bytes([seen.bytes[4], seen.bytes[5]]);
    // Two homes that share an address send the same one to one destination.
    let one = bed.up(A, udp(H, 5000, R1, 80).loose(7)).to_internet();
    let two = bed.up(B, udp(H, 5000, R1, 80).loose(7)).to_internet();
    let again = bed.up(A, udp(H, 5000, R1, 80).loose(7)).to_internet();
    let ids = [id(one), id(two), id(again)];
    assert!(ids[0] != ids[1] && ids[0] != ids[2], "{ids:?}");
    // DF alone: it means nothing, and stays; inbound it stays too.
    let mut atomic = udp(H, 5000, R1, 80);
    atomic.identification = 77;
    let seen = bed.up(A, atomic).to_internet();
    let back = udp(R1, 80, seen.source, seen.sport).loose(99);
    assert_eq!(id(seen), 77);
    assert_eq!(id(bed.down(back).to_b4(A)), 99);
}

#[test]
fn errors_that_hosts_send_get_an_identification_of_their_own_too() {
    covers("6864-5.3.1");
    let mut bed = Bed::new();
    let mut ids = Vec::new();
    for b4 in [A, B] {
        let sent = bed.up(b4, udp(H, 5000, R1, 80)).to_internet();
        let got = bed.down(udp(R1, 80, sent.source, sent.sport)).to_b4(b4);
        // As Linux sends it: without DF. Two homes, one remote host, one identification.
        for _ in 0..2 {
            let left = bed.up(b4, icmp(H, R1, 3, 3, [0; 4], &got.bytes).loose(7)).to_internet();
            ids.push((left.source, u16::from_be_bytes([left.bytes[4], left.bytes[5]])));
        }
        let left = bed.up(b4, icmp(H, R1, 3, 3, [0; 4], &got.bytes)).to_internet();
        assert_eq!(left.bytes[4..8], [0, 0, 0x40, 0], "with DF it stays");
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "{ids:?}");
}

#[test]
fn too_many_in_two_minutes_are_counted_and_dropped_where_asked() {
    covers("6864-rate");
    for (strict, lost) in [(false, false), (true, true)] {
        let mut bed = Bed::with("", &format!("ipid-strict = {strict}"), "");
        let mut dropped = 0;
        for millis in 0..70_000u64 {
            bed.now = aftr::engine::Instant::from_millis(100_000_000 + millis);
            let outcome = bed.up(A, udp(H, 5000, R1, 80).loose(7));
            dropped += u64::from(outcome.verdict == aftr::engine::Verdict::Drop(DropReason::NatIpId));
        }
        assert!(bed.aftr.counters().identification_wraps > 4000);
        assert_eq!(dropped > 4000, lost);
    }
}

#[test]
fn options_that_record_or_route_go_no_further() {
    covers("7126-opt");
    covers("M26");
    covers("M44");
    let mut bed = Bed::new();
    let external = bed.open_udp(B, 5000);
    for kind in 0..=255u8 {
        let options = match kind {
            0 | 1 => [kind, 0, 0, 0],
            _ => [kind, 4, 0, 0],
        };
        let is_forbidden =
            [7, 68, 131, 137, 10, 11, 12, 15, 82, 136, 142, 145, 147, 149, 151, 152].contains(&kind);
        let up = bed.up(A, udp(H, 5000, R1, 80).with_options(&options));
        let down = bed.down(udp(R1, 80, *external.ip(), external.port()).with_options(&options));
        if is_forbidden {
            up.dropped(DropReason::InOpt);
            down.dropped(DropReason::X4Opt);
        } else {
            assert_eq!(up.to_internet().bytes[20..24], options, "{kind}");
            assert_eq!(down.to_b4(B).bytes[20..24], options, "{kind}");
        }
    }
    for wrong in [[130, 0, 0, 0], [130, 1, 0, 0], [130, 5, 0, 0], [1, 1, 1, 130]] {
        bed.up(A, udp(H, 5000, R1, 80).with_options(&wrong)).dropped(DropReason::InOpt);
    }
    // Behind the end of the list there is nothing.
    bed.up(A, udp(H, 5000, R1, 80).with_options(&[0, 131, 0, 7])).to_internet();
}

#[test]
fn unknown_options_are_dropped_where_asked() {
    covers("7126-opt");
    let mut bed = Bed::with("", "unknown-ip-options = \"drop\"", "");
    bed.up(A, udp(H, 5000, R1, 80).with_options(&[30, 4, 0, 0])).dropped(DropReason::InOpt);
    bed.up(A, udp(H, 5000, R1, 80).with_options(&[148, 4, 0, 0])).to_internet();
    bed.up(A, udp(H, 5000, R1, 80).with_options(&[1, 1, 1, 0])).to_internet();
}

#[test]
fn a_dropped_option_leaves_nothing_behind() {
    covers("ORD-4");
    let mut bed = Bed::new();
    bed.up(A, udp(H, 5000, R1, 80).with_options(&[131, 4, 0, 0])).dropped(DropReason::InOpt);
    bed.assert_no_state();
}

#[test]
fn no_error_leaves_that_quotes_a_source_route() {
    covers("5508-7.3");
    let mut bed = Bed::new();
    let sent = bed.up(A, udp(H, 5000, R1, 80)).to_internet();
    let back = bed.down(udp(R1, 80, sent.source, sent.sport)).to_b4(A);
    let mut quoted = udp(R1, 80, back.destination, back.dport);
    bed.up(A, icmp(H, R1, 3, 3, [0; 4], &quoted.bytes())).to_internet();
    quoted.options = vec![131, 4, 0, 0];
    bed.up(A, icmp(H, R1, 3, 3, [0; 4], &quoted.bytes())).dropped(DropReason::IcmpQuoted);
}
