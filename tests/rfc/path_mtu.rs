//! Section 4: what the path to a B4 takes, errors from inside the tunnel, and what the Internet takes.

use std::net::{Ipv6Addr, SocketAddrV4};

use aftr::engine::{DropReason, Verdict};
use aftr::wire::Side;
use pnet_packet::Packet as _;
use pnet_packet::ipv4::Ipv4Packet;
use pnet_packet::ipv6::Ipv6Packet;

use crate::bed::*;

/// A router of the access network, which is nobody's B4.
const ROUTER: &str = "2001:db8:fffe::1";

/// An ICMPv6 error about a packet of ours, as far as it fits.
pub(crate) fn icmp6(source: &str, kind: u8, code: u8, parameter: u32, quoted: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend_from_slice(&parameter.to_be_bytes());
    message.extend_from_slice(&quoted[..quoted.len().min(1232)]);
    let packet = encapsulate(source, T, 0, 58, &[], &message);
    let outer = Ipv6Packet::new(&packet).expect("ipv6");
    let icmp = pnet_packet::icmpv6::Icmpv6Packet::new(outer.payload()).expect("icmpv6");
    let sum = pnet_packet::icmpv6::checksum(&icmp, &outer.get_source(), &outer.get_destination());
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    encapsulate(source, T, 0, 58, &[], &message)
}

fn too_big(bed: &mut Bed, mtu: u32, quoted: &[u8]) -> Outcome {
    bed.send(&icmp6(ROUTER, 2, 0, mtu, quoted), Side::B4)
}

fn large(to: SocketAddrV4, length: usize) -> Inner {
    udp(R1, 80, *to.ip(), to.port()).with_data(length - 28)
}

/// Sizes of what leaves into the softwire for one packet of `length`.
fn sizes(bed: &mut Bed, to: SocketAddrV4, length: usize) -> Vec<usize> {
    let first = bed.down(large(to, length));
    assert_eq!(first.verdict, Verdict::ToB4);
    [vec![first.bytes], bed.pieces()].concat().iter().map(Vec::len).collect()
}

#[test]
fn a_narrow_path_is_learnt_for_its_b4_only_and_for_ten_minutes() {
    covers("2473-6.7-a");
    covers("8201-4-a");
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    let other = bed.open_udp(B, 5000);
    let quoted = bed.down(large(external, 1460)).bytes;
    assert_eq!(quoted.len(), 1500);
    assert_eq!(too_big(&mut bed, 1400, &quoted).verdict, Verdict::Hold);
    assert_eq!(sizes(&mut bed, external, 1460), [1400, 156]);
    assert_eq!(sizes(&mut bed, other, 1460), [1500]);
    // An error never raises it.
    too_big(&mut bed, 1450, &quoted);
    assert_eq!(sizes(&mut bed, external, 1460), [1400, 156]);
    bed.advance(299);
    bed.up(A, udp(H, 5000, R1, 80)).to_internet();
    bed.advance(299);
    bed.up(A, udp(H, 5000, R1, 80)).to_internet();
    assert_eq!(sizes(&mut bed, external, 1460), [1400, 156]);
    bed.advance(3);
    assert_eq!(sizes(&mut bed, external, 1460), [1500]);
    assert_eq!(bed.aftr.counters().tunnel_errors, 2);
}

#[test]
fn a_fragment_of_ours_that_is_too_big_says_so_too() {
    covers("8201-4-a");
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    let first = bed.down(large(external, 1500)).bytes;
    let second = bed.pieces().remove(0);
    too_big(&mut bed, 1400, &first);
    assert_eq!(sizes(&mut bed, external, 1500), [1400, 196]);
    // The second says nothing of 1300, and a large one does.
    too_big(&mut bed, 1300, &second).dropped(DropReason::Icmp6Quote);
    bed.down(large(external, 3000));
    let second = bed.pieces().remove(0);
    assert_eq!(second.len(), 1400);
    too_big(&mut bed, 1300, &second);
    assert_eq!(sizes(&mut bed, external, 1500), [1296, 300]);
}

