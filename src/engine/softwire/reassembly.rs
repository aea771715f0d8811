//! Outer packets that come in fragments (RFC 8200 section 4.5): put together before they are decapsulated
//! (RFC 6333 section 6.3).
//!
//! An overlap kills the packet for as long as its identification may mean it (RFC 5722), and an atomic
//! fragment touches no other (RFC 6946).

use std::net::Ipv6Addr;

use crate::engine::aftr::{Aftr, MOST_TIMERS};
use crate::engine::fragment::{DatagramKey, Datagrams, Fit, Ranges};
use crate::engine::refusal::Refusal;
use crate::engine::seed::HashKey;
use crate::engine::softwire::outer::refuse_chain;
use crate::engine::softwire::{Outer, Tunnel};
use crate::engine::time::Instant;
use crate::engine::verdict::DropReason;
use crate::wire::extension::{self, ChainFault, Upper};
use crate::wire::fragment::{self, Fragment};
use crate::wire::ipv6::{self, Ipv6, next_header};
use crate::wire::{Packet, Side, icmpv6};
use zerocopy::IntoBytes;

/// Seconds that a packet has to become whole (RFC 8200 section 4.5).
const LIFE: u32 = 60;
/// Octets that a piece costs besides its own.
const PIECE_COST: usize = 64;
/// Largest payload that an IPv6 header can announce.
const MOST_PAYLOAD: usize = 65_535;

/// RFC 8200 section 4.5: what pieces of one packet have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::engine) struct Key {
    b4: Ipv6Addr,
    aftr_number: u8,
    identification: u32,
}

impl DatagramKey for Key {
    const ANY: Key = Key { b4: Ipv6Addr::UNSPECIFIED, aftr_number: 0, identification: 0 };

    fn hash(&self, key: &HashKey) -> u32 {
        let [a, b, c, d] = [96, 64, 32, 0].map(|shift| (self.b4.to_bits() >> shift) as u32);
        key.hash([a, b, c, d, self.identification, u32::from(self.aftr_number)])
    }
}

/// A packet that is not whole yet.
#[derive(Clone, Default)]
pub(in crate::engine) struct Parts {
    ranges: Ranges,
    pieces: Vec<Piece>,
    /// Why it will never be.
    killed: Option<DropReason>,
}

#[derive(Clone)]
struct Piece {
    offset: usize,
    /// Where its data starts in `packet`.
    data_at: usize,
    /// As it came.
    packet: Box<[u8]>,
}

impl Piece {
    fn data(&self) -> &[u8] {
        &self.packet[self.data_at..]
    }
}

/// All packets that are not whole yet.
pub(in crate::engine) type Reassembly = Datagrams<Key, Parts>;

/// Takes a fragment. When it completes its packet, `packet` now holds it whole; none means that others are
/// waited for.
pub(in crate::engine) fn reassemble(
    aftr: &mut Aftr,
    packet: &mut Packet,
    outer: &Outer,
    now: Instant,
) -> Result<Option<Outer>, Refusal> {
    let at = outer.upper.offset;
    let header = *Fragment::view(&packet.bytes()[at..]).ok_or(DropReason::V6ExtensionHeader)?;
    check_fragment(packet.bytes(), &outer.upper, &header)?;
    if header.offset() == 0 && !header.more() {
        let whole = Ipv6::view(packet.bytes()).map(|outer| {
            outer.with_payload(header.next_header, (packet.len() - at - fragment::HEADER) as u16)
        });
        packet.strip_front(at + fragment::HEADER);
        let whole = whole.ok_or(DropReason::V6Short)?;
        packet.push_front(ipv6::HEADER)[..ipv6::HEADER].copy_from_slice(whole.as_bytes());
        return as_outer(packet, &outer.tunnel).map(Some);
    }
    let id = match keep(aftr, packet, outer, &header, now) {
        Ok(Some(id)) => id,
        Ok(None) => return Ok(None),
        Err(reason) => return Err(reason.into()),
    };
    let parts = aftr.reassembly.remove(id).unwrap_or_default();
    join(packet, &parts)?;
    as_outer(packet, &outer.tunnel).map(Some)
}

