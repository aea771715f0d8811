//! Section 3: the softwire. RFC 6333, 2473, 4213, 2983, 6040, 6438, 6908, 7335.

use std::net::Ipv4Addr;

use aftr::engine::{DropReason, EventKind, TtlBy, Verdict};
use aftr::wire::Side;

use crate::bed::*;

const AFTR4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 1);

#[test]
fn one_node_is_tunnel_end_and_nat() {
    covers("6333-6.1-a");
    covers("6333-6.6-a/b");
    let mut bed = Bed::new();
    let (a, b) = (bed.open_udp(A, 5000), bed.open_udp(B, 5000));
    assert_ne!(a, b, "identical private addresses coexist");
    for (b4, external) in [(A, a), (B, b)] {
        let seen = bed.down(udp(R1, 80, *external.ip(), external.port())).to_b4(b4);
        assert_eq!((seen.source, seen.sport, seen.destination, seen.dport), (R1, 80, H, 5000));
    }
}

#[test]
fn any_allowed_b4_works_without_being_configured() {
    covers("6333-6.2-a");
    let mut bed = Bed::new();
    let b4s: Vec<String> = (0..250).map(|number| format!("2001:db8:0:{number:x}00::1")).collect();
    let externals: Vec<_> = b4s.iter().map(|b4| bed.open_udp(b4, 5000)).collect();
    assert_eq!(bed.mappings(), 250);
    for (b4, external) in b4s.iter().zip(externals) {
        bed.down(udp(R1, 80, *external.ip(), external.port())).to_b4(b4);
    }
}

#[test]
fn answers_carry_the_aftr_address_that_the_b4_used() {
    covers("6333-6.2-b");
    covers("6334-5-a");
    let mut bed = Bed::new();
    for aftr in [T, T2, T] {
        let up = encapsulate(A, aftr, 0, 4, &[], &udp(H, 5000, R1, 80).bytes());
        let external = bed.send(&up, Side::B4).to_internet().from();
        let outcome = bed.down(udp(R1, 80, *external.ip(), external.port()));
        assert_eq!(outcome.outer().get_source().to_string(), aftr);
    }
}

#[test]
fn the_aftr_is_192_0_0_1_inside_the_softwire() {
    covers("6333-6.5-a");
    let mut bed = Bed::new();
    let error = bed.up(A, udp(H, 5000, R1, 80).ttl(1)).rejected(A, DropReason::InTtl, 11, 0);
    assert_eq!(error.destination, H);
    bed.assert_no_state();
}

#[test]
fn it_answers_ping_there_and_makes_no_mapping() {
    covers("6908-3.2.2-a");
    let mut bed = Bed::new();
    for host in [Ipv4Addr::new(192, 0, 0, 2), H] {
        let outcome = bed.up(A, echo(host, AFTR4, 8, 77));
        assert_eq!(outcome.verdict, Verdict::Reply);
        let seen = outcome.inside(A);
        assert_eq!((seen.source, seen.destination, seen.payload[0], seen.sport), (AFTR4, host, 0, 77));
    }
    bed.assert_no_state();
    let replies = (0..100).filter(|_| bed.up(A, echo(H, AFTR4, 8, 1)).verdict == Verdict::Reply).count();
    assert!(replies <= 10, "{replies} replies in one instant");
    assert_eq!(bed.up(B, echo(H, AFTR4, 8, 1)).verdict, Verdict::Reply, "B is not affected");
}

#[test]
fn other_traffic_to_192_0_0_1_is_refused_by_its_protocol() {
    covers("6333-6.5-b");
    let mut bed = Bed::new();
    bed.up(A, udp(H, 5000, AFTR4, 53)).rejected(A, DropReason::Local, 3, 3);
    let reset = bed.up(A, tcp(H, 5000, AFTR4, 80, SYN));
    assert_eq!(reset.verdict, Verdict::Reject(DropReason::Local));
    let seen = reset.inside(A);
    assert_eq!((seen.source, seen.sport, seen.dport, seen.payload[13]), (AFTR4, 80, 5000, RST | ACK));
    assert_eq!(
        u32::from_be_bytes([seen.payload[8], seen.payload[9], seen.payload[10], seen.payload[11]]),
        1001
    );
    let mut gre = udp(H, 5000, AFTR4, 53);
    gre.protocol = pnet_packet::ip::IpNextHeaderProtocols::Gre;
    bed.up(A, gre).rejected(A, DropReason::Local, 3, 2);
    bed.assert_no_state();
}