#[test]
fn errors_about_what_we_never_sent_change_nothing() {
    covers("8201-4-a");
    covers("8021-a");
    covers("M46");
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    let quoted = bed.down(large(external, 1460)).bytes;
    for (mtu, forged, reason) in [
        (1279, quoted.clone(), DropReason::Icmp6PtbSmall),
        (1000, quoted.clone(), DropReason::Icmp6PtbSmall),
        // To a B4 without softwire, from another source, of another protocol, and cut short.
        (1400, readdressed(&quoted, T, B, 4), DropReason::Icmp6Quote),
        (1400, readdressed(&quoted, A2, A, 4), DropReason::Icmp6Quote),
        (1400, readdressed(&quoted, T, A, 58), DropReason::Icmp6Quote),
        (1400, quoted[..39].to_vec(), DropReason::Icmp6Quote),
    ] {
        too_big(&mut bed, mtu, &forged).dropped(reason);
    }
    let mut wrong = icmp6(ROUTER, 2, 0, 1400, &quoted);
    wrong[42] ^= 1;
    bed.send(&wrong, Side::B4).dropped(DropReason::Icmp6Checksum);
    // Not an error, and not from a B4.
    bed.send(&icmp6(ROUTER, 128, 0, 0, &[]), Side::B4).dropped(DropReason::V6Acl);
    assert_eq!(sizes(&mut bed, external, 1460), [1500]);
    assert_eq!(bed.aftr.counters().tunnel_errors, 0);
}

fn readdressed(packet: &[u8], source: &str, destination: &str, next: u8) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let octets = |address: &str| address.parse::<Ipv6Addr>().expect("an address").octets();
    packet[6] = next;
    packet[8..24].copy_from_slice(&octets(source));
    packet[24..40].copy_from_slice(&octets(destination));
    packet
}

#[test]
fn a_moved_b4_starts_with_a_path_of_its_own() {
    covers("8201-4-a");
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    let quoted = bed.down(large(external, 1460)).bytes;
    too_big(&mut bed, 1400, &quoted);
    bed.up(A2, udp(H, 5000, R1, 80)).to_internet();
    assert_eq!(sizes(&mut bed, external, 1460), [1500]);
}

#[test]
fn honoured_df_is_told_to_the_sender_with_the_mtu() {
    covers("2473-7.2-a");
    let mut bed = Bed::of_one_worker("df-policy = \"honour\"", "", "");
    let external = bed.open_udp(A, 5000);
    assert_eq!(sizes(&mut bed, external, 1460), [1500]);
    let cause = large(external, 1500).tos(46 << 2);
    let outcome = bed.down(cause.clone());
    assert_eq!(outcome.verdict, Verdict::Reject(DropReason::X4Mtu));
    let seen = Seen::read(&outcome.bytes);
    assert_eq!((seen.source, seen.destination), (*external.ip(), R1));
    assert_eq!(seen.payload[..2], [3, 4]);
    assert_eq!(seen.payload[4..8], [0, 0, 0x05, 0xb4], "1460");
    assert_eq!(seen.quoted(), &cause.bytes()[..seen.quoted().len()], "as it came");
    // Without DF it is cut outside, as ever.
    let mut loose = large(external, 1500).loose(9);
    loose.tos = 0;
    assert_eq!(bed.down(loose).verdict, Verdict::ToB4);
    assert_eq!(bed.pieces().len(), 1);
    // A call from another home is told inside its own softwire.
    let call = udp(H, 6000, *external.ip(), external.port()).with_data(1500 - 28);
    let seen = bed.up(B, call).rejected(B, DropReason::InMtu, 3, 4);
    assert_eq!(seen.payload[4..8], [0, 0, 0x05, 0xb4]);
    assert_eq!(seen.quoted()[12..16], H.octets());
}

#[test]
fn honoured_df_relays_a_packet_too_big_of_the_tunnel() {
    covers("2473-8.3-a");
    let mut bed = Bed::with("df-policy = \"honour\"", "", "");
    let external = bed.open_udp(A, 5000);
    let quoted = bed.down(large(external, 1460)).bytes;
    too_big(&mut bed, 1400, &quoted);
    let told = bed.pieces();
    let [error] = told.as_slice() else { panic!("{told:?}") };
    let seen = Seen::read(error);
    assert_eq!((seen.source, seen.destination), (*external.ip(), R1));
    assert_eq!((&seen.payload[..2], &seen.payload[4..8]), (&[3, 4][..], &[0, 0, 0x05, 0x50][..]), "1360");
    let inside = Ipv4Packet::new(seen.quoted()).expect("ip");
    assert_eq!((inside.get_source(), inside.get_destination()), (R1, *external.ip()));
    assert_eq!(seen.quoted()[22..24], external.port().to_be_bytes());
    assert_eq!(inside.get_checksum(), pnet_packet::ipv4::checksum(&inside));
    // In the default mode the sender has nothing to do.
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    let quoted = bed.down(large(external, 1460)).bytes;
    too_big(&mut bed, 1400, &quoted);
    assert!(bed.pieces().is_empty());
}

