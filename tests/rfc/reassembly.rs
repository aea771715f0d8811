//! Section 4 and rows M11 to M14: outer packets in fragments.

use aftr::engine::{DropReason, Verdict};
use aftr::wire::Side;

use crate::bed::*;

/// The fragments of an outer packet, each with `step` octets of it.
pub(crate) fn outer_pieces(
    b4: &str,
    identification: u32,
    class: u8,
    inner: &[u8],
    step: usize,
) -> Vec<Vec<u8>> {
    let count = inner.len().div_ceil(step);
    inner
        .chunks(step)
        .enumerate()
        .map(|(at, chunk)| outer_piece(b4, identification, class, at * step, at + 1 < count, chunk))
        .collect()
}

/// One fragment, whatever it says.
pub(crate) fn outer_piece(
    b4: &str,
    identification: u32,
    class: u8,
    offset: usize,
    more: bool,
    data: &[u8],
) -> Vec<u8> {
    encapsulate(b4, T, class, 44, &fragment_header(4, identification, offset, more), data)
}

fn fragment_header(next: u8, identification: u32, offset: usize, more: bool) -> Vec<u8> {
    let word = (offset as u16 & !7) | u16::from(more);
    [&[next, 0][..], &word.to_be_bytes(), &identification.to_be_bytes()].concat()
}

fn large(length: usize) -> Inner {
    udp(H, 5000, R1, 80).with_data(length)
}

/// Sends the pieces; gives what the last one brought about.
fn last(bed: &mut Bed, pieces: &[Vec<u8>]) -> Outcome {
    let (last, others) = pieces.split_last().expect("a piece");
    for piece in others {
        assert_eq!(bed.send(piece, Side::B4).verdict, Verdict::Hold);
    }
    bed.send(last, Side::B4)
}

#[test]
fn fragments_become_one_packet_in_any_order_and_duplicates_do_no_harm() {
    covers("6333-6.3-c");
    covers("8200-5-a");
    let inner = large(3000).bytes();
    let pieces = outer_pieces(A, 7, 0, &inner, 1024);
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut bed = Bed::with("", "external-mtu = 9000", "");
        let ordered: Vec<_> = order.iter().map(|&at| pieces[at].clone()).collect();
        assert_eq!(bed.send(&ordered[0], Side::B4).verdict, Verdict::Hold);
        let seen = last(&mut bed, &ordered).to_internet();
        assert_eq!(seen.payload[8..], large(3000).payload[8..], "{order:?}");
        assert_eq!(bed.aftr.gauges().reassembling, 0);
    }
    for length in [1540 - 20 - 8, 9000] {
        let mut bed = Bed::with("", "external-mtu = 65535", "");
        let pieces = outer_pieces(A, 7, 0, &large(length).bytes(), 1280);
        assert_eq!(last(&mut bed, &pieces).to_internet().bytes.len(), length + 28);
    }
}

#[test]
fn after_60_s_a_packet_is_given_up_and_the_b4_is_told_if_the_first_piece_came() {
    covers("8200-4.5-a");
    covers("M14");
    let pieces = outer_pieces(A, 7, 0, &large(2000).bytes(), 1024);
    let mut bed = Bed::new();
    bed.send(&pieces[0], Side::B4);
    assert!(bed.advance(59).is_empty());
    let told = bed.advance(2);
    let [(error, Side::B4)] = told.as_slice() else { panic!("{told:?}") };
    let seen = Outcome { verdict: Verdict::Reject(DropReason::V6FragTimeout), bytes: error.clone() };
    seen.rejected6(DropReason::V6FragTimeout, 3, 1);
    assert_eq!(error[48..], pieces[0][..error.len() - 48], "it quotes the piece as it came");
    assert_eq!(bed.dropped(DropReason::V6FragTimeout), 1);
    // The second piece comes too late to be of any use.
    assert_eq!(bed.send(&pieces[1], Side::B4).verdict, Verdict::Hold);
    assert!(bed.advance(61).is_empty(), "without the first piece nobody is told");
    assert_eq!((bed.dropped(DropReason::V6FragTimeout), bed.aftr.gauges().reassembling), (2, 0));
    bed.assert_no_state();
}