#[test]
fn the_b4s_own_addresses_are_translated_and_0_and_1_are_nobodys() {
    covers("6333-5.7-a");
    let mut bed = Bed::new();
    for last in 2..8 {
        bed.up(A, udp([192, 0, 0, last].into(), 1, R1, 53)).to_internet();
    }
    for last in [0, 1, 8] {
        bed.up(A, udp([192, 0, 0, last].into(), 1, R1, 53)).dropped(DropReason::InSrc);
    }
}

#[test]
fn the_b4s_own_address_never_shows_outside() {
    covers("7335-4-a");
    let mut bed = Bed::new();
    let b4: Ipv4Addr = [192, 0, 0, 2].into();
    let external = bed.up(A, udp(b4, 1, R1, 53)).to_internet().from();
    let received = bed.down(udp(R1, 53, *external.ip(), external.port())).to_b4(A);
    let error = bed.up(A, icmp(b4, R1, 3, 3, [0; 4], &received.bytes)).to_internet();
    assert_eq!(error.source, *external.ip());
    let quoted = Seen::read_unchecked(error.quoted());
    assert_eq!((quoted.destination, quoted.dport), (*external.ip(), external.port()));
}

#[test]
fn the_outer_header_is_that_of_rfc_2473() {
    covers("6333-7.1-a");
    covers("2473-6.3-a");
    covers("2473-6.5-a");
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    for ttl in [3, 255] {
        let outcome = bed.down(udp(R1, 80, *external.ip(), external.port()).ttl(ttl));
        let outer = outcome.outer();
        assert_eq!((outer.get_version(), outer.get_next_header().0, outer.get_hop_limit()), (6, 4, 64));
        assert_eq!((outer.get_flow_label(), outer.get_source().to_string().as_str()), (0, T));
        assert_eq!(outcome.bytes.len(), 40 + 46);
    }
}

#[test]
fn the_flow_label_tells_flows_apart_and_never_changes_within_one() {
    covers("2473-6.5-a");
    let mut bed = Bed::with("flow-label = \"hash\"", "", "");
    let (one, two) = (bed.open_udp(A, 5000), bed.open_udp(A, 5001));
    let label = |bed: &mut Bed, to: std::net::SocketAddrV4| {
        bed.down(udp(R1, 80, *to.ip(), to.port())).outer().get_flow_label()
    };
    let first = label(&mut bed, one);
    assert!((0..100).all(|_| label(&mut bed, one) == first));
    assert_ne!(first, label(&mut bed, two));
}

#[test]
fn a_transit_costs_one_hop_in_every_direction() {
    covers("2473-3.1-a");
    covers("INV-4");
    covers("5508-7.2, 1812-5.3.1");
    let mut bed = Bed::new();
    let (a, b) = (bed.open_udp(A, 5000), bed.open_udp(B, 5000));
    assert_eq!(bed.up(A, udp(H, 5000, R1, 80)).to_internet().ttl, 63);
    assert_eq!(bed.up(A, udp(H, 5000, R1, 80).ttl(2)).to_internet().ttl, 1);
    assert_eq!(bed.down(udp(R1, 80, *a.ip(), a.port())).to_b4(A).ttl, 63);
    assert_eq!(bed.up(A, udp(H, 5000, *b.ip(), b.port())).to_b4(B).ttl, 63);
    let error = bed.down(udp(R1, 80, *a.ip(), a.port()).ttl(1));
    assert_eq!(error.verdict, Verdict::Reject(DropReason::X4Ttl));
    let seen = Seen::read(&error.bytes);
    assert_eq!((seen.source, seen.destination, seen.payload[0]), (*a.ip(), R1, 11));
}

#[test]
fn where_the_kernel_routes_it_takes_the_hop_but_a_hairpin_it_never_sees() {
    covers("2473-3.1-a");
    let mut bed = Bed::of(&config("", "", ""), TtlBy::Kernel);
    let (a, b) = (bed.open_udp(A, 5000), bed.open_udp(B, 5000));
    assert_eq!(bed.up(A, udp(H, 5000, R1, 80)).to_internet().ttl, 64);
    bed.up(A, udp(H, 5000, R1, 80).ttl(1)).rejected(A, DropReason::InTtl, 11, 0);
    assert_eq!(bed.down(udp(R1, 80, *a.ip(), a.port()).ttl(1)).to_b4(A).ttl, 1);
    assert_eq!(bed.up(A, udp(H, 5000, *b.ip(), b.port())).to_b4(B).ttl, 63);
}

