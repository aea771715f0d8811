//! Section 2: the order of the checks is part of the contract, because exactly one counter counts.

use aftr::engine::DropReason;
use aftr::wire::Side;

use crate::bed::*;

#[test]
fn from_a_b4_the_first_failure_wins() {
    covers("ORD-1");
    let mut bed = Bed::new();
    let good = udp(H, 5000, R1, 80);
    let bad_source = udp([8, 8, 8, 8].into(), 5000, R1, 80).ttl(1);
    // Each packet has this fault and every later one.
    let mut bad_header = bad_source.bytes();
    bad_header[10] ^= 0xff;
    let short = vec![0x60; 20];
    let cases: Vec<(Vec<u8>, DropReason)> = vec![
        (short, DropReason::V6Short),
        (encapsulate(X, "2001:db8:ff::99", 0, 41, &[], &bad_header), DropReason::V6Dst),
        (encapsulate("ff02::1", T, 0, 41, &[], &bad_header), DropReason::V6Src),
        (encapsulate(X, T, 0, 60, &[4, 0, 0x5e, 4, 0, 0, 0, 0], &bad_header), DropReason::V6Acl),
        (encapsulate(A, T, 0, 60, &[4, 0, 0x5e, 4, 0, 0, 0, 0], &bad_header), DropReason::V6Opt),
        (encapsulate(A, T, 0, 6, &[], &bad_header), DropReason::V6NextHeader),
        (encapsulate(A, T, 3, 4, &[], &bad_header), DropReason::InChecksum),
        (encapsulate(A, T, 3, 4, &[], &bad_source.bytes()), DropReason::Ecn),
        (encapsulate(A, T, 0, 4, &[], &bad_source.bytes()), DropReason::InSrc),
        (
            encapsulate(A, T, 0, 4, &[], &good.clone().sent_to([127, 0, 0, 1].into()).ttl(1).bytes()),
            DropReason::InDst,
        ),
        (
            encapsulate(A, T, 0, 4, &[], &good.clone().sent_to([192, 168, 9, 9].into()).ttl(1).bytes()),
            DropReason::InTtl,
        ),
        (
            encapsulate(A, T, 0, 4, &[], &good.clone().sent_to([192, 168, 9, 9].into()).bytes()),
            DropReason::InNoRoute,
        ),
        (encapsulate(A, T, 0, 4, &[], &udp(H, 5000, R1, 0).bytes()), DropReason::L4Port0),
        (encapsulate(A, T, 0, 4, &[], &tcp(H, 5000, R1, 80, ACK).bytes()), DropReason::TcpNoSession),
    ];
    for (bytes, reason) in cases {
        let outcome = bed.send(&bytes, Side::B4);
        assert_eq!(outcome.verdict.drop_reason(), Some(reason), "{outcome:?}");
        assert_eq!(bed.dropped(reason), 1, "{reason:?}");
    }
    bed.assert_no_state();
}

#[test]
fn from_the_internet_the_first_failure_wins() {
    covers("ORD-2");
    let mut bed = Bed::new();
    let pool = [192, 0, 2, 3].into();
    let mut bad_header = udp([10, 1, 1, 1].into(), 80, [8, 8, 8, 8].into(), 9).bytes();
    bad_header[10] ^= 0xff;
    let cases: Vec<(Vec<u8>, DropReason)> = vec![
        (vec![0x45; 19], DropReason::X4Short),
        (bad_header, DropReason::X4Checksum),
        (udp([10, 1, 1, 1].into(), 80, [8, 8, 8, 8].into(), 9).ttl(1).bytes(), DropReason::X4Src),
        (udp(R1, 80, [8, 8, 8, 8].into(), 9).ttl(1).bytes(), DropReason::X4Dst),
        (udp(R1, 80, pool, 0).ttl(1).bytes(), DropReason::X4Ttl),
        (udp(R1, 80, pool, 0).bytes(), DropReason::L4Port0),
        (udp(R1, 80, pool, 9).bytes(), DropReason::NatNoMapping),
    ];
    for (bytes, reason) in cases {
        let outcome = bed.send(&bytes, Side::Internet);
        assert_eq!(outcome.verdict.drop_reason(), Some(reason), "{outcome:?}");
    }
    bed.assert_no_state();
}

#[test]
fn an_icmpv6_error_from_the_tunnel_is_checked_before_it_is_believed() {
    covers("ORD-3");
    let mut bed = Bed::new();
    let mut message = vec![2, 0, 0, 0, 0, 0, 5, 0];
    message.extend(encapsulate(T, A, 0, 4, &[], &udp(R1, 80, H, 5000).bytes()));
    bed.send(&encapsulate(A, T, 0, 58, &[], &message), Side::B4).dropped(DropReason::Icmp6Checksum);
    bed.assert_no_state();
}