#[test]
fn a_piece_that_others_follow_is_a_multiple_of_eight() {
    covers("8200-4.5-b");
    covers("M11");
    let mut bed = Bed::new();
    let odd = outer_piece(A, 7, 0, 0, true, &large(2000).bytes()[..1001]);
    assert_eq!(bed.send(&odd, Side::B4).rejected6(DropReason::V6FragLen, 4, 0), 4);
    bed.send(&outer_piece(A, 7, 0, 8, true, &[]), Side::B4).dropped(DropReason::V6FragLen);
    bed.assert_no_state();
    assert_eq!(bed.aftr.gauges().reassembling, 0);
}

#[test]
fn no_packet_grows_beyond_65535_octets() {
    covers("8200-4.5-c");
    covers("M12");
    let mut bed = Bed::new();
    let beyond = outer_piece(A, 7, 0, 8191 * 8, true, &[0; 64]);
    assert_eq!(bed.send(&beyond, Side::B4).rejected6(DropReason::V6FragBig, 4, 0), 42);
    // What stands in front of the fragment header counts too, and moves the pointer.
    let options = [44, 0, 1, 4, 0, 0, 0, 0];
    let extension = [&options[..], &fragment_header(4, 7, 8190 * 8, false)].concat();
    let beyond = encapsulate(A, T, 0, 60, &extension, &[0; 14]);
    assert_eq!(bed.send(&beyond, Side::B4).rejected6(DropReason::V6FragBig, 4, 0), 50);
    let just = outer_piece(A, 7, 0, 8190 * 8, false, &[0; 15]);
    assert_eq!(bed.send(&just, Side::B4).verdict, Verdict::Hold);
}

#[test]
fn the_first_piece_has_the_whole_header_chain() {
    covers("8200-4.5-d");
    covers("M14");
    let mut bed = Bed::new();
    let header = fragment_header(60, 7, 0, true);
    // Destination options of 24 octets, of which 8 are here.
    let cut = encapsulate(A, T, 0, 44, &header, &[4, 2, 1, 20, 0, 0, 0, 0]);
    assert_eq!(bed.send(&cut, Side::B4).rejected6(DropReason::V6FragChain, 4, 3), 0);
    // Cut right behind the chain it is good enough: the inner header is looked at in the whole packet.
    let whole = encapsulate(A, T, 0, 44, &header, &[4, 0, 1, 4, 0, 0, 0, 0]);
    assert_eq!(bed.send(&whole, Side::B4).verdict, Verdict::Hold);
    let rest = encapsulate(A, T, 0, 44, &fragment_header(60, 7, 8, false), &udp(H, 5000, R1, 80).bytes());
    assert_eq!(bed.send(&rest, Side::B4).to_internet().dport, 80);
}

#[test]
fn an_overlap_kills_the_packet_for_60_s() {
    covers("8200-4.5-e");
    covers("M13");
    let pieces = outer_pieces(A, 7, 0, &large(2000).bytes(), 1024);
    let mut bed = Bed::with("", "external-mtu = 9000", "");
    bed.send(&pieces[0], Side::B4);
    let overlap = outer_piece(A, 7, 0, 1016, true, &[0; 64]);
    bed.send(&overlap, Side::B4).dropped(DropReason::V6FragOverlap);
    assert_eq!(bed.dropped(DropReason::V6FragOverlap), 2, "the piece that was kept, too");
    for piece in &pieces {
        bed.send(piece, Side::B4).dropped(DropReason::V6FragOverlap);
    }
    assert!(bed.advance(61).is_empty(), "silence");
    last(&mut bed, &pieces).to_internet();
    // Two last pieces that disagree, and a duplicate with other content.
    for second in [outer_piece(A, 8, 0, 2048, false, &[0; 8]), outer_piece(A, 8, 0, 1024, false, &[9; 1004])]
    {
        bed.send(&pieces_with_id(&pieces[1], 8), Side::B4);
        bed.send(&second, Side::B4).dropped(DropReason::V6FragOverlap);
        bed.advance(61);
    }
}