#[test]
fn extension_headers_are_walked_and_the_encapsulation_limit_is_accepted() {
    covers("2473-5.1-a");
    covers("2473-3.3-a");
    let mut bed = Bed::new();
    let packet = udp(H, 5000, R1, 80).bytes();
    let limit = [4, 0, 4, 1, 0, 1, 1, 0];
    bed.send(&encapsulate(A, T, 0, 60, &limit, &packet), Side::B4).to_internet();
    let chain = [60, 0, 1, 4, 0, 0, 0, 0, 4, 0, 1, 4, 0, 0, 0, 0];
    bed.send(&encapsulate(A, T, 0, 0, &chain, &packet), Side::B4).to_internet();
    let mut adds = Bed::with("encapsulation-limit = true", "", "");
    let external = adds.open_udp(A, 5000);
    let outcome = adds.down(udp(R1, 80, *external.ip(), external.port()));
    assert_eq!(outcome.outer().get_next_header().0, 60);
    assert_eq!(outcome.bytes[40..48], [4, 0, 4, 1, 4, 1, 1, 0]);
}

#[test]
fn bytes_behind_the_inner_packet_do_not_leave() {
    covers("4213-3.6-a");
    let mut bed = Bed::new();
    let mut packet = udp(H, 5000, R1, 80).bytes();
    packet.extend([0xee; 10]);
    let seen = bed.send(&encapsulate(A, T, 0, 4, &[], &packet), Side::B4).to_internet();
    assert_eq!(seen.bytes.len(), 46);
    assert_eq!(bed.aftr.counters().trailers, 1);
}

#[test]
fn the_class_crosses_both_ways_and_pipe_keeps_the_inner_one() {
    covers("6333-7.1-b");
    let mut bed = Bed::new();
    let packet = udp(H, 5000, R1, 80);
    let up = bed.send(&encapsulate(A, T, 46 << 2, 4, &[], &packet.bytes()), Side::B4).to_internet();
    assert_eq!(up.tos, 46 << 2);
    let down = bed.down(udp(R1, 80, up.source, up.sport).tos(10 << 2));
    assert_eq!((down.outer().get_traffic_class(), down.to_b4(A).tos), (10 << 2, 10 << 2));

    let mut pipe = Bed::with("v6-v4-dscp-preservation = false", "", "");
    let up =
        pipe.send(&encapsulate(A, T, 46 << 2, 4, &[], &packet.tos(8 << 2).bytes()), Side::B4).to_internet();
    assert_eq!(up.tos, 8 << 2);
    let down = pipe.down(udp(R1, 80, up.source, up.sport).tos(10 << 2));
    assert_eq!((down.outer().get_traffic_class(), down.to_b4(A).tos), (0, 10 << 2));
}

#[test]
fn ecn_is_copied_into_the_tunnel() {
    covers("6040-4.1-a");
    for (mode, expected) in [("normal", [0, 1, 2, 3]), ("compat", [0; 4])] {
        let mut bed = Bed::with(&format!("ecn = \"{mode}\""), "", "");
        let external = bed.open_udp(A, 5000);
        for ecn in 0..4u8 {
            let outcome = bed.down(udp(R1, 80, *external.ip(), external.port()).tos(ecn));
            assert_eq!(outcome.outer().get_traffic_class(), expected[usize::from(ecn)], "{mode} {ecn}");
            assert_eq!(outcome.to_b4(A).tos, ecn);
        }
    }
}

