//! Section 8: ICMP. RFC 5508, RFC 1812 section 4.3.

use std::net::{Ipv4Addr, SocketAddrV4};

use aftr::engine::{DropReason, Verdict};

use crate::bed::*;

#[test]
fn queries_pass_with_their_replies_and_keep_one_identifier() {
    covers("5508-REQ-1/1a");
    covers("5508-REQ-10a/b");
    let mut bed = Bed::new();
    for (request, reply) in [(8, 0), (13, 14)] {
        let one = bed.up(A, echo(H, R1, request, 600)).to_internet();
        let two = bed.up(A, echo(H, R2, request, 600)).to_internet();
        assert_eq!((one.source, one.sport), (two.source, two.sport));
        let seen = bed.down(echo(R1, one.source, reply, one.sport)).to_b4(A);
        assert_eq!((seen.destination, seen.sport), (H, 600));
    }
}

#[test]
fn a_query_is_answered_for_60_s() {
    covers("5508-REQ-2/2a");
    covers("7857-11");
    let mut bed = Bed::new();
    let seen = bed.up(A, echo(H, R1, 8, 600)).to_internet();
    bed.advance(59);
    bed.down(echo(R1, seen.source, 0, seen.sport)).to_b4(A);
    bed.advance(3);
    bed.down(echo(R1, seen.source, 0, seen.sport)).dropped(DropReason::NatNoMapping);
    assert_eq!(bed.mappings(), 0);
}

#[test]
fn identifiers_come_from_the_subscribers_port_sets() {
    covers("ICMP-ID");
    let mut bed = Bed::new();
    let seen = bed.up(A, echo(H, R1, 8, 1)).to_internet();
    let sets = bed.aftr.subscribers().next().expect("A").port_sets;
    assert!(
        sets.iter().any(|(first, last)| (*first..=*last).contains(&seen.sport)),
        "{} {sets:?}",
        seen.sport
    );
}

#[test]
fn a_request_from_outside_reaches_nobody() {
    covers("ICMP-IN");
    let mut bed = Bed::new();
    let seen = bed.up(A, echo(H, R1, 8, 600)).to_internet();
    bed.down(echo(R2, seen.source, 8, seen.sport)).dropped(DropReason::NatNoMapping);
    bed.down(echo(R2, seen.source, 0, seen.sport)).to_b4(A);
    let mut answers = Bed::with("", "pool-echo = true", "");
    let reply = answers.down(echo(R2, [192, 0, 2, 3].into(), 8, 5));
    assert_eq!(reply.verdict, Verdict::Reply);
    let seen = Seen::read(&reply.bytes);
    assert_eq!((seen.source, seen.destination, seen.payload[0]), ([192, 0, 2, 3].into(), R2, 0));
}

#[test]
fn an_error_with_a_wrong_checksum_is_dropped() {
    covers("5508-REQ-3/3a");
    covers("M38");
    let mut bed = Bed::new();
    let sent = bed.up(A, udp(H, 5000, R1, 80)).to_internet();
    let mut wrong = icmp(R1, sent.source, 3, 3, [0; 4], &sent.bytes);
    wrong.payload[2] ^= 1;
    bed.down(wrong).dropped(DropReason::IcmpChecksum);
    let mut quoted = sent.bytes.clone();
    quoted[10] ^= 1;
    bed.down(icmp(R1, sent.source, 3, 3, [0; 4], &quoted)).dropped(DropReason::IcmpQuoted);
    bed.down(icmp(R1, sent.source, 3, 3, [0; 4], &sent.bytes[..27])).dropped(DropReason::IcmpQuoted);
    let about_error = icmp(sent.source, R1, 3, 3, [0; 4], &sent.bytes).bytes();
    bed.down(icmp(R1, sent.source, 3, 3, [0; 4], &about_error)).dropped(DropReason::IcmpQuoted);
}