fn pieces_with_id(piece: &[u8], identification: u8) -> Vec<u8> {
    let mut piece = piece.to_vec();
    piece[47] = identification;
    piece
}

#[test]
fn sixty_four_pieces_are_enough() {
    covers("M13");
    let mut bed = Bed::with("", "external-mtu = 9000", "");
    let pieces = outer_pieces(A, 7, 0, &large(64 * 32 - 28).bytes(), 32);
    assert_eq!(pieces.len(), 64);
    last(&mut bed, &pieces).to_internet();
    let many = outer_pieces(A, 8, 0, &large(65 * 32 - 28).bytes(), 32);
    last(&mut bed, &many).dropped(DropReason::V6FragMany);
    assert_eq!(bed.dropped(DropReason::V6FragMany), 65);
}

#[test]
fn an_atomic_fragment_is_a_packet_of_its_own() {
    covers("6946-4-a");
    let mut bed = Bed::with("", "external-mtu = 9000", "");
    let pieces = outer_pieces(A, 7, 0, &large(2000).bytes(), 1024);
    bed.send(&pieces[0], Side::B4);
    let atomic = outer_piece(A, 7, 0, 0, false, &udp(H, 6000, R1, 80).bytes());
    assert_eq!(bed.send(&atomic, Side::B4).to_internet().payload.len(), 26);
    assert_eq!(bed.send(&pieces[1], Side::B4).to_internet().payload.len(), 2008);
}

#[test]
fn the_tunnel_encapsulation_limit_passes_in_front_of_and_inside_fragments() {
    covers("2473-5.1-a");
    covers("2473-3.3-a");
    let limit = [4, 0, 4, 1, 4, 1, 1, 0];
    let inner = large(2000).bytes();
    let whole = [&limit[..], &inner].concat();
    let mut bed = Bed::with("", "external-mtu = 9000", "");
    // As Linux sends it: the option is in the part that is cut.
    for (at, chunk) in whole.chunks(1024).enumerate() {
        let header = fragment_header(60, 7, at * 1024, at == 0);
        let outcome = bed.send(&encapsulate(A, T, 0, 44, &header, chunk), Side::B4);
        assert_eq!(outcome.verdict, if at == 0 { Verdict::Hold } else { Verdict::ToInternet });
    }
    let before = [44, 0, 4, 1, 4, 1, 1, 0];
    for (at, chunk) in inner.chunks(1024).enumerate() {
        let extension = [&before[..], &fragment_header(4, 8, at * 1024, at == 0)].concat();
        let outcome = bed.send(&encapsulate(A, T, 0, 60, &extension, chunk), Side::B4);
        assert_eq!(outcome.verdict, if at == 0 { Verdict::Hold } else { Verdict::ToInternet });
    }
    // A fragment inside a fragment is nobody's honest packet.
    let nested = [fragment_header(44, 9, 0, false), fragment_header(4, 9, 0, false)].concat();
    bed.send(&encapsulate(A, T, 0, 44, &nested, &inner), Side::B4).dropped(DropReason::V6ExtensionHeader);
}

#[test]
fn congestion_marks_survive_reassembly() {
    covers("3168-5.3-a");
    let (not_ect, ect, ce) = (0, 2, 3);
    for (classes, expected) in [
        ([ect, ce], Some(ce)),
        ([ce, ect], Some(ce)),
        ([ce, ce], Some(ce)),
        ([ect, ect], Some(ect)),
        ([ce, not_ect], None),
        ([not_ect, ce], None),
        ([not_ect, ect], Some(ect)),
    ] {
        let mut bed = Bed::with("", "external-mtu = 9000", "");
        let inner = large(2000).tos(2).bytes();
        let pieces: Vec<_> =
            [0, 1].map(|at| outer_pieces(A, 7, classes[at], &inner, 1024)[at].clone()).into();
        let outcome = last(&mut bed, &pieces);
        match expected {
            Some(mark) => assert_eq!(outcome.to_internet().tos, mark, "{classes:?}"),
            None => outcome.dropped(DropReason::Ecn),
        }
    }
}