#[test]
fn a_loss_in_the_tunnel_is_told_as_host_unreachable() {
    covers("2473-8.3-b");
    covers("7335-4-a");
    let mut bed = Bed::with("encapsulation-limit = true", "", "");
    let external = bed.open_udp(A, 5000);
    let quoted = bed.down(udp(R1, 80, *external.ip(), external.port())).bytes;
    for (kind, code, parameter, tells) in [
        (1, 0, 0, true),
        (1, 3, 0, true),
        (3, 0, 0, true),
        (4, 0, 44, true),
        (4, 0, 40, false),
        (4, 1, 6, false),
        (3, 1, 0, false),
    ] {
        let outcome = bed.send(&icmp6(ROUTER, kind, code, parameter, &quoted), Side::B4);
        let told = bed.pieces();
        if !tells {
            outcome.dropped(DropReason::Icmp6Type);
            assert!(told.is_empty());
            continue;
        }
        let seen = Seen::read(&told[0]);
        assert_eq!((seen.source, seen.destination, &seen.payload[..2]), (*external.ip(), R1, &[3, 1][..]));
        assert_eq!(seen.quoted()[16..20], external.ip().octets(), "{kind}/{code}");
        assert_eq!(seen.quoted()[22..24], external.port().to_be_bytes());
    }
    assert!(bed.udp_reaches(external), "the mapping lives on");
}

#[test]
fn a_caller_behind_another_b4_is_told_in_its_own_softwire() {
    covers("2473-8.3-b");
    covers("5508-REQ-7/7a");
    let mut bed = Bed::of_one_worker("", "", "");
    let called = bed.open_udp(A, 5000);
    let quoted = bed.up(B, udp(H, 6000, *called.ip(), called.port())).bytes;
    bed.send(&icmp6(ROUTER, 1, 3, 0, &quoted), Side::B4);
    let told = Outcome { verdict: Verdict::ToB4, bytes: bed.pieces().remove(0) };
    let seen = told.to_b4(B);
    assert_eq!((seen.source.to_string().as_str(), seen.destination), ("192.0.0.1", H));
    assert_eq!((seen.payload[0], seen.payload[1]), (3, 1));
    assert_eq!(
        (&seen.quoted()[12..16], &seen.quoted()[16..20]),
        (&H.octets()[..], &called.ip().octets()[..])
    );
    assert_eq!(seen.quoted()[20..24], [6000u16.to_be_bytes(), called.port().to_be_bytes()].concat());
}

#[test]
fn an_error_that_quotes_a_made_up_sender_is_told_to_nobody() {
    covers("2473-8.3-b");
    covers("INV-2");
    let mut bed = Bed::of_one_worker("", "", "");
    bed.open_udp(A, 5000);
    for source in [[10, 0, 0, 9], [192, 0, 2, 9], [127, 0, 0, 1], [224, 0, 0, 1]] {
        let quoted = encapsulate(T, A, 0, 4, &[], &udp(source.into(), 9, H, 5000).bytes());
        bed.send(&icmp6(ROUTER, 1, 0, 0, &readdressed(&quoted, T, A, 4)), Side::B4);
        assert!(bed.pieces().is_empty(), "{source:?}");
    }
    assert_eq!(bed.aftr.counters().icmp_to_internet, 0);
}

#[test]
fn the_largest_packet_enters_a_softwire_with_or_without_the_limit() {
    covers("2473-5.1-a");
    let mut bed = Bed::with("encapsulation-limit = true", "", "");
    let external = bed.open_udp(A, 5000);
    for length in [65_527, 65_528, 65_535] {
        let first = bed.down(large(external, length).loose(1)).bytes;
        let pieces = [vec![first], bed.pieces()].concat();
        let total: usize = pieces.iter().map(|piece| piece.len() - 48).sum();
        assert_eq!(total, if length == 65_527 { length + 8 } else { length });
    }
}

