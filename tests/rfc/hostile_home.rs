//! What a host behind a B4 would send that wishes harm.

use std::net::Ipv4Addr;

use aftr::engine::{DropReason, Verdict};
use aftr::wire::Side;
use pnet_packet::ipv4::Ipv4Packet;

use crate::bed::*;

/// The B4 itself, inside its softwire.
const B4_INSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 2);
const PASS: &str = "[[nat.nat-pass-through]]\nprefix = \"203.0.113.2/32\"";

fn identification(bytes: &[u8]) -> u16 {
    Ipv4Packet::new(bytes).expect("ip").get_identification()
}

#[test]
fn an_error_from_inside_quotes_no_sender_but_the_one_it_goes_to() {
    covers("7335-4-a");
    covers("5508-REQ-5");
    let mut bed = Bed::new();
    bed.open_udp(A, 5000);
    for made_up in [B4_INSIDE, [10, 9, 9, 9].into(), [192, 0, 0, 1].into()] {
        let quoted = udp(made_up, 9, H, 5000).bytes();
        bed.up(A, icmp(H, R1, 3, 3, [0; 4], &quoted)).dropped(DropReason::IcmpQuoted);
    }
}

#[test]
fn an_error_from_inside_quotes_no_recorded_route() {
    covers("7126-opt");
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    bed.down(udp(R1, 80, *external.ip(), external.port())).to_b4(A);
    let quoted = udp(R1, 80, H, 5000).with_options(&[7, 7, 8, 192, 0, 0, 2, 0]).bytes();
    bed.up(A, icmp(H, R1, 3, 3, [0; 4], &quoted)).dropped(DropReason::IcmpQuoted);
}

#[test]
fn the_b4s_own_address_is_translated_where_others_pass_through() {
    covers("7335-4-a");
    let mut bed = Bed::with("", "", PASS);
    let outcome = bed.up(A, udp(B4_INSIDE, 5000, R2, 443));
    if outcome.verdict == Verdict::ToInternet {
        assert_ne!(outcome.to_internet().source, B4_INSIDE);
    }
}

#[test]
fn an_error_from_inside_that_must_not_be_cut_is_not_cut() {
    covers("6864-4.3");
    covers("4787-REQ-13, 5508-7.1.1");
    let mut bed = Bed::new();
    bed.open_udp(A, 5000);
    let quoted = udp(R1, 80, H, 5000).with_data(1600).bytes();
    let outcome = bed.up(A, icmp(H, R1, 3, 3, [0; 4], &quoted));
    assert_ne!(outcome.verdict, Verdict::ToInternet, "DF is set and 1500 octets are the most");
    assert!(bed.pieces().is_empty());
}

#[test]
fn errors_from_two_homes_have_identifications_of_their_own() {
    covers("6864-5.3.1");
    let mut bed = Bed::with("", "", ONE_ADDRESS);
    let ids: Vec<u16> = [A, B]
        .into_iter()
        .map(|b4| {
            bed.open_udp(b4, 5000);
            let quoted = udp(R1, 80, H, 5000).bytes();
            identification(&bed.up(b4, icmp(H, R1, 3, 3, [0; 4], &quoted).loose(7)).to_internet().bytes)
        })
        .collect();
    assert_ne!(ids[0], ids[1], "one source, one destination, one protocol, no DF");
}

#[test]
fn an_error_about_an_untranslated_packet_from_outside_reaches_its_sender() {
    covers("6888-REQ-6");
    let mut bed = Bed::with("", "", PASS);
    bed.up(A, udp(H, 5000, R2, 443)).to_internet();
    let answer = udp(R2, 443, H, 5000).bytes();
    let told = bed.up(A, icmp([10, 0, 0, 1].into(), R2, 3, 3, [0; 4], &answer)).to_internet();
    assert_eq!((told.source, told.destination), (H, R2), "no other inner address is shown");
    assert_eq!(told.payload[8..], answer);
    bed.up(B, icmp(H, R2, 3, 3, [0; 4], &answer)).dropped(DropReason::NatNoMapping);
}

#[test]
fn an_error_about_a_flow_that_no_rule_leaves_untranslated_any_more_does_not_leave() {
    covers("6888-REQ-6");
    covers("INV-3");
    let limit = "[nat.mapping-limits]\nlimit-pass-through-sessions = 16";
    let mut bed = Bed::with("", "", &format!("{PASS}\n{limit}"));
    bed.up(A, udp(H, 5000, R2, 443)).to_internet();
    let quoted = udp(R2, 443, H, 5000);
    bed.down(quoted.clone()).to_b4(A);
    bed.reconfigure(&config("", "", limit)).expect("rules change without a restart");
    bed.up(A, icmp(H, R2, 3, 3, [0; 4], &quoted.bytes())).dropped(DropReason::NatNoMapping);
}