#[test]
fn an_unauthorised_source_gets_no_memory() {
    covers("6333-11-c, 4213-3.6-b");
    covers("M5");
    let mut bed = Bed::new();
    for piece in outer_pieces(X, 7, 0, &large(2000).bytes(), 1024) {
        bed.send(&piece, Side::B4).dropped(DropReason::V6Acl);
    }
    assert_eq!(bed.aftr.gauges().reassembling, 0);
}

#[test]
fn a_flood_of_first_pieces_hurts_its_sender_only() {
    covers("4787-14a-v6");
    let limits = "[softwire.reassembly]\nlimit-per-subscriber = 8\nlimit = 16";
    let mut bed = Bed::with("", "external-mtu = 9000", limits);
    let inner = large(2000).bytes();
    for identification in 0..1000 {
        let piece = &outer_pieces(A, identification, 0, &inner, 1024)[0];
        assert_eq!(bed.send(piece, Side::B4).verdict, Verdict::Hold);
        // B goes on in pieces and whole.
        last(&mut bed, &outer_pieces(B, identification, 0, &inner, 1024)).to_internet();
        bed.up(B, udp(H, 5001, R1, 80)).to_internet();
    }
    assert_eq!(bed.aftr.gauges().reassembling, 8);
    assert_eq!(bed.dropped(DropReason::V6FragMem), 1000 - 8);
    // A's newest packets are still worth something.
    bed.send(&outer_pieces(A, 999, 0, &inner, 1024)[1], Side::B4).to_internet();
}

#[test]
fn a_home_keeps_no_more_octets_than_it_may() {
    covers("4787-14a-v6");
    let mut bed = Bed::of_one_worker("", "", "[softwire.reassembly]\noctets-per-subscriber = 131072");
    let filler = vec![0; 60_000];
    for identification in 0..4 {
        bed.send(&outer_piece(A, identification, 0, 0, true, &filler), Side::B4);
    }
    assert_eq!((bed.aftr.gauges().reassembling, bed.dropped(DropReason::V6FragMem)), (2, 2));
    // One packet alone cannot have more either: its own pieces do not push each other out.
    let mut bed =
        Bed::of_one_worker("", "", "[softwire.reassembly]\noctets-per-subscriber = 131072\noctets = 131072");
    bed.send(&outer_piece(A, 1, 0, 0, true, &filler), Side::B4);
    bed.send(&outer_piece(B, 1, 0, 0, true, &filler), Side::B4);
    bed.send(&outer_piece(B, 2, 0, 0, true, &filler), Side::B4).dropped(DropReason::V6FragMem);
    assert_eq!(bed.aftr.gauges().reassembling, 3, "nobody else's was given up");
}

#[test]
fn the_room_of_all_is_given_back() {
    covers("4787-14a-v6");
    let limits = "[softwire.reassembly]\noctets-per-subscriber = 131072\noctets = 131072";
    let mut bed = Bed::with("", "external-mtu = 9000", limits);
    // Packets that became whole, and packets that did not.
    for identification in 0..200 {
        let pieces = outer_pieces(A, identification, 0, &large(2000).bytes(), 1024);
        last(&mut bed, &pieces).to_internet();
    }
    for identification in 0..10 {
        bed.send(&outer_piece(B, identification, 0, 0, true, &[0; 40_000]), Side::B4);
        bed.advance(if identification % 2 == 0 { 0 } else { 61 });
    }
    assert_eq!(bed.dropped(DropReason::V6FragMem), 0);
}
