//! Section 4 and rows M28 to M31: IPv4 datagrams that cross in pieces.

use std::net::SocketAddrV4;

use aftr::engine::{DropReason, Verdict};
use pnet_packet::ipv4::Ipv4Packet;

use crate::bed::*;

const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// A piece as it left.
#[derive(Debug)]
struct Piece {
    bytes: Vec<u8>,
}

impl Piece {
    fn view(&self) -> Ipv4Packet<'_> {
        Ipv4Packet::new(&self.bytes).expect("an IPv4 packet")
    }
}

/// Everything that leaves for a packet, in order, without the outer header.
fn all(bed: &mut Bed, outcome: Outcome) -> Vec<Piece> {
    let first = match outcome.verdict {
        Verdict::ToInternet | Verdict::ToB4 => vec![outcome.bytes],
        Verdict::Hold => Vec::new(),
        other @ (Verdict::Reply | Verdict::ToWorker(_) | Verdict::Drop(_) | Verdict::Reject(_)) => {
            panic!("{other:?}")
        }
    };
    let strip = |bytes: Vec<u8>| if bytes[0] >> 4 == 6 { bytes[40..].to_vec() } else { bytes };
    let pieces = [first, bed.pieces()].concat().into_iter().map(|bytes| Piece { bytes: strip(bytes) });
    pieces
        .inspect(|piece| assert_eq!(piece.view().get_checksum(), pnet_packet::ipv4::checksum(&piece.view())))
        .collect()
}

/// Puts pieces together as their receiver does; both checksums of the whole are right.
fn whole(pieces: &[Piece]) -> Seen {
    let first = pieces.iter().find(|piece| piece.view().get_fragment_offset() == 0).expect("the first piece");
    let mut bytes = first.bytes[..20].to_vec();
    let length = pieces.iter().map(|piece| piece.bytes.len() - 20).sum::<usize>();
    bytes.resize(20 + length, 0);
    for piece in pieces {
        let at = 20 + usize::from(piece.view().get_fragment_offset()) * 8;
        bytes[at..at + piece.bytes.len() - 20].copy_from_slice(&piece.bytes[20..]);
    }
    bytes[2..4].copy_from_slice(&((20 + length) as u16).to_be_bytes());
    bytes[6..8].fill(0);
    let sum = pnet_packet::ipv4::checksum(&Ipv4Packet::new(&bytes).expect("ip"));
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    Seen::read(&bytes)
}

fn large(source_port: u16, identification: u16) -> Inner {
    udp(H, source_port, R1, 80).with_data(3000).loose(identification)
}

#[test]
fn three_pieces_cross_to_the_internet_in_all_six_orders() {
    covers("4787-REQ-14");
    covers("6864-5.3.1");
    for order in ORDERS {
        let mut bed = Bed::new();
        let pieces = large(5000, 7).cut_at(&[1024, 2048]);
        let mut left = Vec::new();
        for at in order {
            let outcome = bed.up(A, pieces[at].clone());
            left.extend(all(&mut bed, outcome));
        }
        assert_eq!(left.len(), 3, "{order:?}");
        let seen = whole(&left);
        assert_eq!((seen.destination, seen.dport), (R1, 80));
        assert_eq!(seen.payload[8..], large(5000, 7).payload[8..]);
        let ids: Vec<u16> = left.iter().map(|piece| piece.view().get_identification()).collect();
        assert!(ids.iter().all(|&id| id == ids[0] && id != 7), "one new identification: {ids:?}");
        assert!(
            left.iter().all(|piece| piece.view().get_source() == seen.source && piece.view().get_ttl() == 63)
        );
        assert_eq!((bed.mappings(), bed.aftr.counters().fragments_resumed), (1, left_waiting(order)));
    }
}

/// How many pieces wait for the first one.
fn left_waiting(order: [usize; 3]) -> u64 {
    order.iter().position(|&at| at == 0).expect("the first") as u64
}