/// What a fragment must be on its own.
fn check_fragment(packet: &[u8], upper: &Upper, header: &Fragment) -> Result<(), Refusal> {
    const ERRONEOUS_FIELD: u8 = 0;
    const INCOMPLETE_CHAIN: u8 = 3;
    const PAYLOAD_LENGTH: u32 = 4;
    let problem = |reason, code, pointer| Err(Refusal::parameter_problem(reason, code, pointer));
    let data = packet.len() - upper.offset - fragment::HEADER;
    if data == 0 {
        return Err(DropReason::V6FragLen.into());
    }
    if header.more() && !data.is_multiple_of(8) {
        return problem(DropReason::V6FragLen, ERRONEOUS_FIELD, PAYLOAD_LENGTH);
    }
    if upper.offset - ipv6::HEADER + header.offset() + data > MOST_PAYLOAD {
        return problem(DropReason::V6FragBig, ERRONEOUS_FIELD, upper.offset as u32 + 2);
    }
    if header.offset() > 0 {
        return Ok(());
    }
    // RFC 8200 section 4.5: the first piece has the whole chain, which for us ends where IPv4 begins.
    let inside = Upper {
        next_header: header.next_header,
        offset: upper.offset + fragment::HEADER,
        named_at: upper.offset,
    };
    match extension::walk_from(packet, inside) {
        Err(ChainFault::CutShort) => problem(DropReason::V6FragChain, INCOMPLETE_CHAIN, 0),
        Err(fault @ ChainFault::MisplacedHopByHop(_)) => Err(refuse_chain(fault)),
        // What else is wrong with it is found when the packet is whole.
        _ => Ok(()),
    }
}

/// Puts a piece to those before it; says which packet it completes.
fn keep(
    aftr: &mut Aftr,
    packet: &Packet,
    outer: &Outer,
    header: &Fragment,
    now: Instant,
) -> Result<Option<u32>, DropReason> {
    let tunnel = &outer.tunnel;
    let key = Key { b4: tunnel.b4, aftr_number: tunnel.aftr, identification: header.identification.get() };
    let id = match aftr.reassembly.find(&key) {
        Some(id) => id,
        None => open(aftr, key, now)?,
    };
    let parts = aftr.reassembly.value_mut(id).ok_or(DropReason::V6FragMem)?;
    if let Some(reason) = parts.killed {
        return Err(reason);
    }
    let data_at = outer.upper.offset + fragment::HEADER;
    let piece = Piece { offset: header.offset(), data_at, packet: packet.bytes().into() };
    let start = piece.offset as u32;
    // A copy of the state: a piece that finds no room must leave no trace.
    let mut ranges = parts.ranges.clone();
    match ranges.add(start, start + piece.data().len() as u32, !header.more()) {
        Fit::New => {}
        Fit::Again => {
            let same =
                parts.pieces.iter().any(|other| other.offset == piece.offset && other.data() == piece.data());
            return if same { Ok(held(aftr)) } else { Err(kill(aftr, id, DropReason::V6FragOverlap)) };
        }
        Fit::Overlap => return Err(kill(aftr, id, DropReason::V6FragOverlap)),
        Fit::TooMany => return Err(kill(aftr, id, DropReason::V6FragMany)),
    }
    let has_room = aftr.reassembly.charge(id, (packet.len() + PIECE_COST) as u32);
    drop_evicted(aftr);
    let Some(parts) = aftr.reassembly.value_mut(id).filter(|_| has_room) else {
        return Err(DropReason::V6FragMem);
    };
    parts.pieces.push(piece);
    parts.ranges = ranges;
    if parts.ranges.are_complete() { Ok(Some(id)) } else { Ok(held(aftr)) }
}

fn open(aftr: &mut Aftr, key: Key, now: Instant) -> Result<u32, DropReason> {
    let owner = aftr.settings.subscriber_prefix(key.b4);
    let id = aftr.reassembly.open(key, owner, Parts::default(), now);
    drop_evicted(aftr);
    let id = id.ok_or(DropReason::V6FragMem)?;
    aftr.reassembly.arm(id, LIFE, now);
    Ok(id)
}

fn held(aftr: &mut Aftr) -> Option<u32> {
    aftr.counters.fragments_held += 1;
    None
}