#[test]
fn quoted_options_are_skipped_and_the_quoted_transport_checksum_is_not_looked_at() {
    covers("5508-REQ-3b");
    covers("5508-REQ-3c");
    let mut bed = Bed::new();
    let sent = bed.up(A, udp(H, 5000, R1, 80)).to_internet();
    let mut quoted = sent.bytes.clone();
    quoted.splice(20..20, [1, 1, 1, 1, 1, 1, 1, 0]);
    quoted[0] = 0x47;
    quoted[10..12].fill(0);
    let sum = pnet_packet::util::checksum(&quoted[..28], 5);
    quoted[10..12].copy_from_slice(&sum.to_be_bytes());
    quoted[34] ^= 0x55;
    let seen = bed.down(icmp(R1, sent.source, 3, 3, [0; 4], &quoted)).to_b4(A);
    assert_eq!(seen.quoted()[12..16], H.octets());
    assert_eq!(seen.quoted()[28..30], 5000u16.to_be_bytes());
}

#[test]
fn what_rfc_4884_appends_is_carried_along() {
    covers("5508-REQ-3d");
    let mut bed = Bed::new();
    let sent = bed.up(A, udp(H, 5000, R1, 80)).to_internet();
    let mut body = sent.bytes.clone();
    body.resize(128, 0);
    let extension = [0x20, 0, 0, 0, 0, 8, 1, 1, 0x12, 0x34, 0x51, 0x40];
    body.extend(extension);
    let seen = bed.down(icmp(R2, sent.source, 11, 0, [0, 32, 0, 0], &body)).to_b4(A);
    assert_eq!(seen.quoted()[12..16], H.octets());
    assert!(seen.bytes.ends_with(&extension));
    assert_eq!(seen.payload[5], 32);
}

#[test]
fn an_error_from_the_internet_shows_the_host_its_own_packet() {
    covers("5508-REQ-4");
    covers("5508-7.1.2-a");
    let mut bed = Bed::new();
    let flows = [udp(H, 5000, R1, 80), tcp(H, 5000, R1, 80, SYN), echo(H, R1, 8, 5000)];
    for flow in flows {
        let sent = bed.up(A, flow.clone()).to_internet();
        for length in [28, sent.bytes.len()] {
            let quoted = &sent.bytes[..length];
            let seen = bed.down(icmp(R2, sent.source, 3, 4, [0, 0, 5, 120], quoted)).to_b4(A);
            assert_eq!((seen.source, seen.destination), (R2, H));
            assert_eq!((seen.payload[0], seen.payload[1], &seen.payload[4..8]), (3, 4, &[0, 0, 5, 120][..]));
            assert_eq!(seen.quoted()[12..20], [H.octets(), R1.octets()].concat());
            // But for the TTL, which the AFTR lowered, the host sees what it sent.
            let own = flow.clone().ttl(63).bytes();
            assert_eq!(seen.quoted(), &own[..length], "{flow:?}");
        }
    }
    bed.down(icmp(R2, [192, 0, 2, 9].into(), 3, 3, [0; 4], &udp([192, 0, 2, 9].into(), 9, R1, 80).bytes()))
        .dropped(DropReason::NatNoMapping);
}

#[test]
fn an_error_from_inside_leaves_as_the_mappings_address_whoever_sent_it() {
    covers("5508-REQ-5");
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    let received = bed.down(udp(R1, 80, *external.ip(), external.port())).to_b4(A);
    for sender in [H, [192, 0, 0, 2].into(), [10, 9, 9, 9].into()] {
        let seen = bed.up(A, icmp(sender, R1, 3, 3, [0; 4], &received.bytes)).to_internet();
        assert_eq!((seen.source, seen.destination), (*external.ip(), R1));
        let quoted = Seen::read_unchecked(seen.quoted());
        assert_eq!((quoted.destination, quoted.dport), (*external.ip(), external.port()));
    }
    bed.up(B, icmp(H, R1, 3, 3, [0; 4], &received.bytes)).dropped(DropReason::NatNoMapping);
}

#[test]
fn an_error_about_a_hairpinned_packet_is_translated_on_both_sides() {
    covers("5508-REQ-7/7a");
    covers("7857-12");
    let mut bed = Bed::new();
    let called = bed.open_udp(B, 6000);
    let received = bed.up(A, udp(H, 5000, *called.ip(), called.port())).to_b4(B);
    let caller = received.from();
    let seen = bed.up(B, icmp(H, *caller.ip(), 3, 3, [0; 4], &received.bytes)).to_b4(A);
    assert_eq!((seen.source, seen.destination), (*called.ip(), H));
    let quoted = Seen::read_unchecked(seen.quoted());
    assert_eq!(quoted.from(), SocketAddrV4::new(H, 5000));
    assert_eq!((quoted.destination, quoted.dport), (*called.ip(), called.port()));
}

