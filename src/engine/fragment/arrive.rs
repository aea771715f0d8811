//! IPv4 datagrams that cross in fragments (RFC 4787 REQ-14). They are not put together: the first piece
//! goes through the translator as a packet does, the others follow it with the ports that it had, and
//! those that come before it wait for it (RFC 6146 section 3.4).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::datagrams::{DatagramKey, Datagrams};
use super::ranges::{Fit, Ranges};
use crate::engine::aftr::{Aftr, MOST_TIMERS};
use crate::engine::inner::Inner;
use crate::engine::seed::HashKey;
use crate::engine::softwire::Tunnel;
use crate::engine::table::NONE;
use crate::engine::time::Instant;
use crate::engine::transport::Flow;
use crate::engine::verdict::DropReason;
use crate::wire::ipv4::{Ipv4, protocol};
use crate::wire::tcp;
use crate::wire::{Packet, Side};

/// Seconds that a datagram is remembered: not longer, or the pieces of two are mixed (RFC 4963).
pub(super) const LIFE: u32 = 10;
/// Octets that a piece costs besides its own.
const PIECE_COST: usize = 256;
const MOST_OCTETS: u32 = 65_535;

/// What pieces of one datagram have in common (RFC 791 section 3.2), and the softwire that they come
/// through: private sources overlap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::engine) struct Key {
    b4: Ipv6Addr,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    identification: u16,
}

impl Key {
    /// The datagram of a piece; `tunnel` is none on the external side.
    pub(super) fn new(header: &Ipv4, tunnel: Option<&Tunnel>) -> Key {
        Key {
            b4: tunnel.map_or(Ipv6Addr::UNSPECIFIED, |tunnel| tunnel.b4),
            source: header.source(),
            destination: header.destination(),
            protocol: header.protocol(),
            identification: header.identification(),
        }
    }
}

impl DatagramKey for Key {
    const ANY: Key = Key {
        b4: Ipv6Addr::UNSPECIFIED,
        source: Ipv4Addr::UNSPECIFIED,
        destination: Ipv4Addr::UNSPECIFIED,
        protocol: 0,
        identification: 0,
    };

    fn hash(&self, key: &HashKey) -> u32 {
        let b4 = key.hash_v6(self.b4.to_bits());
        let rest = u32::from(self.protocol) << 16 | u32::from(self.identification);
        key.hash([b4, self.source.to_bits(), self.destination.to_bits(), rest])
    }
}

/// A datagram of which pieces have come.
#[derive(Clone)]
pub(in crate::engine) struct Datagram {
    ranges: Ranges,
    /// Pieces seen, the same one again included.
    seen: u32,
    /// How the first piece's transport header begins.
    front: Option<[u8; 8]>,
    pub(super) fate: Fate,
    pub(super) waiting: Vec<Waiting>,
}

/// What becomes of the pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The first piece has not come.
    Unknown,
    /// The first piece went through.
    Passes(Ports),
    /// The first piece did not, or they cannot be pieces of one datagram.
    Refused(DropReason),
}

/// What a piece needs to know of the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Ports {
    pub(in crate::engine) source: u16,
    pub(in crate::engine) destination: u16,
    /// The identification that all pieces leave with (RFC 6864 section 5.3.1).
    pub(in crate::engine) identification: u16,
}

/// A piece that waits for the first one.
#[derive(Clone)]
pub(super) struct Waiting {
    pub(super) packet: Packet,
    /// The type of service that it goes on with.
    pub(super) tos: u8,
    /// What it came through.
    pub(super) tunnel: Option<Tunnel>,
}

/// All datagrams in pieces.
pub(in crate::engine) type Fragments = Datagrams<Key, Datagram>;

/// What a piece is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Arrival {
    /// The first one of this datagram: it goes on as a packet does.
    First(u32),
    /// One that follows a first one with these ports.
    Follows(Ports),
    /// One that waits.
    Waits,
}

