//! What somebody who wishes harm would send: a host behind a B4, the Internet with made-up sources, and the
//! IPv6 Internet with made-up ICMPv6 errors.

use std::net::Ipv4Addr;

use aftr::engine::{DropReason, Instant, Verdict};
use aftr::wire::Side;
use pnet_packet::ipv4::Ipv4Packet;

use crate::bed::*;
use crate::path_mtu::icmp6;
use crate::reassembly::outer_piece;

/// Anybody on the IPv6 Internet.
const STRANGER: &str = "2001:db8:fffe::66";
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
fn an_error_about_an_untranslated_packet_reaches_its_sender() {
    covers("6888-REQ-6");
    let mut bed = Bed::with("", "", PASS);
    let left = bed.up(A, udp(H, 5000, R2, 443)).to_internet();
    assert_eq!(left.source, H);
    // Any router on the way may say so: its path MTU is not learnt otherwise.
    let too_big = icmp(R1, H, 3, 4, [0, 0, 5, 0], &left.bytes);
    let told = bed.down(too_big.clone()).to_b4(A);
    assert_eq!((told.destination, &told.payload[8..]), (H, &left.bytes[..]));
    let other = udp(H, 5001, R2, 443).bytes();
    bed.down(icmp(R1, H, 3, 4, [0, 0, 5, 0], &other)).dropped(DropReason::X4Dst);
    bed.down(icmp(R1, [10, 0, 0, 9].into(), 3, 4, [0, 0, 5, 0], &left.bytes)).dropped(DropReason::IcmpQuoted);
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

/// Any router may send an error about what left untranslated, and nothing but an error.
#[test]
fn a_query_to_an_address_behind_a_b4_has_no_answer_from_there() {
    covers("6888-REQ-6");
    let mut bed = Bed::with("", "", PASS);
    for kind in [0, 8, 13, 14] {
        bed.down(echo(R1, H, kind, 1).ttl(1)).dropped(DropReason::X4Dst);
        bed.down(echo(R1, H, kind, 1).with_data(1000).loose(7).piece(0, 512)).dropped(DropReason::X4Dst);
    }
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
    bed.aftr.reconfigure(&config("", "", limit), bed.now).expect("rules change without a restart");
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
fn fragments_from_the_internet_do_not_push_out_those_that_a_home_sends() {
    covers("4787-14a-v4");
    covers("4787-14a-v6");
    let mut bed = Bed::new();
    let open = bed.open_udp(A, 6000);
    let datagram = udp(H, 5000, R1, 80).with_data(1000).loose(7);
    bed.up(A, datagram.piece(0, 512)).to_internet_unread();
    for identification in 0..64 {
        let stray = udp(R2, 9, *open.ip(), open.port()).with_data(1000).loose(identification);
        assert_eq!(bed.down(stray.piece(0, 8)).verdict, Verdict::ToB4);
    }
    assert_eq!(bed.up(A, datagram.piece(512, 1008)).verdict, Verdict::ToInternet);
}

#[test]
fn fragments_from_the_internet_do_not_fill_the_table_for_the_homes() {
    covers("4787-14a-v4");
    // As 65536 datagrams and 1024 addresses by default.
    let mut bed = Bed::with("", "", "[nat.fragments]\nlimit = 1024");
    for address in 0..16 {
        for identification in 0..64 {
            let stray = udp(R2, 9, [192, 0, 2, address].into(), 9).with_data(1000).loose(identification);
            bed.down(stray.piece(0, 512)).dropped(DropReason::NatNoMapping);
        }
    }
    let datagram = udp(H, 5000, R1, 80).with_data(1000).loose(7);
    assert_eq!(bed.up(A, datagram.piece(0, 512)).verdict, Verdict::ToInternet);
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
fn a_packet_too_big_with_a_cut_off_quotation_is_not_believed() {
    covers("M46");
    covers("8201-4-a");
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    // All that a stranger needs to know are two IPv6 addresses.
    let quoted = encapsulate(T, A, 0, 4, &[], &[0; 1460]);
    bed.send(&icmp6(STRANGER, 2, 0, 1280, &quoted[..40]), Side::B4).dropped(DropReason::Icmp6Quote);
    let large = udp(R1, 80, *external.ip(), external.port()).with_data(1400);
    assert_eq!(bed.down(large).verdict, Verdict::ToB4);
    assert!(bed.pieces().is_empty());
}

#[test]
fn a_packet_too_big_about_a_packet_that_fits_is_not_believed() {
    covers("8201-4-a");
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    let small = bed.down(udp(R1, 80, *external.ip(), external.port())).bytes;
    bed.send(&icmp6(STRANGER, 2, 0, 1280, &small), Side::B4);
    let large = udp(R1, 80, *external.ip(), external.port()).with_data(1400);
    assert_eq!(bed.down(large).verdict, Verdict::ToB4);
    assert!(bed.pieces().is_empty(), "a packet of 94 octets is not too big for 1280");
}

#[test]
fn a_packet_too_big_about_no_mapping_is_not_believed() {
    covers("8201-4-a");
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    let inner = udp(R2, 9, [10, 77, 77, 77].into(), 9).with_data(1400);
    bed.send(&icmp6(STRANGER, 2, 0, 1280, &encapsulate(T, A, 0, 4, &[], &inner.bytes())), Side::B4);
    let large = udp(R1, 80, *external.ip(), external.port()).with_data(1400);
    assert_eq!(bed.down(large).verdict, Verdict::ToB4);
    assert!(bed.pieces().is_empty(), "nothing was ever sent to 10.77.77.77");
}

/// Who asks by a forged error of the tunnel learns which home an external address and port belongs to.
#[test]
fn a_stranger_is_not_told_the_external_port_of_a_connection_that_is_not_his() {
    covers("2473-8.3-b");
    let mut bed = Bed::new();
    bed.open_tcp(A, 5000);
    let inner = tcp(R2, 9, H, 5000, ACK).bytes();
    bed.send(&icmp6(STRANGER, 1, 0, 0, &encapsulate(T, A, 0, 4, &[], &inner)), Side::B4);
    assert!(bed.pieces().is_empty(), "R2 has no session there");
}

#[test]
fn a_path_mtu_of_49_days_ago_does_not_come_back() {
    covers("8201-4-a");
    let mapping = format!(
        "[[nat.mapping-table]]\nb4-ipv6-address = \"{A}\"\ntransport-protocol = \"udp\"\ninternal-src-address = \"10.0.0.2\"\n\
         internal-src-port = 80\nexternal-src-address = \"192.0.2.3\"\nexternal-src-port = 8080"
    );
    let mut bed = Bed::with("", "", &mapping);
    let large = || udp(R1, 80, [192, 0, 2, 3].into(), 8080).with_data(1400);
    let quoted = bed.down(large()).bytes;
    bed.send(&icmp6(STRANGER, 2, 0, 1280, &quoted), Side::B4);
    bed.advance(601);
    bed.down(large()).to_b4(A);
    bed.now = Instant::from_millis(bed.now.millis() + (1 << 32) - 600_000);
    assert_eq!(bed.down(large()).verdict, Verdict::ToB4);
    assert!(bed.pieces().is_empty());
}

#[test]
fn no_icmpv6_error_is_about_an_icmpv6_error() {
    covers("4443-2.4-e/f");
    let error = [1, 0, 0, 0, 0, 0, 0, 0, 0x60];
    let mut bed = Bed::new();
    let options = encapsulate(A, T, 0, 60, &[58, 0, 0x9e, 4, 0, 0, 0, 0], &error);
    bed.send(&options, Side::B4).dropped(DropReason::V6Opt);
}

#[test]
fn no_icmpv6_error_is_about_a_piece_of_an_icmpv6_error() {
    covers("4443-2.4-e/f");
    let mut bed = Bed::new();
    let mut piece = outer_piece(A, 7, 0, 0, true, &[1, 0, 0, 0, 0, 0, 0, 0]);
    piece[40] = 58;
    assert_eq!(bed.send(&piece, Side::B4).verdict, Verdict::Hold);
    assert!(bed.advance(62).is_empty());
}

#[test]
fn identifications_of_a_destination_do_not_tell_those_of_the_next() {
    covers("7857-9/10");
    let mut bed = Bed::new();
    let mut predicted = 0;
    for block in 0..8 {
        let ids = [0, 1, 2].map(|host| {
            let remote = [203, 0, 113, 64 + block * 4 + host].into();
            identification(&bed.up(A, udp(H, 5000, remote, 80).loose(7)).to_internet().bytes)
        });
        let guess = ids[1].wrapping_add(ids[1].wrapping_sub(ids[0]));
        predicted += usize::from(ids[2].wrapping_sub(guess).wrapping_add(4) <= 8);
    }
    assert!(predicted <= 2, "{predicted} of 8 were predicted");
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
fn a_denied_remote_side_sends_no_errors_either() {
    covers("6908-2.5.2-a");
    let mut bed = Bed::with("", "", "[[policy.deny-from-internet]]\nprefix = \"203.0.113.2/32\"");
    let left = bed.up(A, udp(H, 5000, R1, 80)).to_internet();
    bed.down(icmp(R2, left.source, 3, 3, [0; 4], &left.bytes)).dropped(DropReason::Policy);
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

/// "Works a bounded amount": all that came in one tick comes due in one.
#[test]
fn what_comes_due_at_once_is_not_done_at_once() {
    covers("INV-8");
    const MOST: u64 = 8192;
    let mut bed = Bed::new();
    for port in 0..16_384 {
        assert_eq!(bed.down(tcp(R1, 1024 + port, [192, 0, 2, 1].into(), 80, SYN)).verdict, Verdict::Hold);
    }
    bed.now = Instant::from_millis(bed.now.millis() + 7000);
    bed.aftr.handle_timeout(bed.now);
    let counters = bed.aftr.counters();
    let done = counters.icmp_to_internet + counters.icmp_suppressed;
    assert!(done <= MOST, "{done} held SYNs in one call");
}

/// RFC 5382 REQ-4 for hosts behind B4s does not depend on what the Internet does.
#[test]
fn scans_from_the_internet_do_not_silence_answers_to_homes() {
    covers("1812-4.3.2.8");
    let mut bed = Bed::new();
    bed.open_udp(A, 5000);
    bed.up(A, tcp(H, 7000, [192, 0, 2, 2].into(), 81, SYN));
    for port in 0..200 {
        bed.down(tcp(R2, 1024 + port, [192, 0, 2, 1].into(), 80, SYN));
    }
    let told = bed.advance(8);
    assert!(told.iter().any(|(_, side)| *side == Side::B4), "{} answers, none to the home", told.len());
}

#[test]
fn a_quota_is_looked_at_before_the_mtu_of_the_internet() {
    covers("ORD-1");
    let mut bed = Bed::with("", "port-quota = { udp = 1 }", "");
    bed.open_udp(A, 5000);
    let large = udp(H, 5001, R1, 80).with_data(1600);
    assert_eq!(bed.up(A, large).verdict.drop_reason(), Some(DropReason::NatQuota));
}

/// One SYN of a made-up source in four minutes for each port is less than a scan of the pool.
#[test]
fn syns_of_strangers_do_not_keep_the_ports_of_closed_connections() {
    covers("TCP-INFLOOD");
    covers("7857-7");
    let mut bed = Bed::with("", "port-quota = { tcp = 8 }", "");
    let ports: Vec<_> = (0..8)
        .map(|port| {
            let external = bed.open_tcp(A, 5000 + port);
            bed.up(A, tcp(H, 5000 + port, R1, 80, FIN | ACK)).to_internet();
            bed.down(tcp(R1, 80, *external.ip(), external.port(), FIN | ACK)).to_b4(A);
            external
        })
        .collect();
    for round in 0..20 {
        bed.advance(200);
        for external in &ports {
            bed.down(tcp(R2, 1024 + round, *external.ip(), external.port(), SYN));
            // What a host says where nobody listens any more.
            bed.up(A, tcp(H, 5000, R2, 1024 + round, RST | ACK));
        }
    }
    assert_eq!(bed.up(A, tcp(H, 6000, R1, 80, SYN)).verdict, Verdict::ToInternet);
}

/// `limiter.rs`: a share for each source, so that one cannot silence us for the others.
#[test]
fn one_remote_side_does_not_silence_errors_to_the_others() {
    covers("1812-4.3.2.8");
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    for _ in 0..500 {
        bed.down(udp(R2, 9, *external.ip(), external.port()).ttl(1));
    }
    let outcome = bed.down(udp(R1, 80, *external.ip(), external.port()).ttl(1));
    assert_eq!(outcome.verdict, Verdict::Reject(DropReason::X4Ttl));
}

/// All that it takes is a T, a B4, and an internal address that nearly every home has.
#[test]
fn a_stranger_does_not_use_up_the_errors_to_the_internet() {
    covers("2473-8.3-b");
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    for _ in 0..500 {
        let inner = udp(R2, 9, H, 5000).bytes();
        bed.send(&icmp6(STRANGER, 1, 0, 0, &encapsulate(T, A, 0, 4, &[], &inner)), Side::B4);
    }
    let outcome = bed.down(udp(R1, 80, *external.ip(), external.port()).ttl(1));
    assert_eq!(outcome.verdict, Verdict::Reject(DropReason::X4Ttl));
}

/// A piece of ours that is not the first says by its identification that whoever quotes it has seen it.
#[test]
fn a_packet_too_big_about_a_made_up_piece_is_not_believed() {
    covers("8201-4-a");
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    let piece = encapsulate(T, A, 0, 44, &[4, 0, 0x05, 0xa8, 1, 2, 3, 4], &[0; 1300]);
    bed.send(&icmp6(STRANGER, 2, 0, 1280, &piece), Side::B4);
    let large = udp(R1, 80, *external.ip(), external.port()).with_data(1400);
    assert_eq!(bed.down(large).verdict, Verdict::ToB4);
    assert!(bed.pieces().is_empty());
}

/// 64 MiB are 256 addresses of 256 KiB.
#[test]
fn pieces_that_wait_from_the_internet_leave_room_for_those_of_the_homes() {
    covers("4787-14a-v4");
    let mut bed = Bed::with("", "", "[nat.fragments]\noctets = 1048576\noctets-per-subscriber = 131072");
    for address in 0..16 {
        for identification in 0..60 {
            let stray = udp(R2, 9, [192, 0, 2, address].into(), 9).with_data(3000).loose(identification);
            for at in [1000, 2000] {
                bed.down(stray.piece(at, at + 1000));
            }
        }
    }
    let datagram = udp(H, 5000, R1, 80).with_data(3000).loose(7);
    assert_eq!(bed.up(A, datagram.piece(1024, 3008)).verdict, Verdict::Hold);
}

/// ORD-4: it leaves no state behind, and changes none.
#[test]
fn what_is_too_large_for_a_softwire_keeps_no_untranslated_session_alive() {
    covers("ORD-4");
    let mut bed = Bed::with("df-policy = \"honour\"", "", PASS);
    bed.up(A, tcp(H, 5000, R2, 80, SYN)).to_internet();
    bed.advance(7_430);
    let mut large = tcp(R2, 80, H, 5000, ACK);
    large.payload.resize(1460, 0);
    assert_eq!(bed.down(large.with_transport_checksum()).verdict, Verdict::Reject(DropReason::X4Mtu));
    bed.advance(12);
    bed.down(tcp(R2, 80, H, 5000, ACK)).dropped(DropReason::X4Dst);
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

/// Whatever the timers were armed for when they slept.
#[test]
fn what_nobody_wants_is_forgotten_as_soon_after_a_long_silence() {
    covers("4787-14a-v4");
    let mut bed = Bed::new();
    bed.advance(20_000);
    let external = bed.open_udp(A, 5000);
    let datagram = udp(R1, 80, *external.ip(), external.port()).with_data(100).loose(1);
    assert_eq!(bed.down(datagram.piece(0, 24)).verdict, Verdict::ToB4);
    bed.advance(1);
    bed.down(datagram.piece(48, 72));
    bed.down(datagram.piece(40, 80)).dropped(DropReason::V4FragOverlap);
    assert_eq!(bed.aftr.gauges().fragmented, 1);
    bed.advance(2);
    assert_eq!(bed.aftr.gauges().fragmented, 0);
}

/// What was put into a softwire to a path that takes less is cut for that path, whoever made it.
#[test]
fn an_echo_answer_is_cut_for_the_path_of_its_b4() {
    covers("2473-6.7-a");
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    let large = bed.down(udp(R1, 80, *external.ip(), external.port()).with_data(1400)).bytes;
    bed.send(&icmp6(STRANGER, 2, 0, 1300, &large), Side::B4);
    let ping = icmp(H, [192, 0, 0, 1].into(), 8, 0, [0, 9, 0, 1], &[7; 1400]);
    let outcome = bed.up(A, ping);
    assert_eq!(outcome.verdict, Verdict::Reply);
    assert!(outcome.bytes.len() <= 1300, "{}", outcome.bytes.len());
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