#[test]
fn ecn_out_of_the_tunnel_is_the_more_severe_of_both_in_all_16_cases() {
    covers("6040-4.2-a");
    // Rows: inner Not-ECT, ECT(1), ECT(0), CE; columns: outer Not-ECT, ECT(1), ECT(0), CE.
    let table: [[Option<u8>; 4]; 4] = [
        [Some(0), Some(0), Some(0), None],
        [Some(1), Some(1), Some(1), Some(3)],
        [Some(2), Some(1), Some(2), Some(3)],
        [Some(3), Some(3), Some(3), Some(3)],
    ];
    let anomalies = [(0, 1), (0, 2), (0, 3), (3, 1), (1, 2)];
    for inner in 0..4u8 {
        for outer in 0..4u8 {
            let mut bed = Bed::new();
            let packet = udp(H, 5000, R1, 80).tos(inner).bytes();
            let outcome = bed.send(&encapsulate(A, T, outer, 4, &[], &packet), Side::B4);
            match table[usize::from(inner)][usize::from(outer)] {
                Some(expected) => assert_eq!(outcome.to_internet().tos, expected, "{inner} {outer}"),
                None => outcome.dropped(DropReason::Ecn),
            }
            let counted = bed.aftr.counters().ecn_anomalies;
            assert_eq!(counted, u64::from(anomalies.contains(&(inner, outer))), "{inner} {outer}");
        }
    }
}

#[test]
fn no_payload_is_ever_looked_at() {
    covers("6333-8.3-a");
    covers("4787-REQ-10/10a");
    let mut bed = Bed::new();
    bed.open_tcp(A, 5000);
    let mut packet = tcp(H, 5000, R1, 21, SYN);
    packet.payload.extend(b"PORT 10,0,0,2,19,137\r\n");
    let seen = bed.up(A, packet.with_transport_checksum()).to_internet();
    assert_eq!(&seen.payload[20..], b"PORT 10,0,0,2,19,137\r\n");
}

#[test]
fn only_allowed_inner_sources_are_forwarded() {
    covers("6333-11-a");
    let mut bed = Bed::new();
    bed.up(A, udp([8, 8, 8, 8].into(), 1, R1, 80)).dropped(DropReason::InSrc);
    let external = bed.open_udp(A, 5000);
    bed.up(A, udp(*external.ip(), external.port(), R1, 80)).dropped(DropReason::InSrc);
    bed.up(A, udp([100, 64, 0, 1].into(), 1, R1, 80)).dropped(DropReason::InSrc);
    let mut more = Bed::with("internal-prefixes = [\"100.64.0.0/10\", \"10.0.0.0/8\"]", "", "");
    more.up(A, udp([100, 64, 0, 1].into(), 1, R1, 80)).to_internet();
}

#[test]
fn an_unauthorised_source_meets_silence_even_in_fragments() {
    covers("6333-11-c, 4213-3.6-b");
    let mut bed = Bed::new();
    bed.up(X, udp(H, 5000, R1, 80)).dropped(DropReason::V6Acl);
    let fragment = [4, 0, 0, 1, 0, 0, 0, 9];
    bed.send(&encapsulate(X, T, 0, 44, &fragment, &[0; 16]), Side::B4).dropped(DropReason::V6Acl);
    bed.assert_no_state();
    let mut tells = Bed::with("answer-unknown-b4 = true", "", "");
    tells.up(X, udp(H, 5000, R1, 80)).rejected6(DropReason::V6Acl, 1, 5);
    let mut closed = Bed::of(
        &{
            let mut config = config("", "", "");
            config.softwire.b4_prefixes.clear();
            config
        },
        TtlBy::Engine,
    );
    closed.up(A, udp(H, 5000, R1, 80)).dropped(DropReason::V6Acl);
}

#[test]
fn packets_and_octets_are_counted_on_both_sides_and_for_each_subscriber() {
    covers("6908-2.1-a");
    covers("6908-2.6-a");
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    bed.open_udp(A, 5000);
    bed.down(udp(R1, 80, *external.ip(), external.port())).to_b4(A);
    let counters = bed.aftr.counters();
    assert_eq!((counters.from_b4.packets, counters.from_b4.octets), (2, 2 * 86));
    assert_eq!((counters.to_internet.packets, counters.to_internet.octets), (2, 2 * 46));
    assert_eq!((counters.from_internet.octets, counters.to_b4.octets), (46, 86));
    let subscriber = bed.aftr.subscribers().next().expect("A");
    assert_eq!((subscriber.from_b4, subscriber.to_b4), ((2, 92), (1, 46)));
}

