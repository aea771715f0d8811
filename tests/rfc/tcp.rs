//! Section 7: TCP. RFC 5382, RFC 7857 section 2, RFC 6146 section 3.5.2.

use std::net::SocketAddrV4;

use aftr::engine::{DropReason, Verdict};
use aftr::wire::Side;

use crate::bed::*;

fn up(bed: &mut Bed, flags: u8) -> Outcome {
    bed.up(A, tcp(H, 5000, R1, 80, flags))
}

fn down(bed: &mut Bed, external: SocketAddrV4, flags: u8) -> Outcome {
    bed.down(tcp(R1, 80, *external.ip(), external.port(), flags))
}

/// Whether the mapping of A's port 5000 lives.
fn lives(bed: &Bed) -> bool {
    bed.mappings() > 0
}

#[test]
fn every_valid_sequence_passes_simultaneous_open_too() {
    covers("5382-REQ-2/2a");
    let mut bed = Bed::new();
    let external = up(&mut bed, SYN).to_internet().from();
    down(&mut bed, external, SYN).to_b4(A);
    up(&mut bed, SYN | ACK).to_internet();
    down(&mut bed, external, SYN | ACK).to_b4(A);
    up(&mut bed, ACK).to_internet();
    bed.advance(7000);
    down(&mut bed, external, ACK).to_b4(A);
}

#[test]
fn tcp_filtering_is_open_by_default_and_configurable() {
    covers("5382-REQ-3/3a/3b");
    for (kind, enters) in [("endpoint-independent", true), ("address-dependent", false)] {
        let mut bed = Bed::with("", &format!("filtering-type = \"{kind}\""), "");
        let external = bed.open_tcp(A, 5000);
        let verdict = bed.down(tcp(R2, 9, *external.ip(), external.port(), SYN)).verdict;
        assert_eq!(verdict == Verdict::ToB4, enters, "{kind}");
        let same_host = bed.down(tcp(R1, 9, *external.ip(), external.port(), SYN)).verdict;
        assert_eq!(same_host, Verdict::ToB4, "{kind}");
    }
}

#[test]
fn an_unsolicited_syn_meets_six_seconds_of_silence() {
    covers("5382-REQ-4");
    let mut bed = Bed::new();
    let attacked = [192, 0, 2, 5].into();
    let syn = tcp(R1, 80, attacked, 7777, SYN);
    assert_eq!(bed.down(syn.clone()).verdict, Verdict::Hold);
    bed.advance(3);
    assert_eq!(bed.down(syn.clone()).verdict, Verdict::Hold, "a copy starts the silence again");
    assert!(bed.advance_millis(5_999).is_empty());
    let sent = bed.advance_millis(1_001);
    assert_eq!((sent.len(), sent[0].1), (1, Side::Internet));
    let error = Seen::read(&sent[0].0);
    assert_eq!((error.source, error.destination, error.payload[0], error.payload[1]), (attacked, R1, 3, 3));
    assert_eq!(error.quoted(), syn.bytes());
    bed.assert_no_state();
}

#[test]
fn a_syn_from_inside_that_meets_it_ends_the_silence_without_an_error() {
    covers("5382-REQ-4");
    let mut bed = Bed::with("", "filtering-type = \"address-and-port-dependent\"", "");
    let external = bed.up(A, tcp(H, 5000, R2, 443, SYN)).to_internet().from();
    assert_eq!(down(&mut bed, external, SYN).verdict, Verdict::Hold);
    bed.advance(3);
    assert_eq!(up(&mut bed, SYN).to_internet().from(), external);
    assert!(bed.advance(20).is_empty());
}

#[test]
fn without_syn_reject_it_is_dropped_in_silence() {
    covers("5382-REQ-4a");
    let mut bed = Bed::with("", "syn-reject = false", "");
    bed.down(tcp(R1, 80, [192, 0, 2, 5].into(), 7777, SYN)).dropped(DropReason::NatNoMapping);
    assert!(bed.advance(20).is_empty());
}

#[test]
fn held_syns_are_bounded() {
    covers("M51");
    let mut bed = Bed::with("", "syn-held-max = 100", "");
    let external = bed.open_udp(A, 5000);
    for port in 1..=1000 {
        bed.down(tcp(R1, port, [192, 0, 2, 5].into(), 7777, SYN));
    }
    assert_eq!((bed.aftr.counters().held, bed.dropped(DropReason::NatNoMapping)), (100, 900));
    assert!(bed.udp_reaches(external), "what is mapped is not harmed");
    assert!(bed.advance(10).len() <= 100);
}