/// Takes a piece. `owner` is whom it is charged to.
pub(super) fn arrive(
    aftr: &mut Aftr,
    packet: &Packet,
    inner: &Inner,
    tunnel: Option<&Tunnel>,
    owner: u128,
    now: Instant,
) -> Result<Arrival, DropReason> {
    let Some(header) = Ipv4::view(packet.bytes()) else { return Err(DropReason::V4FragTiny) };
    let key = Key::new(header, tunnel);
    let (start, more) = (header.fragment_offset(), header.more_fragments());
    let length = (inner.total_length - inner.header_length) as u32;
    let side = packet.side;
    let known = aftr.fragments_mut(side).find(&key);
    if let Err(reason) = check_piece(inner, start, length, more) {
        known.into_iter().for_each(|id| refuse(aftr, side, id, reason));
        return Err(reason);
    }
    let id = match known {
        Some(id) => id,
        None => open(aftr, side, key, owner, now)?,
    };
    let datagram = aftr.fragments_mut(side).value_mut(id).ok_or(DropReason::V4FragMem)?;
    if let Fate::Refused(reason) = datagram.fate {
        return Err(reason);
    }
    datagram.seen += 1;
    let fault = match datagram.ranges.add(start, start + length, !more) {
        // RFC 1858 section 4: nothing of it may go on.
        Fit::Overlap => Some(DropReason::V4FragOverlap),
        Fit::TooMany => Some(DropReason::V4FragMany),
        Fit::New | Fit::Again => (datagram.seen > 64).then_some(DropReason::V4FragMany),
    };
    // Another first piece of the same length would send the others elsewhere.
    let front = packet.bytes()[inner.header_length..].first_chunk().copied().filter(|_| start == 0);
    let is_another = front.is_some() && datagram.front.is_some() && datagram.front != front;
    let fault = fault.or(is_another.then_some(DropReason::V4FragOverlap));
    datagram.front = datagram.front.or(front);
    let fate = datagram.fate;
    if let Some(reason) = fault {
        refuse(aftr, side, id, reason);
        return Err(reason);
    }
    match (start, fate) {
        (0, _) => Ok(Arrival::First(id)),
        (_, Fate::Passes(ports)) => Ok(Arrival::Follows(ports)),
        _ => wait(aftr, id, packet, inner, tunnel),
    }
}

/// What a piece must be on its own.
fn check_piece(inner: &Inner, start: u32, length: u32, more: bool) -> Result<(), DropReason> {
    // RFC 791 section 3.2: all but the last are a multiple of eight.
    if length == 0 || (more && !length.is_multiple_of(8)) {
        return Err(DropReason::V4FragTiny);
    }
    if inner.header_length as u32 + start + length > MOST_OCTETS {
        return Err(DropReason::V4FragBig);
    }
    // RFC 1858 section 3 and RFC 3128: flags must not hide in a second piece; the checksum, which we rewrite,
    // must not either.
    let is_tiny =
        inner.protocol == protocol::TCP && (start == 8 || (start == 0 && length < tcp::HEADER as u32));
    if is_tiny { Err(DropReason::V4FragTiny) } else { Ok(()) }
}

fn open(aftr: &mut Aftr, side: Side, key: Key, owner: u128, now: Instant) -> Result<u32, DropReason> {
    let datagram = Datagram {
        ranges: Ranges::default(),
        seen: 0,
        front: None,
        fate: Fate::Unknown,
        waiting: Vec::new(),
    };
    let id = aftr.fragments_mut(side).open(key, owner, datagram, now);
    if let Some((piece, tunnel)) = drop_evicted(aftr, side) {
        aftr.notice_limit(piece.bytes(), &tunnel, DropReason::V4FragMem, now);
    }
    let id = id.ok_or(DropReason::V4FragMem)?;
    let wait = aftr.settings.config.nat.timers.fragment_min_timeout;
    // It is looked at again then, whether or not the first piece has come.
    aftr.fragments_mut(side).arm(id, wait, now);
    Ok(id)
}

fn wait(
    aftr: &mut Aftr,
    id: u32,
    packet: &Packet,
    inner: &Inner,
    tunnel: Option<&Tunnel>,
) -> Result<Arrival, DropReason> {
    let side = packet.side;
    let has_room = aftr.fragments_mut(side).charge(id, (packet.len() + PIECE_COST) as u32);
    drop_evicted(aftr, side);
    let Some(datagram) = aftr.fragments_mut(side).value_mut(id).filter(|_| has_room) else {
        return Err(DropReason::V4FragMem);
    };
    let mut kept = Packet::with_capacity(packet.len());
    kept.copy_from(packet);
    datagram.waiting.push(Waiting { packet: kept, tos: inner.tos, tunnel: tunnel.copied() });
    aftr.counters.fragments_held += 1;
    Ok(Arrival::Waits)
}