#[test]
fn policy_refuses_with_13_from_inside_and_in_silence_from_outside() {
    covers("6908-2.5.1-a");
    covers("6908-2.5.2-a");
    let policy = r#"
        [policy]
        downstream-dscp = 8
        [[policy.deny-from-b4]]
        prefix = "203.0.113.1/32"
        protocol = "tcp"
        port = 25
        [[policy.deny-from-internet]]
        prefix = "203.0.113.2/32"
    "#;
    let mut bed = Bed::with("", "", policy);
    bed.up(A, tcp(H, 5000, R1, 25, SYN)).rejected(A, DropReason::Policy, 3, 13);
    bed.assert_no_state();
    let external = bed.open_udp(A, 5000);
    bed.down(udp(R2, 80, *external.ip(), external.port())).dropped(DropReason::Policy);
    let outcome = bed.down(udp(R1, 80, *external.ip(), external.port()).tos(46 << 2 | 1));
    assert_eq!((outcome.outer().get_traffic_class(), outcome.to_b4(A).tos), (8 << 2 | 1, 8 << 2 | 1));
}

#[test]
fn the_aftr_address_answers_ping_and_refuses_the_rest_by_its_protocol() {
    covers("V6-LOCAL-1");
    let mut bed = Bed::new();
    let mut request = vec![128, 0, 0, 0, 0, 7, 0, 1, 9, 9];
    let outer = encapsulate(A, T, 0, 58, &[], &request);
    let sum = {
        let view = pnet_packet::icmpv6::Icmpv6Packet::new(&outer[40..]).expect("icmpv6");
        pnet_packet::icmpv6::checksum(&view, &A.parse().expect("A"), &T.parse().expect("T"))
    };
    request[2..4].copy_from_slice(&sum.to_be_bytes());
    let reply = bed.send(&encapsulate(A, T, 0, 58, &[], &request), Side::B4);
    assert_eq!(reply.verdict, Verdict::Reply);
    assert_eq!((reply.bytes[40], reply.outer().get_destination().to_string().as_str()), (129, A));
    bed.send(&encapsulate(X, T, 0, 58, &[], &request), Side::B4).dropped(DropReason::V6Acl);
    bed.send(&encapsulate(A, T, 0, 17, &[], &[0; 8]), Side::B4).rejected6(DropReason::V6NextHeader, 1, 4);
    bed.send(&encapsulate(A, T, 0, 6, &[], &[0; 20]), Side::B4).dropped(DropReason::V6NextHeader);
    let pointer = bed.send(&encapsulate(A, T, 0, 41, &[], &[0; 40]), Side::B4).rejected6(
        DropReason::V6NextHeader,
        4,
        1,
    );
    assert_eq!(pointer, 6);
    bed.assert_no_state();
}

#[test]
fn a_syn_asks_for_no_more_than_the_tunnel_takes() {
    covers("MSS-1");
    let mut bed = Bed::new();
    let with_mss = |mut packet: Inner, mss: u16| {
        let [a, b] = mss.to_be_bytes();
        packet.payload.extend([2, 4, a, b]);
        packet.payload[12] = 6 << 4;
        packet.with_transport_checksum()
    };
    let mss = |seen: &Seen| u16::from_be_bytes([seen.payload[22], seen.payload[23]]);
    let up = bed.up(A, with_mss(tcp(H, 5000, R1, 80, SYN), 1460)).to_internet();
    assert_eq!(mss(&up), 1420);
    let down = bed.down(with_mss(tcp(R1, 80, up.source, up.sport, SYN | ACK), 1460)).to_b4(A);
    assert_eq!(mss(&down), 1420);
    assert_eq!(mss(&bed.up(A, with_mss(tcp(H, 5001, R1, 80, SYN), 1300)).to_internet()), 1300);
    let mut off = Bed::with("mss-clamping = { enable = false }", "", "");
    assert_eq!(mss(&off.up(A, with_mss(tcp(H, 5000, R1, 80, SYN), 1460)).to_internet()), 1460);
}

#[test]
fn impossible_marks_are_told_of_once_a_minute() {
    covers("6040-4.2-b");
    let mut bed = Bed::new();
    let packet = encapsulate(A, T, 2, 4, &[], &udp(H, 5000, R1, 80).bytes());
    for _ in 0..1000 {
        bed.send(&packet, Side::B4).to_internet();
        bed.advance_millis(10);
    }
    let counts = |bed: &Bed| -> Vec<u64> {
        let count = |kind: EventKind| {
            if let EventKind::EcnAnomalies { count } = kind { Some(count) } else { None }
        };
        bed.events.iter().filter_map(|event| count(event.kind)).collect()
    };
    assert_eq!(counts(&bed), [1]);
    bed.advance(61);
    assert_eq!(counts(&bed), [1, 999]);
}