#[test]
fn an_established_session_lives_7440_s_idle() {
    covers("5382-REQ-5/5a");
    covers("5382-5-probe");
    let mut bed = Bed::new();
    let external = bed.open_tcp(A, 5000);
    bed.advance(7439);
    down(&mut bed, external, ACK).to_b4(A);
    bed.advance(7439);
    up(&mut bed, ACK).to_internet();
    bed.advance(7600);
    down(&mut bed, external, ACK).dropped(DropReason::NatNoMapping);
}

#[test]
fn a_closing_session_lives_240_s() {
    covers("5382-REQ-5/5a");
    let mut bed = Bed::new();
    let external = bed.open_tcp(A, 5000);
    up(&mut bed, FIN | ACK).to_internet();
    down(&mut bed, external, FIN | ACK).to_b4(A);
    bed.advance(200);
    down(&mut bed, external, ACK).to_b4(A);
    bed.advance(35);
    assert!(lives(&bed));
    bed.advance(8);
    assert!(!lives(&bed), "packets do not restart the closing timer");
}

#[test]
fn open_and_close_have_timers_of_their_own() {
    covers("7857-2.1");
    let timers = "[nat.timers]\ntcp-trans-open-timeout = 30";
    let mut bed = Bed::with("", "", timers);
    up(&mut bed, SYN).to_internet();
    bed.advance(29);
    assert!(lives(&bed));
    bed.advance(2);
    assert!(!lives(&bed));
    let external = bed.open_tcp(A, 5000);
    up(&mut bed, FIN | ACK).to_internet();
    down(&mut bed, external, FIN | ACK).to_b4(A);
    bed.advance(239);
    assert!(lives(&bed));
}

#[test]
fn a_half_open_session_is_not_kept_by_anything_but_a_syn() {
    covers("7857-2");
    let mut bed = Bed::new();
    let external = up(&mut bed, SYN).to_internet().from();
    bed.advance(200);
    down(&mut bed, external, ACK).to_b4(A);
    up(&mut bed, ACK).to_internet();
    bed.advance(41);
    assert!(!lives(&bed));
}

#[test]
fn after_one_fin_the_session_is_as_long_lived_as_before() {
    covers("7857-2");
    let mut bed = Bed::new();
    let external = bed.open_tcp(A, 5000);
    down(&mut bed, external, FIN | ACK).to_b4(A);
    bed.advance(7400);
    up(&mut bed, ACK).to_internet();
    bed.advance(7400);
    assert!(lives(&bed));
    bed.advance(200);
    assert!(!lives(&bed));
}

#[test]
fn a_reset_leaves_240_s_and_data_revives() {
    covers("7857-2.2");
    let mut bed = Bed::new();
    let external = bed.open_tcp(A, 5000);
    down(&mut bed, external, RST).to_b4(A);
    bed.advance(200);
    up(&mut bed, ACK).to_internet();
    bed.advance(7000);
    assert!(lives(&bed), "established again");
    up(&mut bed, RST).to_internet();
    bed.advance(245);
    assert!(!lives(&bed));
}

#[test]
fn a_reset_from_a_third_party_is_translated_and_changes_nothing() {
    covers("7857-2.2");
    covers("TCP-BLIND");
    let mut bed = Bed::new();
    let external = bed.open_tcp(A, 5000);
    bed.down(tcp(R2, 80, *external.ip(), external.port(), RST)).to_b4(A);
    bed.advance(1000);
    assert!(lives(&bed));
}

#[test]
fn what_belongs_to_nothing_is_dropped() {
    covers("5382-5-mid");
    covers("M35");
    let mut bed = Bed::new();
    up(&mut bed, ACK).dropped(DropReason::TcpNoSession);
    bed.assert_no_state();
    bed.down(tcp(R1, 80, [192, 0, 2, 5].into(), 7777, ACK)).dropped(DropReason::NatNoMapping);
    let mut tells = Bed::with("", "tcp-mid-session = \"rst\"", "");
    let reset = up(&mut tells, ACK);
    assert_eq!(reset.verdict, Verdict::Reject(DropReason::TcpNoSession));
    let seen = reset.inside(A);
    assert_eq!((seen.source, seen.sport, seen.payload[13]), (R1, 80, RST));
    assert_eq!(
        up(&mut tells, RST).verdict,
        Verdict::Drop(DropReason::TcpNoSession),
        "a reset is not answered"
    );
}

#[test]
fn with_a_mapping_it_is_forwarded_and_makes_no_session() {
    covers("5382-5-mid");
    let mut bed = Bed::new();
    let external = bed.open_tcp(A, 5000);
    bed.up(A, tcp(H, 5000, R2, 80, ACK)).to_internet();
    bed.down(tcp(R2, 80, *external.ip(), external.port(), ACK)).to_b4(A);
    assert_eq!(bed.aftr.mappings(bed.now).next().expect("one").sessions, 1);
}