#[test]
fn no_error_is_told_about_an_error_and_all_are_limited() {
    covers("1812-4.3.2.7");
    covers("1812-4.3.2.8");
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    let sent = bed.up(A, udp(H, 5000, R1, 80)).to_internet();
    let error = bed.down(icmp(R2, *external.ip(), 3, 3, [0; 4], &sent.bytes)).bytes;
    bed.send(&icmp6(ROUTER, 1, 0, 0, &error), Side::B4);
    assert!(bed.pieces().is_empty());
    let quoted = bed.down(udp(R1, 80, *external.ip(), external.port())).bytes;
    for _ in 0..1000 {
        bed.send(&icmp6(ROUTER, 1, 0, 0, &quoted), Side::B4);
    }
    // Anybody can send such errors: they have a fifth of what goes to the Internet.
    assert_eq!(bed.pieces().len(), 100);
    assert_eq!(bed.aftr.counters().icmp_suppressed, 900);
}

#[test]
fn answers_of_the_aftr_itself_fit_the_path_too() {
    covers("8201-4-a");
    covers("2473-6.7-a");
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    let quoted = bed.down(large(external, 1460)).bytes;
    too_big(&mut bed, 1400, &quoted);
    let ping = icmp(H, [192, 0, 0, 1].into(), 8, 0, [0, 9, 0, 1], &[7; 1400]);
    let reply = bed.up(A, ping);
    assert_eq!(reply.verdict, Verdict::Reply);
    let sizes: Vec<usize> = [vec![reply.bytes], bed.pieces()].concat().iter().map(Vec::len).collect();
    assert_eq!(sizes, [1400, 124]);
}

#[test]
fn nobody_is_told_of_a_loss_whose_sender_is_gone_or_is_the_aftr() {
    covers("2473-8.3-b");
    let mut bed = Bed::new();
    let called = bed.open_udp(A, 5000);
    let quoted = bed.up(B, udp(H, 6000, *called.ip(), called.port())).bytes;
    bed.aftr.purge("2001:db8:0:b00::/56".parse().expect("a prefix"), bed.now);
    bed.send(&icmp6(ROUTER, 1, 3, 0, &quoted), Side::B4);
    assert!(bed.pieces().is_empty(), "the caller's mapping has ended");
    // An answer of 192.0.0.1 to the identifier that a mapping has, too.
    bed.up(A, echo(H, R1, 8, 9)).to_internet();
    let reply = bed.up(A, echo(H, [192, 0, 0, 1].into(), 8, 9)).bytes;
    bed.send(&icmp6(ROUTER, 1, 3, 0, &reply), Side::B4);
    assert!(bed.pieces().is_empty());
}

#[test]
fn a_narrow_path_lowers_the_mss() {
    covers("MSS-1");
    let mut bed = Bed::new();
    let syn = |mss: u16| {
        let mut syn = tcp(H, 5000, R1, 80, SYN);
        syn.payload[12] = 6 << 4;
        syn.payload.extend([&[2, 4][..], &mss.to_be_bytes()].concat());
        syn.with_transport_checksum()
    };
    let external = bed.open_udp(A, 5000);
    assert_eq!(bed.up(A, syn(1460)).to_internet().payload[22..], 1420u16.to_be_bytes());
    let quoted = bed.down(large(external, 1460)).bytes;
    too_big(&mut bed, 1400, &quoted);
    assert_eq!(bed.up(A, syn(1460)).to_internet().payload[22..], 1320u16.to_be_bytes());
    assert_eq!(bed.up(B, syn(1460)).to_internet().payload[22..], 1420u16.to_be_bytes());
}