#[test]
fn one_home_does_not_use_up_the_untranslated_sessions() {
    covers("6888-REQ-5/5a/5b");
    covers("INV-8");
    let mut bed =
        Bed::with("", "", &format!("{PASS}\n[nat.mapping-limits]\nlimit-pass-through-sessions = 16384"));
    for port in 0..16_384 {
        bed.up(A, udp(H, 1024 + port, R2, 443));
    }
    assert_eq!(bed.up(B, udp(H, 80, R2, 443)).verdict, Verdict::ToInternet);
}

#[test]
fn one_home_with_many_addresses_does_not_silence_icmpv6_errors_for_others() {
    covers("4443-2.4-e/f");
    covers("7785-4.2-a");
    let mut bed = Bed::new();
    let other = |b4: &str| encapsulate(b4, T, 0, 41, &[], &[0; 40]);
    for host in 1..=20 {
        for _ in 0..10 {
            bed.send(&other(&format!("2001:db8:0:a00::{host:x}")), Side::B4);
        }
    }
    let outcome = bed.send(&other(B), Side::B4);
    assert_eq!(outcome.verdict, Verdict::Reject(DropReason::V6NextHeader));
}

#[test]
fn one_home_has_one_share_of_echo_answers() {
    covers("7785-4.2-a");
    let mut bed = Bed::new();
    let answers = (1..=100)
        .map(|host| bed.up(&format!("2001:db8:0:a00::{host:x}"), echo(H, [192, 0, 0, 1].into(), 8, 9)))
        .filter(|outcome| outcome.verdict == Verdict::Reply)
        .count();
    assert!(answers <= 10, "{answers}");
}

#[test]
fn a_strict_identification_is_never_used_twice_in_120_s() {
    covers("6864-rate");
    let mut bed = Bed::with("", "ipid-strict = true", "");
    bed.advance(200);
    let mut seen = vec![false; 1 << 16];
    for _ in 0..70_000 {
        let outcome = bed.up(A, udp(H, 5000, R1, 80).loose(7));
        if outcome.verdict == Verdict::ToInternet {
            let id = usize::from(identification(&outcome.bytes));
            assert!(!std::mem::replace(&mut seen[id], true), "{id} left twice at the same moment");
        }
    }
}

#[test]
fn a_denied_remote_side_is_sent_no_errors_either() {
    covers("6908-2.5.1-a");
    let mut bed = Bed::with("", "", "[[policy.deny-from-b4]]\nprefix = \"203.0.113.2/32\"");
    bed.open_udp(A, 5000);
    let quoted = udp(R2, 80, H, 5000).bytes();
    let outcome = bed.up(A, icmp(H, R2, 3, 3, [0; 4], &quoted));
    assert_eq!(outcome.verdict.drop_reason(), Some(DropReason::Policy));
}

#[test]
fn a_quota_is_looked_at_before_the_mtu_of_the_internet() {
    covers("ORD-1");
    let mut bed = Bed::with("", "port-quota = { udp = 1 }", "");
    bed.open_udp(A, 5000);
    let large = udp(H, 5001, R1, 80).with_data(1600);
    assert_eq!(bed.up(A, large).verdict.drop_reason(), Some(DropReason::NatQuota));
}

#[test]
fn a_quota_of_untranslated_sessions_is_looked_at_before_the_mtu_of_the_internet() {
    covers("ORD-1");
    let limit = format!("{PASS}\n[nat.session-limits]\nlimit-per-subscriber = 16");
    let mut bed = Bed::with("", "", &limit);
    for port in 0..16 {
        bed.up(A, udp(H, 5000 + port, R2, 80)).to_internet();
    }
    bed.up(A, udp(H, 6000, R2, 80).with_data(1473)).rejected(A, DropReason::NatQuota, 3, 1);
    bed.up(A, udp(H, 5000, R2, 80).with_data(1473)).rejected(A, DropReason::InMtu, 3, 4);
}

/// RFC 5382 REQ-4 for the Internet does not depend on what one home does.
#[test]
fn one_home_does_not_fill_the_held_syns_of_all() {
    covers("6888-REQ-5/5a/5b");
    let mut bed = Bed::with("", "syn-held-max = 1024", "");
    for port in 0..1024 {
        bed.up(A, tcp(H, 1024 + port, [192, 0, 2, 2].into(), 81, SYN));
    }
    assert_eq!(bed.down(tcp(R1, 9, [192, 0, 2, 1].into(), 80, SYN)).verdict, Verdict::Hold);
}