#[test]
fn errors_of_our_own_can_be_muted() {
    covers("5508-REQ-9");
    let mut bed = Bed::with("", "", "[icmp]\nenable = false");
    bed.up(A, udp(H, 5000, R1, 80).ttl(1)).dropped(DropReason::InTtl);
}

#[test]
fn types_that_have_no_place_behind_a_nat_are_dropped() {
    covers("5508-REQ-10c");
    covers("5508-REQ-11");
    covers("M39");
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    for kind in [4, 5, 9, 10, 15, 16, 17, 18, 40] {
        bed.up(A, icmp(H, R1, kind, 0, [0; 4], &[0; 28])).dropped(DropReason::IcmpType);
        bed.down(icmp(R1, *external.ip(), kind, 0, [0; 4], &[0; 28])).dropped(DropReason::IcmpType);
    }
}

#[test]
fn an_error_of_our_own_quotes_what_fits_in_576_bytes_in_the_class_of_its_cause() {
    covers("1812-4.3.2.3");
    covers("5508-7.7");
    let mut bed = Bed::new();
    let mut large = udp(H, 5000, R1, 80).tos(46 << 2).ttl(1);
    large.payload.resize(1400, 7);
    large.payload[4..6].copy_from_slice(&1400u16.to_be_bytes());
    let error = bed.up(A, large.clone().with_transport_checksum()).rejected(A, DropReason::InTtl, 11, 0);
    assert_eq!((error.bytes.len(), error.tos), (576, 46 << 2));
    assert_eq!(error.quoted(), &large.with_transport_checksum().bytes()[..548]);
}

#[test]
fn no_error_is_about_an_error() {
    covers("1812-4.3.2.7");
    let mut bed = Bed::new();
    let quoted = udp(R1, 80, H, 5000).bytes();
    bed.up(A, icmp(H, R1, 3, 3, [0; 4], &quoted).ttl(1)).dropped(DropReason::InTtl);
    bed.up(A, udp(H, 5000, [224, 0, 0, 1].into(), 80).ttl(1)).dropped(DropReason::InDst);
    bed.up(A, udp([127, 0, 0, 1].into(), 5000, R1, 80).ttl(1)).dropped(DropReason::InSrc);
}

#[test]
fn errors_are_limited_for_each_subscriber() {
    covers("1812-4.3.2.8");
    let mut bed = Bed::new();
    let mut errors = 0;
    for _ in 0..1000 {
        errors +=
            usize::from(bed.up(A, udp(H, 5000, R1, 80).ttl(1)).verdict == Verdict::Reject(DropReason::InTtl));
        bed.advance_millis(1);
    }
    assert!((20..=30).contains(&errors), "{errors} errors in a second");
    bed.up(B, udp(H, 5000, R1, 80).ttl(1)).rejected(B, DropReason::InTtl, 11, 0);
}

#[test]
fn icmpv6_errors_are_limited_too() {
    covers("4443-2.4-e/f");
    let mut bed = Bed::new();
    let packet = encapsulate(A, T, 0, 41, &[], &[0; 40]);
    let errors = (0..100)
        .filter(|_| {
            bed.send(&packet, aftr::wire::Side::B4).verdict == Verdict::Reject(DropReason::V6NextHeader)
        })
        .count();
    assert_eq!(errors, 10);
}

#[test]
fn a_private_destination_is_told_to_have_no_route() {
    covers("1812-4.3.3.1");
    covers("M21");
    let mut bed = Bed::new();
    let nowhere: [Ipv4Addr; 4] =
        [[192, 168, 9, 9].into(), [10, 1, 1, 1].into(), [100, 64, 0, 1].into(), [169, 254, 1, 1].into()];
    for destination in nowhere {
        bed.up(A, udp(H, 5000, destination, 80)).rejected(A, DropReason::InNoRoute, 3, 0);
    }
    bed.assert_no_state();
}