#[test]
fn tcp_maps_as_udp_does_and_hairpins() {
    covers("5382-REQ-1/6/7");
    covers("5382-REQ-8/8a");
    let mut bed = Bed::new();
    let one = bed.up(A, tcp(H, 5000, R1, 80, SYN)).to_internet().from();
    assert_eq!(bed.up(A, tcp(H, 5000, R2, 443, SYN)).to_internet().from(), one);
    let called = bed.open_tcp(B, 6000);
    let syn = bed.up(A, tcp(H, 5000, *called.ip(), called.port(), SYN)).to_b4(B);
    assert_eq!(syn.from(), one, "the caller's external address and port");
    let answer = bed.up(B, tcp(H, 6000, *one.ip(), one.port(), SYN | ACK)).to_b4(A);
    assert_eq!((answer.from(), answer.destination, answer.dport), (called, H, 5000));
    bed.up(A, tcp(H, 5000, *called.ip(), called.port(), ACK)).to_b4(B);
    bed.advance(7000);
    bed.up(A, tcp(H, 5000, *called.ip(), called.port(), ACK)).to_b4(B);
}

#[test]
fn a_call_to_a_port_of_nobody_is_held_and_then_refused_inside_the_softwire() {
    covers("M22");
    let mut bed = Bed::of_one_worker("", "", "");
    bed.up(A, udp(H, 5000, [192, 0, 2, 5].into(), 7777)).dropped(DropReason::NatNoMapping);
    assert_eq!(bed.up(A, tcp(H, 5000, [192, 0, 2, 5].into(), 7777, SYN)).verdict, Verdict::Hold);
    bed.assert_no_state();
    let sent = bed.advance(7);
    assert_eq!((sent.len(), sent[0].1), (1, Side::B4));
    let error = Outcome { verdict: Verdict::ToB4, bytes: sent[0].0.clone() }.to_b4(A);
    assert_eq!((error.destination, error.payload[0], error.payload[1]), (H, 3, 3));
}

#[test]
fn no_icmp_ends_a_session() {
    covers("5382-REQ-9/10");
    let mut bed = Bed::new();
    let external = bed.open_tcp(A, 5000);
    let sent = up(&mut bed, ACK).to_internet();
    let seen = bed.down(icmp(R1, *external.ip(), 3, 3, [0; 4], &sent.bytes)).to_b4(A);
    assert_eq!(Seen::read_unchecked(seen.quoted()).from(), SocketAddrV4::new(H, 5000));
    down(&mut bed, external, ACK).to_b4(A);
}

#[test]
fn a_mapping_is_born_from_a_syn_only() {
    covers("TCP-OPEN");
    for flags in 0..64u8 {
        let mut bed = Bed::new();
        let outcome = up(&mut bed, flags);
        let opens = flags & SYN != 0 && flags & (ACK | FIN | RST) == 0;
        assert_eq!(bed.mappings(), usize::from(opens), "flags {flags:#x}: {:?}", outcome.verdict);
    }
    let mut bed = Bed::new();
    let mut syn = tcp(H, 5000, R1, 80, SYN);
    syn.payload.extend(b"data in the SYN");
    bed.up(A, syn.with_transport_checksum()).to_internet();
}

#[test]
fn impossible_flags_are_dropped_even_in_a_session() {
    covers("M34");
    let mut bed = Bed::new();
    let external = bed.open_tcp(A, 5000);
    for flags in [0, SYN | FIN, SYN | RST, FIN | RST, FIN, 8, 32, FIN | 8 | 32] {
        up(&mut bed, flags).dropped(DropReason::TcpFlags);
        down(&mut bed, external, flags).dropped(DropReason::TcpFlags);
    }
}

#[test]
fn a_tuple_used_again_does_not_die_with_the_old_timer() {
    covers("TCP-REUSE");
    let mut bed = Bed::new();
    let external = bed.open_tcp(A, 5000);
    up(&mut bed, FIN | ACK).to_internet();
    down(&mut bed, external, FIN | ACK).to_b4(A);
    bed.advance(5);
    assert_eq!(bed.open_tcp(A, 5000), external, "the same mapping");
    bed.advance(300);
    assert!(lives(&bed));
}

#[test]
fn a_flood_of_syns_from_the_internet_uses_up_nothing_of_the_subscriber() {
    covers("TCP-INFLOOD");
    let mut bed = Bed::new();
    let external = bed.open_tcp(A, 5000);
    for number in 0..10_000u32 {
        let caller = (0x0800_0000 + number).into();
        bed.down(tcp(caller, 80, *external.ip(), external.port(), SYN));
    }
    assert_eq!(bed.dropped(DropReason::TcpInFlood), 10_000 - 256);
    bed.up(A, tcp(H, 6000, R1, 80, SYN)).to_internet();
    up(&mut bed, ACK).to_internet();
    bed.advance(241);
    bed.down(tcp(R2, 80, *external.ip(), external.port(), SYN)).to_b4(A);
}