/// RFC 5722: nothing of it will be used, and late pieces of it neither.
fn kill(aftr: &mut Aftr, id: u32, reason: DropReason) -> DropReason {
    aftr.reassembly.discharge(id);
    if let Some(parts) = aftr.reassembly.value_mut(id) {
        let pieces = std::mem::take(&mut parts.pieces).len();
        parts.killed = Some(reason);
        aftr.counters.drop_held(reason, pieces as u64);
    }
    reason
}

fn drop_evicted(aftr: &mut Aftr) {
    while let Some(parts) = aftr.reassembly.pop_evicted() {
        aftr.counters.drop_held(DropReason::V6FragMem, parts.pieces.len() as u64);
    }
}

/// Writes the whole packet: what stood in front of the fragment header has been looked at, and is left out.
fn join(packet: &mut Packet, parts: &Parts) -> Result<(), DropReason> {
    let first = parts.pieces.iter().find(|piece| piece.offset == 0).ok_or(DropReason::V6FragOverlap)?;
    let header = Ipv6::view(&first.packet).ok_or(DropReason::V6Short)?;
    let inside =
        Fragment::view(&first.packet[first.data_at - fragment::HEADER..]).ok_or(DropReason::V6Short)?;
    let length = parts.pieces.iter().map(|piece| piece.data().len()).sum::<usize>();
    let class = header.traffic_class() & !3 | congestion_of(parts, header.traffic_class() & 3)?;
    let whole = header.with_payload(inside.next_header, length as u16).with_traffic_class(class);
    let bytes = packet.refill(ipv6::HEADER + length);
    bytes[..ipv6::HEADER].copy_from_slice(whole.as_bytes());
    for piece in &parts.pieces {
        let at = ipv6::HEADER + piece.offset;
        bytes[at..at + piece.data().len()].copy_from_slice(piece.data());
    }
    Ok(())
}

/// RFC 3168 section 5.3: a mark on one piece is a mark on the packet, unless another piece says that its
/// sender knows no marks.
fn congestion_of(parts: &Parts, first: u8) -> Result<u8, DropReason> {
    const NOT_ECT: u8 = 0;
    const CE: u8 = 3;
    let marks = || {
        parts
            .pieces
            .iter()
            .filter_map(|piece| Ipv6::view(&piece.packet))
            .map(|outer| outer.traffic_class() & 3)
    };
    match (marks().any(|mark| mark == CE), marks().any(|mark| mark == NOT_ECT)) {
        (true, true) => Err(DropReason::Ecn),
        (true, false) => Ok(CE),
        (false, true) => Ok(NOT_ECT),
        (false, false) => Ok(first),
    }
}

/// A packet that has no fragment header any more, nor may have another one.
fn as_outer(packet: &Packet, tunnel: &Tunnel) -> Result<Outer, Refusal> {
    let upper = extension::walk(packet.bytes()).map_err(refuse_chain)?;
    if upper.next_header == next_header::FRAGMENT {
        return Err(DropReason::V6ExtensionHeader.into());
    }
    let traffic_class = Ipv6::view(packet.bytes()).map_or(0, Ipv6::traffic_class);
    Ok(Outer { tunnel: *tunnel, traffic_class, upper })
}

impl Aftr {
    /// Gives up the packets that did not become whole in time; who sent the first piece is told.
    pub(in crate::engine) fn expire_reassembly(&mut self, now: Instant) {
        const REASSEMBLY: u8 = 1;
        for _ in 0..MOST_TIMERS {
            let Some(id) = self.reassembly.pop_due(now) else { break };
            if self.reassembly.age(id, now) < LIFE * 1000 {
                self.reassembly.arm(id, LIFE, now);
                continue;
            }
            let Some(parts) = self.reassembly.remove(id) else { continue };
            self.counters.drop_held(DropReason::V6FragTimeout, parts.pieces.len() as u64);
            let Some(first) = parts.pieces.iter().find(|piece| piece.offset == 0) else { continue };
            let mut packet = Packet::copied_from(&first.packet, Side::B4);
            if self.push_error6(&mut packet, icmpv6::kind::TIME_EXCEEDED, REASSEMBLY, 0, now) {
                self.outbox.push_back((packet, Side::B4));
            }
        }
    }
}
