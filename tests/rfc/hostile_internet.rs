//! What the Internet would send, with made-up sources.

use aftr::engine::{DropReason, Instant, Verdict};
use aftr::wire::Side;
use pnet_packet::ipv4::Ipv4Packet;

use crate::bed::*;

const PASS: &str = "[[nat.nat-pass-through]]\nprefix = \"203.0.113.2/32\"";

fn identification(bytes: &[u8]) -> u16 {
    Ipv4Packet::new(bytes).expect("ip").get_identification()
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
fn a_denied_remote_side_sends_no_errors_either() {
    covers("6908-2.5.2-a");
    let mut bed = Bed::with("", "", "[[policy.deny-from-internet]]\nprefix = \"203.0.113.2/32\"");
    let left = bed.up(A, udp(H, 5000, R1, 80)).to_internet();
    bed.down(icmp(R2, left.source, 3, 3, [0; 4], &left.bytes)).dropped(DropReason::Policy);
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