/// No piece of it goes on; those that wait are dropped for the same reason.
pub(super) fn refuse(aftr: &mut Aftr, side: Side, id: u32, reason: DropReason) {
    aftr.fragments_mut(side).discharge(id);
    if let Some(datagram) = aftr.fragments_mut(side).value_mut(id) {
        datagram.fate = Fate::Refused(reason);
        let waiting = std::mem::take(&mut datagram.waiting).len();
        aftr.counters.drop_held(reason, waiting as u64);
    }
}

/// Drops what was given up for others; gives one of these pieces, where it came from a B4.
fn drop_evicted(aftr: &mut Aftr, side: Side) -> Option<(Packet, Tunnel)> {
    let mut one = None;
    while let Some(datagram) = aftr.fragments_mut(side).pop_evicted() {
        aftr.counters.drop_held(DropReason::V4FragMem, datagram.waiting.len() as u64);
        one = datagram.waiting.into_iter().find_map(|piece| Some((piece.packet, piece.tunnel?))).or(one);
    }
    one
}

impl Aftr {
    /// The datagrams in pieces that come from a side.
    pub(super) fn fragments_mut(&mut self, side: Side) -> &mut Fragments {
        match side {
            Side::B4 => &mut self.fragments_from_b4,
            Side::Internet => &mut self.fragments_from_internet,
        }
    }

    /// Gives up the pieces whose first one did not come in time, and forgets old datagrams. What the Internet
    /// sends and nobody wants is forgotten as soon.
    pub(in crate::engine) fn expire_fragments(&mut self, side: Side, now: Instant) {
        let patience = self.settings.config.nat.timers.fragment_min_timeout;
        for _ in 0..MOST_TIMERS {
            let Some(id) = self.fragments_mut(side).pop_due(now) else { break };
            let age = self.fragments_mut(side).age(id, now);
            let is_wanted = match self.fragments_mut(side).value(id).map(|datagram| datagram.fate) {
                Some(Fate::Unknown) | None => false,
                Some(Fate::Refused(_)) => side == Side::B4,
                Some(Fate::Passes(_)) => true,
            };
            // A timer that is armed after a long silence ends early.
            if age < patience * 1000 {
                self.fragments_mut(side).arm(id, patience, now);
            } else if is_wanted && age < LIFE * 1000 {
                self.fragments_mut(side).arm(id, LIFE, now);
            } else if let Some(datagram) = self.fragments_mut(side).remove(id) {
                self.counters.drop_held(DropReason::V4FragNoContext, datagram.waiting.len() as u64);
            }
        }
    }

    /// The identification that the pieces of a datagram from a B4 leave with, when its first one has gone.
    pub(in crate::engine) fn identification_of(&self, datagram: u32) -> Option<u16> {
        match self.fragments_from_b4.value(datagram)?.fate {
            Fate::Passes(ports) => Some(ports.identification),
            Fate::Unknown | Fate::Refused(_) => None,
        }
    }

    /// The first piece of a datagram went through, when there is one: the others may follow with its ports.
    /// The subscriber that it came from, or was for, pays for it from now on.
    #[inline(always)]
    pub(in crate::engine) fn fragment_passes(
        &mut self,
        side: Side,
        datagram: u32,
        flow: &Flow,
        identification: u16,
        softwire: u32,
    ) {
        if datagram != NONE {
            let ports =
                Ports { source: flow.source_port, destination: flow.destination_port, identification };
            self.let_follow(side, datagram, ports, softwire);
        }
    }

    fn let_follow(&mut self, side: Side, datagram: u32, ports: Ports, softwire: u32) {
        let subscriber = self.softwires.slab[softwire].subscriber;
        let owner = self.subscribers.slab[subscriber].prefix;
        if let Some(record) = self.fragments_mut(side).value_mut(datagram) {
            record.fate = Fate::Passes(ports);
            self.fragments_mut(side).hand_over(datagram, owner);
            drop_evicted(self, side);
        }
    }
}
