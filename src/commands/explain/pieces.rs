//! The fragments that were played: what an explanation needs to see a packet whole, and to know the ports
//! of a piece that has none. The engine keeps its own; this only remembers what went by.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::packet::{Ends, OuterPiece, inside};
use crate::engine::{DropReason, Instant, Verdict};
use crate::wire::Side;
use crate::wire::ipv4::Ipv4;
use crate::wire::ipv6::Ipv6;
use zerocopy::IntoBytes;

/// Milliseconds that pieces of an outer packet are put together (RFC 8200 section 4.5).
const OUTER_LIFE: u64 = 60_000;
/// Milliseconds that a datagram in pieces is remembered (RFC 4963).
const DATAGRAM_LIFE: u64 = 10_000;

/// Every fragment that was played and may still matter.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    outer: Vec<Outer>,
    first: Vec<First>,
}

/// A fragment of an outer packet.
#[derive(Debug)]
struct Outer {
    at: Instant,
    packet: Vec<u8>,
    /// Not waiting: it made its packet whole, or was refused.
    ends: bool,
}

/// The first piece of an IPv4 datagram.
#[derive(Debug)]
struct First {
    at: Instant,
    key: Key,
    ends: Ends,
}

/// What pieces of one datagram have in common (RFC 791 section 3.2), and their softwire.
type Key = (Option<Ipv6Addr>, Ipv4Addr, Ipv4Addr, u8, u16);

/// An outer packet as it is decapsulated.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) packet: Vec<u8>,
    /// How many fragments it was made of; 0 when it came whole.
    pub(super) fragments: usize,
}

impl Pieces {
    /// Remembers a packet that was played.
    pub(super) fn note(&mut self, side: Side, at: Instant, packet: &[u8], verdict: Verdict) {
        if side == Side::Internet {
            self.note_datagram(None, at, packet);
            return;
        }
        if let Some(whole) = self.whole(at, packet)
            && let (Some(header), Some(datagram)) = (Ipv6::view(&whole.packet), inside(&whole.packet))
        {
            let b4 = header.source();
            self.note_datagram(Some(b4), at, datagram);
        }
        if OuterPiece::of(packet).is_some_and(|piece| !piece.is_atomic()) && !is_refused_alone(verdict) {
            self.outer.retain(|piece| (at - piece.at).as_millis() < u128::from(OUTER_LIFE));
            self.outer.push(Outer { at, packet: packet.to_vec(), ends: verdict != Verdict::Hold });
        }
    }

    fn note_datagram(&mut self, b4: Option<Ipv6Addr>, at: Instant, packet: &[u8]) {
        let Some(header) = Ipv4::view(packet).filter(|header| header.is_fragment()) else { return };
        if let Some(ends) = Ends::of(packet) {
            self.first.retain(|first| (at - first.at).as_millis() < u128::from(DATAGRAM_LIFE));
            self.first.push(First { at, key: key(b4, header), ends });
        }
    }

    /// The ports of the datagram that a later piece belongs to.
    pub(super) fn ends_of(&self, b4: Option<Ipv6Addr>, packet: &[u8]) -> Option<Ends> {
        let key = key(b4, Ipv4::view(packet)?);
        self.first.iter().rev().find(|first| first.key == key).map(|first| first.ends)
    }

    /// The outer packet that `packet`, which comes now, makes whole; none when others are missing, or when
    /// they do not fit.
    pub(super) fn whole(&self, at: Instant, packet: &[u8]) -> Option<Whole> {
        let Some(last) = OuterPiece::of(packet) else {
            let packet = super::packet::cut_to_length(packet)?.to_vec();
            return Some(Whole { packet, fragments: 0 });
        };
        let mut pieces = if last.is_atomic() { Vec::new() } else { self.waiting_for(&last, at) };
        pieces.push(last);
        pieces.sort_by_key(|piece| piece.start);
        pieces.dedup_by_key(|piece| piece.start);
        let mut payload = Vec::new();
        for piece in &pieces {
            (piece.start == payload.len()).then_some(())?;
            payload.extend_from_slice(piece.data);
        }
        let ends = pieces.last().is_some_and(|piece| !piece.more);
        let class = class_of(&pieces)?;
        let (first, length) = (pieces.first()?, u16::try_from(payload.len()).ok()?);
        let header = Ipv6::new(first.b4, first.aftr, first.next_header, length, 64, class, 0);
        let packet = [header.as_bytes(), &payload].concat();
        ends.then_some(Whole { packet, fragments: pieces.len() })
    }

    /// The fragments of the same packet that came before and wait.
    fn waiting_for(&self, last: &OuterPiece<'_>, at: Instant) -> Vec<OuterPiece<'_>> {
        let key = |piece: &OuterPiece<'_>| (piece.b4, piece.aftr, piece.identification);
        self.outer
            .iter()
            .rev()
            .filter(|piece| (at - piece.at).as_millis() < u128::from(OUTER_LIFE))
            .filter_map(|piece| Some((OuterPiece::of(&piece.packet)?, piece.ends)))
            .filter(|(piece, _)| key(piece) == key(last))
            .take_while(|&(_, ends)| !ends)
            .map(|(piece, _)| piece)
            .collect()
    }

    /// Octets of an outer packet that wait for its other fragments, without `packet` itself.
    pub(super) fn octets_waiting(&self, at: Instant, packet: &[u8]) -> usize {
        let Some(last) = OuterPiece::of(packet) else { return 0 };
        let mut waiting = self.waiting_for(&last, at);
        waiting.retain(|piece| piece.start != last.start);
        waiting.sort_by_key(|piece| piece.start);
        waiting.dedup_by_key(|piece| piece.start);
        waiting.iter().map(|piece| piece.data.len()).sum()
    }
}

/// A fragment that was dropped for what it is itself: the others still wait.
fn is_refused_alone(verdict: Verdict) -> bool {
    use DropReason::{V6Acl, V6Dst, V6FragBig, V6FragChain, V6FragLen, V6FragMem, V6Src};
    matches!(
        verdict.drop_reason(),
        Some(V6Acl | V6Dst | V6FragBig | V6FragChain | V6FragLen | V6FragMem | V6Src)
    )
}

fn key(b4: Option<Ipv6Addr>, header: &Ipv4) -> Key {
    (b4, header.source(), header.destination(), header.protocol(), header.identification())
}

/// RFC 3168 section 5.3: the traffic class of the whole; none when a mark and "knows no marks" meet.
fn class_of(pieces: &[OuterPiece<'_>]) -> Option<u8> {
    let has = |mark| pieces.iter().any(|piece| piece.class & 3 == mark);
    let first = pieces.first()?.class;
    match (has(3), has(0)) {
        (true, true) => None,
        (true, false) => Some(first | 3),
        (false, true) => Some(first & !3),
        (false, false) => Some(first),
    }
}