#[test]
fn what_the_internet_does_not_take_is_told_or_cut() {
    covers("4787-REQ-13, 5508-7.1.1");
    covers("6864-4.3");
    let mut bed = Bed::with("access-mtu = 9000", "", "");
    let cause = udp(H, 5000, R1, 80).with_data(1972);
    let seen = bed.up(A, cause.clone()).rejected(A, DropReason::InMtu, 3, 4);
    assert_eq!((&seen.payload[4..8], seen.destination), (&[0, 0, 0x05, 0xdc][..], H));
    assert_eq!(seen.quoted(), &cause.bytes()[..seen.quoted().len()]);
    bed.assert_no_state();

    let first = bed.up(A, cause.loose(7)).to_internet_unread();
    let pieces = [vec![first], bed.pieces()].concat();
    let fields: Vec<_> = pieces
        .iter()
        .map(|piece| {
            let ip = Ipv4Packet::new(piece).expect("ip");
            assert_eq!(ip.get_checksum(), pnet_packet::ipv4::checksum(&ip));
            (piece.len(), ip.get_fragment_offset(), ip.get_flags(), ip.get_identification())
        })
        .collect();
    let id = fields[0].3;
    assert_eq!(fields, [(1500, 0, 1, id), (520, 185, 0, id)]);
    assert_eq!(bed.aftr.counters().fragments_to_internet.packets, 1);
}

#[test]
fn an_error_with_df_is_not_cut_and_nobody_is_told_about_it() {
    covers("6864-4.3");
    covers("1812-4.3.2.7");
    let mut bed = Bed::with("access-mtu = 9000", "", "");
    let sent = bed.up(A, udp(H, 5000, R1, 80)).to_internet();
    let mut got = bed.down(udp(R1, 80, sent.source, sent.sport)).to_b4(A).bytes;
    got.resize(1600, 0);
    let error = icmp(H, R1, 3, 3, [0; 4], &got);
    bed.up(A, error.clone()).dropped(DropReason::InMtu);
    bed.up(A, error.loose(7)).to_internet_unread();
    assert_eq!(bed.pieces().len(), 1, "without DF it is");
}

#[test]
fn pieces_are_cut_further_and_keep_the_options_that_say_so() {
    covers("4787-REQ-13, 5508-7.1.1");
    let mut bed = Bed::with("access-mtu = 9000", "external-mtu = 576", "");
    // Router alert is copied, an unknown one is not.
    let options = [148, 4, 0, 0, 30, 4, 1, 2];
    let datagram = udp(H, 5000, R1, 80).with_data(2992).loose(7).with_options(&options);
    let mut left = Vec::new();
    for piece in datagram.cut_at(&[1600]) {
        left.push(bed.up(A, piece).to_internet_unread());
        left.extend(bed.pieces());
    }
    let mut end = 0;
    for (number, piece) in left.iter().enumerate() {
        let ip = Ipv4Packet::new(piece).expect("ip");
        assert!(piece.len() <= 576);
        assert_eq!(ip.get_checksum(), pnet_packet::ipv4::checksum(&ip));
        assert_eq!(usize::from(ip.get_fragment_offset()) * 8, end);
        let starts_a_piece = end == 0 || end == 1600;
        end += piece.len() - usize::from(ip.get_header_length()) * 4;
        assert_eq!(ip.get_flags(), u8::from(number + 1 < left.len()));
        assert_eq!(ip.get_header_length(), if starts_a_piece { 7 } else { 6 }, "{number}");
    }
    assert_eq!(end, 3000);
}

#[test]
fn an_mtu_that_a_host_is_told_by_others_is_left_alone() {
    covers("5508-7.1.2-a");
    let mut bed = Bed::new();
    let sent = bed.up(A, udp(H, 5000, R1, 80)).to_internet();
    let seen = bed.down(icmp(R2, sent.source, 3, 4, [0, 0, 0x05, 0x78], &sent.bytes)).to_b4(A);
    assert_eq!(seen.payload[4..8], [0, 0, 0x05, 0x78]);
    // Unless the operator wants it lowered to what the tunnel takes.
    let mut bed = Bed::with("ptb-clamp = true", "", "");
    let sent = bed.up(A, udp(H, 5000, R1, 80)).to_internet();
    for (named, expected) in [(1500u16, 1460u16), (1400, 1400)] {
        let [a, b] = named.to_be_bytes();
        let seen = bed.down(icmp(R2, sent.source, 3, 4, [0, 0, a, b], &sent.bytes)).to_b4(A);
        assert_eq!(seen.payload[6..8], expected.to_be_bytes());
    }
    let seen = bed.down(icmp(R2, sent.source, 3, 3, [0, 0, 0xff, 0xff], &sent.bytes)).to_b4(A);
    assert_eq!(seen.payload[6..8], [0xff, 0xff]);
}
