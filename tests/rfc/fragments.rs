//! Section 4, as far as it is built: a packet that the path to the B4 does not take whole.

use std::net::SocketAddrV4;

use pnet_packet::Packet as _;
use pnet_packet::ipv6::Ipv6Packet;

use crate::bed::*;

/// A UDP packet of `length` bytes from R1:80.
fn packet_of(length: usize, to: SocketAddrV4) -> Inner {
    let mut packet = udp(R1, 80, *to.ip(), to.port());
    packet.payload = (0..length - 20).map(|at| (at * 7) as u8).collect();
    let ports =
        [80u16.to_be_bytes(), to.port().to_be_bytes(), ((length - 20) as u16).to_be_bytes(), [0, 0]].concat();
    packet.payload[..8].copy_from_slice(&ports);
    packet.with_transport_checksum()
}

/// Every packet that leaves for one that comes.
fn sent(bed: &mut Bed, packet: Inner) -> Vec<Vec<u8>> {
    let first = bed.down(packet);
    assert_eq!(first.verdict, aftr::engine::Verdict::ToB4);
    [vec![first.bytes], bed.pieces()].concat()
}

/// Puts pieces together as a B4 does (RFC 8200 section 4.5), and gives the identification, too.
fn reassemble(pieces: &[Vec<u8>]) -> (u32, Vec<u8>) {
    let mut whole = Vec::new();
    let mut identifications = Vec::new();
    for (number, piece) in pieces.iter().enumerate() {
        let outer = Ipv6Packet::new(piece).expect("an IPv6 packet");
        assert_eq!(
            (outer.get_next_header().0, usize::from(outer.get_payload_length())),
            (44, piece.len() - 40)
        );
        let header = &outer.payload()[..8];
        assert_eq!((header[0], header[1]), (4, 0));
        let word = u16::from_be_bytes([header[2], header[3]]);
        assert_eq!(usize::from(word & !7), whole.len(), "pieces leave in order");
        assert_eq!(word & 1 == 1, number + 1 < pieces.len(), "more follow, but for the last");
        identifications.push(u32::from_be_bytes([header[4], header[5], header[6], header[7]]));
        whole.extend_from_slice(&outer.payload()[8..]);
    }
    assert!(identifications.iter().all(|id| *id == identifications[0]));
    (identifications[0], whole)
}

#[test]
fn what_is_too_large_is_cut_after_encapsulation_whatever_df_says() {
    covers("6333-6.3-a");
    covers("6333-6.3-b");
    for (mtu, length, sizes) in [
        (1500, 1500, vec![1496, 100]),
        (1280, 1500, vec![1280, 316]),
        (1500, 1460, vec![1500]),
        (1500, 1461, vec![1496, 61]),
        (1280, 4000, vec![1280, 1280, 1280, 352]),
    ] {
        let mut bed = Bed::with(&format!("access-mtu = {mtu}"), "", "");
        let external = bed.open_udp(A, 5000);
        let pieces = sent(&mut bed, packet_of(length, external));
        assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), sizes, "{length} over {mtu}");
        if pieces.len() > 1 {
            // The bed's packets carry DF, and keep it.
            let seen = Seen::read(&reassemble(&pieces).1);
            assert_eq!(
                (seen.destination, seen.dport, seen.bytes.len(), seen.bytes[6]),
                (H, 5000, length, 0x40)
            );
            assert_eq!(seen.payload[8..], packet_of(length, external).payload[8..]);
            let counted = bed.aftr.counters().fragments_to_b4;
            assert_eq!(counted.packets as usize, pieces.len() - 1);
        }
    }
}

#[test]
fn identifications_are_not_sequential_between_b4s_and_do_not_repeat() {
    covers("7739-5-a");
    covers("8021-a");
    let mut bed = Bed::new();
    let externals = [A, B].map(|b4| bed.open_udp(b4, 5000));
    let mut seen = [Vec::new(), Vec::new()];
    for _ in 0..2_000 {
        for (ids, external) in seen.iter_mut().zip(externals) {
            let pieces = sent(&mut bed, packet_of(1500, external));
            assert!(pieces.len() > 1, "an atomic fragment never leaves");
            ids.push(reassemble(&pieces).0);
        }
    }
    for ids in &mut seen {
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }
    assert!(seen[0][0].abs_diff(seen[1][0]) > 10_000, "both count from the same number");
}