#[test]
fn three_pieces_cross_to_a_home_in_all_six_orders() {
    covers("4787-REQ-14");
    for order in ORDERS {
        let mut bed = Bed::with("access-mtu = 9000", "", "");
        let external = bed.open_udp(A, 5000);
        let datagram = udp(R1, 80, *external.ip(), external.port()).with_data(3000).loose(7);
        let pieces = datagram.cut_at(&[1024, 2048]);
        let mut left = Vec::new();
        for at in order {
            let outcome = bed.down(pieces[at].clone());
            left.extend(all(&mut bed, outcome));
        }
        assert_eq!(left.len(), 3, "{order:?}");
        let seen = whole(&left);
        assert_eq!((seen.source, seen.destination, seen.dport), (R1, H, 5000));
        assert_eq!(seen.payload[8..], datagram.payload[8..]);
        assert!(left.iter().all(|piece| piece.view().get_identification() == 7), "kept on the way in");
    }
}

#[test]
fn tcp_and_icmp_cross_in_pieces_and_between_homes_too() {
    covers("4787-REQ-14");
    let mut bed = Bed::with("access-mtu = 9000", "", "");
    let mut syn = tcp(H, 5000, R1, 80, SYN).loose(8);
    syn.payload.extend([5; 44]);
    let outcome = [0, 1].map(|at| bed.up(A, syn.clone().with_transport_checksum().cut_at(&[32])[at].clone()));
    let left: Vec<_> = outcome.into_iter().flat_map(|outcome| all(&mut bed, outcome)).collect();
    assert_eq!(whole(&left).dport, 80);

    let echo = icmp(H, R1, 8, 0, [0, 9, 0, 1], &[7; 2000]).loose(9);
    let pieces = echo.cut_at(&[1480]);
    let left: Vec<_> = pieces
        .into_iter()
        .flat_map(|piece| {
            let outcome = bed.up(A, piece);
            all(&mut bed, outcome)
        })
        .collect();
    let seen = whole(&left);
    let reply = icmp(R1, seen.source, 0, 0, [seen.payload[4], seen.payload[5], 0, 1], &[7; 2000]).loose(10);
    let left: Vec<_> = reply
        .cut_at(&[1480])
        .into_iter()
        .rev()
        .flat_map(|piece| {
            let outcome = bed.down(piece);
            all(&mut bed, outcome)
        })
        .collect();
    assert_eq!((whole(&left).destination, whole(&left).sport), (H, 9));

    // One home calls another, in pieces out of order.
    let called = bed.open_udp(B, 6000);
    let datagram = udp(H, 5001, *called.ip(), called.port()).with_data(2000).loose(11);
    let left: Vec<_> = datagram
        .cut_at(&[1024])
        .into_iter()
        .rev()
        .flat_map(|piece| {
            let outcome = bed.up(A, piece);
            all(&mut bed, outcome)
        })
        .collect();
    let seen = whole(&left);
    let caller = bed.aftr.mappings(bed.now).find(|mapping| mapping.internal.port() == 5001).expect("A's");
    assert_eq!((seen.from(), seen.destination, seen.dport), (caller.external, H, 6000));
    assert_eq!(bed.aftr.counters().hairpinned.packets, 2);
}

#[test]
fn a_piece_waits_two_seconds_for_the_first_one() {
    covers("6146-3.4-f");
    covers("M31");
    let pieces = large(5000, 7).cut_at(&[1024, 2048]);
    let mut bed = Bed::new();
    assert_eq!(bed.up(A, pieces[2].clone()).verdict, Verdict::Hold);
    bed.assert_no_state();
    bed.advance_millis(1900);
    let outcome = bed.up(A, pieces[0].clone());
    assert_eq!(all(&mut bed, outcome).len(), 2);

    let mut bed = Bed::new();
    bed.up(A, pieces[2].clone());
    assert!(bed.advance_millis(2600).is_empty());
    assert_eq!(bed.dropped(DropReason::V4FragNoContext), 1);
    let outcome = bed.up(A, pieces[0].clone());
    assert_eq!(all(&mut bed, outcome).len(), 1, "the late first one goes alone");
}

#[test]
fn a_datagram_is_remembered_for_ten_seconds() {
    covers("V4FRAG-1");
    let pieces = large(5000, 7).cut_at(&[1024, 2048]);
    let mut bed = Bed::new();
    bed.up(A, pieces[0].clone());
    bed.advance(9);
    bed.up(A, pieces[1].clone()).to_internet_unread();
    bed.advance(2);
    assert_eq!(bed.up(A, pieces[2].clone()).verdict, Verdict::Hold);
    bed.advance(3);
    assert_eq!((bed.dropped(DropReason::V4FragNoContext), bed.aftr.gauges().fragmented), (1, 0));
}

