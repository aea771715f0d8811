//! What the IPv6 Internet would send: made-up ICMPv6 errors about the tunnel.

use aftr::engine::{DropReason, Instant, Verdict};
use aftr::wire::Side;

use crate::bed::*;
use crate::path_mtu::icmp6;
use crate::reassembly::outer_piece;

/// Anybody on the IPv6 Internet.
const STRANGER: &str = "2001:db8:fffe::66";

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
