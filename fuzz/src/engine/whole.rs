//! Pieces put together again, as whoever receives them would.

use std::collections::BTreeMap;

use aftr::wire::Side;

use super::packet;
use super::view::{V4, V6};

/// The IPv4 packets in what left, those that came in pieces of an outer packet too.
pub(super) fn ipv4_packets(left: &[(Vec<u8>, Side)]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut pieces = BTreeMap::<_, Vec<V6<'_>>>::new();
    for (bytes, side) in left {
        match (side, V6::read(bytes)) {
            (Side::Internet, _) => found.push(bytes.clone()),
            (Side::B4, Some(outer)) if outer.bytes[6] == 44 => {
                let key = (outer.source(), outer.destination(), [44, 45, 46, 47].map(|at| bytes[at]));
                pieces.entry(key).or_default().push(outer);
            }
            (Side::B4, outer) => {
                found.extend(outer.and_then(|outer| outer.inner()).map(|inner| inner.bytes.to_vec()))
            }
        }
    }
    for pieces in pieces.values() {
        let whole = join_v6(pieces);
        found.extend(V6::read(&whole).and_then(|outer| outer.inner()).map(|inner| inner.bytes.to_vec()));
    }
    found
}

/// The packet that the pieces of one outer packet make, which must be all there and not overlap.
pub(super) fn join_v6(pieces: &[V6<'_>]) -> Vec<u8> {
    let field = |piece: &V6<'_>| u16::from_be_bytes([piece.bytes[42], piece.bytes[43]]);
    let mut sorted: Vec<&V6<'_>> = pieces.iter().collect();
    sorted.sort_by_key(|piece| field(piece) & !7);
    let mut payload = Vec::new();
    for piece in &sorted {
        assert_eq!(usize::from(field(piece) & !7), payload.len(), "a hole or an overlap");
        assert!(field(piece) & 1 == 0 || piece.bytes.len().is_multiple_of(8), "a piece of an odd length");
        payload.extend(&piece.bytes[48..]);
    }
    assert!(sorted.len() > 1, "an atomic fragment, RFC 8021");
    let last = sorted.iter().filter(|piece| field(piece) & 1 == 0).count();
    assert!(last == 1 && field(sorted[sorted.len() - 1]) & 1 == 0, "no end");
    let first = sorted[0];
    packet::ipv6(first.source(), first.destination(), 0, first.bytes[40], &payload)
}

/// The datagrams among IPv4 packets: those that are whole, and those of which all pieces are there.
pub(super) fn datagrams(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut pieces = BTreeMap::<_, Vec<V4<'_>>>::new();
    for packet in packets.iter().filter_map(|bytes| V4::read(bytes)) {
        if packet.is_fragment() {
            let key = (
                packet.source(),
                packet.destination(),
                packet.protocol(),
                [packet.bytes[4], packet.bytes[5]],
            );
            pieces.entry(key).or_default().push(packet);
        } else {
            found.push(packet.bytes.to_vec());
        }
    }
    found.extend(pieces.values_mut().filter_map(|pieces| join_v4(pieces)));
    found
}

fn join_v4(pieces: &mut [V4<'_>]) -> Option<Vec<u8>> {
    let field = |piece: &V4<'_>| u16::from_be_bytes([piece.bytes[6], piece.bytes[7]]) & 0x3fff;
    pieces.sort_by_key(|piece| field(piece) & 0x1fff);
    let first = pieces.first().filter(|piece| field(piece) == 0x2000)?;
    let mut whole = first.bytes[..first.header()].to_vec();
    for piece in pieces.iter() {
        let at = usize::from(field(piece) & 0x1fff) * 8;
        let had = whole.len() - first.header();
        if at + piece.payload().len() <= had {
            continue;
        }
        if at != had {
            return None;
        }
        whole.extend(piece.payload());
    }
    let length = u16::try_from(whole.len()).ok()?;
    let is_complete = field(&pieces[pieces.len() - 1]) & 0x2000 == 0;
    whole[2..4].copy_from_slice(&length.to_be_bytes());
    whole[6] &= 0x40;
    whole[7] = 0;
    whole[10..12].fill(0);
    let sum = packet::checksum(&[&whole[..first.header()]]);
    whole[10..12].copy_from_slice(&sum.to_be_bytes());
    is_complete.then_some(whole)
}