#[test]
fn two_homes_with_the_same_addresses_and_identification_are_not_mixed() {
    covers("V4FRAG-1");
    covers("6864-5.3.1");
    let mut bed = Bed::new();
    let pieces = large(5000, 7).cut_at(&[1024, 2048]);
    let mut left = [Vec::new(), Vec::new()];
    for (at, piece) in pieces.iter().enumerate().rev() {
        for (home, b4) in [A, B].into_iter().enumerate() {
            let mut piece = piece.clone();
            if at > 0 {
                piece.payload.fill(home as u8);
            }
            let outcome = bed.up(b4, piece);
            left[home].extend(all(&mut bed, outcome));
        }
    }
    for (home, pieces) in left.iter().enumerate() {
        assert_eq!(pieces.len(), 3);
        let first = pieces.iter().find(|piece| piece.view().get_fragment_offset() == 0).expect("the first");
        let port = u16::from_be_bytes([first.bytes[20], first.bytes[21]]);
        let mapping =
            bed.aftr.mappings(bed.now).find(|mapping| mapping.external.port() == port).expect("one");
        assert_eq!(mapping.b4.to_string(), [A, B][home]);
        for piece in pieces {
            assert_eq!(piece.view().get_source(), *mapping.external.ip());
            assert!(
                piece.view().get_fragment_offset() == 0
                    || piece.bytes[20..].iter().all(|&byte| byte == home as u8)
            );
        }
    }
    let ids = left.each_ref().map(|pieces| pieces[0].view().get_identification());
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn tiny_first_pieces_and_those_at_offset_one_kill_the_datagram() {
    covers("3128-3-a");
    covers("M30");
    // RFC 1858 section 3.1: the flags are in the second piece.
    let mut segment = tcp(H, 5000, R1, 80, ACK).loose(7);
    segment.payload.extend([0; 28]);
    let mut bed = Bed::new();
    for piece in [segment.piece(0, 8), segment.piece(0, 16)] {
        bed.up(A, piece).dropped(DropReason::V4FragTiny);
    }
    // RFC 3128: the first piece is long enough, and another one at offset 1 writes over its flags.
    segment = tcp(H, 5000, R1, 80, SYN).loose(8);
    segment.payload.extend([0; 28]);
    bed.up(A, segment.piece(0, 24)).to_internet_unread();
    bed.up(A, segment.piece(8, 24)).dropped(DropReason::V4FragTiny);
    bed.up(A, segment.piece(24, 48)).dropped(DropReason::V4FragTiny);
    // RFC 791: what others follow is a multiple of eight; and nothing is no piece.
    bed.up(A, large(5000, 9).piece(0, 1021)).dropped(DropReason::V4FragTiny);
    bed.up(A, large(5000, 9).piece(1024, 1024)).dropped(DropReason::V4FragTiny);
    // UDP needs its ports only.
    bed.up(A, large(5000, 10).piece(0, 8)).to_internet_unread();
}

#[test]
fn overlaps_and_too_many_pieces_kill_the_datagram_and_a_duplicate_passes() {
    covers("1858-4-a");
    covers("M30");
    let mut bed = Bed::new();
    let datagram = large(5000, 7);
    let first = bed.up(A, datagram.piece(0, 1024)).to_internet_unread();
    let again = bed.up(A, datagram.piece(0, 1024)).to_internet_unread();
    assert_eq!(first, again, "the same piece leaves again, with the same identification");
    bed.up(A, datagram.piece(1024, 2048)).to_internet_unread();
    bed.up(A, datagram.piece(1024, 2048)).to_internet_unread();
    bed.up(A, datagram.piece(2040, 2056)).dropped(DropReason::V4FragOverlap);
    bed.up(A, datagram.piece(2048, 3008)).dropped(DropReason::V4FragOverlap);
    // Pieces that wait go with the others.
    let datagram = large(5000, 8);
    bed.up(A, datagram.piece(1024, 2048));
    bed.up(A, datagram.piece(2040, 2056)).dropped(DropReason::V4FragOverlap);
    assert_eq!(bed.dropped(DropReason::V4FragOverlap), 4);
    let datagram = large(5000, 9);
    bed.up(A, datagram.piece(0, 8)).to_internet_unread();
    for at in 1..64 {
        bed.up(A, datagram.piece(at * 8, at * 8 + 8)).to_internet_unread();
    }
    bed.up(A, datagram.piece(512, 520)).dropped(DropReason::V4FragMany);
}

/// Who guesses an identification must not draw another home's pieces to his own.
#[test]
fn a_second_first_piece_with_other_ports_kills_the_datagram() {
    covers("1858-4-a");
    covers("INV-3");
    let mut bed = Bed::with("access-mtu = 9000", "", ONE_ADDRESS);
    let (victim, spy) = (bed.open_udp(A, 5000), bed.open_udp(B, 5000));
    assert_eq!(victim.ip(), spy.ip());
    let to = |external: SocketAddrV4| udp(R1, 80, *external.ip(), external.port()).with_data(2000).loose(7);
    assert_eq!(bed.down(to(victim).piece(0, 1024)).verdict, Verdict::ToB4);
    bed.down(to(spy).piece(0, 1024)).dropped(DropReason::V4FragOverlap);
    bed.down(to(victim).piece(1024, 2008)).dropped(DropReason::V4FragOverlap);
}

#[test]
fn no_datagram_grows_beyond_65535_octets() {
    covers("M29");
    let mut bed = Bed::new();
    let mut beyond = large(5000, 7).piece(0, 1024);
    bed.up(A, beyond.clone()).to_internet_unread();
    beyond.offset = 65_528 - 1000;
    bed.up(A, beyond).dropped(DropReason::V4FragBig);
    bed.up(A, large(5000, 7).piece(1024, 2048)).dropped(DropReason::V4FragBig);
}

#[test]
fn reserved_bits_and_df_on_a_piece_are_left_alone() {
    covers("M28");
    covers("6864-4.3");
    let mut bed = Bed::new();
    for (at, flags) in [4, 6, 2, 0].into_iter().enumerate() {
        let mut packet = udp(H, 5000, R1, 80).loose(at as u16);
        packet.flags = flags;
        let left = bed.up(A, packet).to_internet();
        assert_eq!(left.bytes[6] >> 5, flags);
    }
    let mut datagram = large(5000, 7);
    datagram.flags = 2;
    let left = bed.up(A, datagram.piece(0, 1024)).to_internet_unread();
    assert_eq!(left[6] >> 5, 3, "DF and MF");
    // It must not be cut further.
    let mut bed = Bed::with("", "external-mtu = 1000", "");
    let seen = bed.up(A, datagram.piece(0, 1024)).rejected(A, DropReason::InMtu, 3, 4);
    assert_eq!(u16::from_be_bytes([seen.payload[6], seen.payload[7]]), 1000);
}

#[test]
fn a_refused_first_piece_takes_the_others_with_it() {
    covers("4787-REQ-14");
    covers("ORD-4");
    covers("1812-4.3.2.7");
    let mut bed = Bed::with("", "", "[[policy.deny-from-b4]]\nprefix = \"203.0.113.0/24\"");
    let pieces = large(5000, 7).cut_at(&[1024, 2048]);
    assert_eq!(bed.up(A, pieces[2].clone()).verdict, Verdict::Hold);
    bed.up(A, pieces[0].clone()).rejected(A, DropReason::Policy, 3, 13);
    assert_eq!(bed.dropped(DropReason::Policy), 2);
    bed.up(A, pieces[1].clone()).dropped(DropReason::Policy);
    bed.assert_no_state();
    // From the Internet, to a port that nobody has.
    let stray = udp(R1, 80, [192, 0, 2, 1].into(), 2000).with_data(2000).loose(7);
    for piece in stray.cut_at(&[1024]) {
        bed.down(piece).dropped(DropReason::NatNoMapping);
    }
}

#[test]
fn an_error_about_a_first_piece_goes_through_and_one_about_a_later_piece_does_not() {
    covers("5508-REQ-4");
    covers("1812-4.3.2.7");
    let mut bed = Bed::new();
    let pieces = large(5000, 7).cut_at(&[1024]);
    let left: Vec<_> = pieces.iter().map(|piece| bed.up(A, piece.clone()).to_internet_unread()).collect();
    let source = Ipv4Packet::new(&left[0]).expect("ip").get_source();
    let seen = bed.down(icmp(R2, source, 11, 0, [0; 4], &left[0][..56])).to_b4(A);
    assert_eq!(seen.quoted()[12..16], H.octets());
    assert_eq!(seen.quoted()[20..22], 5000u16.to_be_bytes());
    bed.down(icmp(R2, source, 11, 0, [0; 4], &left[1][..56])).dropped(DropReason::IcmpQuoted);
    // Our own: the TTL of a first piece is used up, and then that of a later one.
    bed.up(A, pieces[0].clone().ttl(1)).rejected(A, DropReason::InTtl, 11, 0);
    bed.up(A, pieces[1].clone().ttl(1)).dropped(DropReason::InTtl);
    // An error that comes in pieces itself is nobody's.
    let error = icmp(R2, source, 11, 0, [0; 4], &left[0][..556]).loose(9);
    bed.down(error.piece(0, 256)).dropped(DropReason::IcmpQuoted);
}

#[test]
fn a_flood_of_pieces_hurts_its_sender_only() {
    covers("4787-14a-v4");
    let limits = "[nat.fragments]\nlimit-per-subscriber = 8\nlimit = 32";
    let mut bed = Bed::with("", "", limits);
    let to = |bed: &mut Bed, b4: &str, external: SocketAddrV4, id: u16| {
        let datagram = udp(R1, 80, *external.ip(), external.port()).with_data(1000).loose(id);
        for piece in datagram.cut_at(&[512]) {
            assert_eq!(bed.down(piece).verdict, Verdict::ToB4, "{b4}");
        }
    };
    let external = bed.open_udp(B, 6000);
    for identification in 0..500 {
        // From a home: pieces that nobody's first one comes to.
        assert_eq!(bed.up(A, large(5000, identification).piece(1024, 2048)).verdict, Verdict::Hold);
        // From the Internet: the same, to the very address that B has.
        let stray = udp(R2, 9, *external.ip(), 9).with_data(2000).loose(identification);
        assert_eq!(bed.down(stray.piece(1024, 2008)).verdict, Verdict::Hold);
        for piece in large(6000, identification).cut_at(&[1024, 2048]) {
            bed.up(B, piece).to_internet_unread();
        }
        to(&mut bed, B, external, identification);
    }
    // The last datagram for B took a place at its address until its first piece was let in.
    assert_eq!(bed.dropped(DropReason::V4FragMem), 2 * (500 - 8) + 1);
    assert!(bed.aftr.gauges().fragmented <= 4 * 8);
}

#[test]
fn untranslated_flows_cross_in_pieces_too() {
    covers("4787-REQ-14");
    covers("6888-REQ-6");
    let mut bed = Bed::with("", "", "[[nat.nat-pass-through]]\nprefix = \"203.0.113.1/32\"");
    let pieces = large(5000, 7).cut_at(&[1024, 2048]);
    let mut left = Vec::new();
    for at in [2, 0, 1] {
        let outcome = bed.up(A, pieces[at].clone());
        left.extend(all(&mut bed, outcome));
    }
    assert_eq!((left.len(), whole(&left).source), (3, H));
    let back = udp(R1, 80, H, 5000).with_data(2000).loose(3).cut_at(&[1024]);
    let mut left = Vec::new();
    for piece in back.into_iter().rev() {
        let outcome = bed.down(piece);
        left.extend(all(&mut bed, outcome));
    }
    assert_eq!((left.len(), whole(&left).destination), (2, H));
    assert_eq!(bed.mappings(), 0);
    // Another home with the same addresses does not get into the flow.
    bed.up(B, pieces[0].clone()).rejected(B, DropReason::PassClash, 3, 1);
    bed.up(B, pieces[1].clone()).dropped(DropReason::PassClash);
}

#[test]
fn the_room_of_all_is_given_back() {
    covers("4787-14a-v4");
    let limits = "[nat.fragments]\noctets-per-subscriber = 131072\noctets = 131072";
    let mut bed = Bed::with("", "", limits);
    // Pieces that were drawn after their first one, and pieces that waited in vain.
    for identification in 0..400 {
        let pieces = large(5000, identification).cut_at(&[1024, 2048]);
        assert_eq!(bed.up(A, pieces[2].clone()).verdict, Verdict::Hold);
        if identification % 2 == 0 {
            bed.up(A, pieces[0].clone()).to_internet_unread();
        }
        bed.pieces();
        bed.advance(3);
    }
    assert_eq!(bed.dropped(DropReason::V4FragMem), 0);
}
