//! Outer packets that come in fragments (RFC 8200 section 4.5, RFC 5722, RFC 6946).

use std::net::Ipv6Addr;

use aftr::engine::DropReason;
use aftr_config::FragmentLimits;

use crate::model::Time;
use crate::pieces::{Fit, Spans};

/// An outer packet, or a fragment of one.
#[derive(Debug, Clone)]
pub(crate) struct Outer6 {
    pub(crate) b4: Ipv6Addr,
    /// Which of the AFTR's addresses it is sent to.
    pub(crate) own: usize,
    pub(crate) class: u8,
    /// What the data starts with: IPv4, or destination options of eight octets.
    pub(crate) next: u8,
    pub(crate) fragment: Option<Fragment6>,
    pub(crate) data: Vec<u8>,
    /// All of it.
    pub(crate) bytes: Vec<u8>,
    /// The datagram of the story; 0 when it is of none.
    pub(crate) number: u32,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Fragment6 {
    pub(crate) id: u32,
    pub(crate) offset: usize,
    pub(crate) more: bool,
}

/// One that is not whole yet.
#[derive(Debug, Clone)]
struct Waiting {
    b4: Ipv6Addr,
    own: usize,
    id: u32,
    owner: u128,
    since: Time,
    spans: Spans,
    pieces: Vec<Outer6>,
    killed: Option<DropReason>,
    octets: u32,
}

/// What becomes of a fragment.
#[derive(Debug)]
pub(crate) enum Arrived {
    Held,
    /// ICMPv6 type, code and parameter, when its sender may be told.
    Refused(DropReason, Option<(u8, u8, u32)>),
    /// The packet is whole; its `fragment` is none.
    Whole(Outer6),
}

#[derive(Debug)]
pub(crate) struct Reassembly {
    limits: FragmentLimits,
    waiting: Vec<Waiting>,
    /// Fragments that were kept and then dropped, by reason.
    pub(crate) lost: Vec<DropReason>,
    /// First fragments of packets that were given up: their senders may be told.
    pub(crate) given_up: Vec<Vec<u8>>,
}

/// RFC 8200 section 4.5.
const LIFE: Time = 60_000;

impl Reassembly {
    pub(crate) fn new(limits: FragmentLimits) -> Reassembly {
        Reassembly { limits, waiting: Vec::new(), lost: Vec::new(), given_up: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn arrives(&mut self, outer: &Outer6, owner: u128, now: Time) -> Arrived {
        let Some(fragment) = outer.fragment else { return Arrived::Whole(outer.clone()) };
        let in_front = outer.bytes.len() - outer.data.len() - 48;
        if outer.data.is_empty() {
            return Arrived::Refused(DropReason::V6FragLen, None);
        }
        if fragment.more && !outer.data.len().is_multiple_of(8) {
            return Arrived::Refused(DropReason::V6FragLen, Some((4, 0, 4)));
        }
        if in_front + fragment.offset + outer.data.len() > 65_535 {
            let pointer = (in_front + 42) as u32;
            return Arrived::Refused(DropReason::V6FragBig, Some((4, 0, pointer)));
        }
        if fragment.offset == 0 && !fragment.more {
            return Arrived::Whole(Outer6 { fragment: None, ..outer.clone() });
        }
        self.keep(outer, fragment, owner, now)
    }

    fn at(&self, outer: &Outer6, id: u32) -> Option<usize> {
        self.waiting.iter().position(|w| (w.b4, w.own, w.id) == (outer.b4, outer.own, id))
    }

    fn keep(&mut self, outer: &Outer6, fragment: Fragment6, owner: u128, now: Time) -> Arrived {
        let refused = |reason| Arrived::Refused(reason, None);
        if self.at(outer, fragment.id).is_none() && !self.open(outer, fragment.id, owner, now) {
            return refused(DropReason::V6FragMem);
        }
        let at = self.at(outer, fragment.id).expect("it is there");
        let waiting = &self.waiting[at];
        if let Some(reason) = waiting.killed {
            return refused(reason);
        }
        let start = fragment.offset;
        let span = (start, start + outer.data.len(), !fragment.more);
        let same =
            |other: &Outer6| other.fragment.is_some_and(|f| f.offset == start) && other.data == outer.data;
        let fault = match waiting.spans.fit(span) {
            Fit::New => None,
            Fit::Again if waiting.pieces.iter().any(same) => return Arrived::Held,
            Fit::Again | Fit::Overlap => Some(DropReason::V6FragOverlap),
            Fit::TooMany => Some(DropReason::V6FragMany),
        };
        if let Some(reason) = fault {
            let waiting = &mut self.waiting[at];
            (waiting.killed, waiting.octets) = (Some(reason), 0);
            self.lost.extend(std::mem::take(&mut waiting.pieces).iter().map(|_| reason));
            return refused(reason);
        }
        if !self.charge(outer, fragment.id, outer.bytes.len() as u32 + 64) {
            return refused(DropReason::V6FragMem);
        }
        let at = self.at(outer, fragment.id).expect("it is there");
        let waiting = &mut self.waiting[at];
        waiting.spans.add(span);
        waiting.pieces.push(outer.clone());
        if !waiting.spans.are_complete() {
            return Arrived::Held;
        }
        let whole = self.waiting.remove(at);
        join(whole).map_or_else(refused, Arrived::Whole)
    }

    fn open(&mut self, outer: &Outer6, id: u32, owner: u128, now: Time) -> bool {
        while self.of(owner).count() >= self.limits.limit_per_subscriber as usize {
            self.evict_oldest(owner);
        }
        if self.waiting.len() >= self.limits.limit as usize {
            return false;
        }
        self.waiting.push(Waiting {
            b4: outer.b4,
            own: outer.own,
            id,
            owner,
            since: now,
            spans: Spans::default(),
            pieces: Vec::new(),
            killed: None,
            octets: 0,
        });
        true
    }

    fn of(&self, owner: u128) -> impl Iterator<Item = &Waiting> {
        self.waiting.iter().filter(move |waiting| waiting.owner == owner)
    }

    fn evict_oldest(&mut self, owner: u128) {
        let at = self.waiting.iter().position(|waiting| waiting.owner == owner).expect("one");
        let waiting = self.waiting.remove(at);
        self.lost.extend(waiting.pieces.iter().map(|_| DropReason::V6FragMem));
    }

    fn charge(&mut self, outer: &Outer6, id: u32, octets: u32) -> bool {
        let owner = self.waiting[self.at(outer, id).expect("it is there")].owner;
        while self.of(owner).map(|w| w.octets).sum::<u32>() + octets > self.limits.octets_per_subscriber {
            let oldest = self.of(owner).next().expect("at least this one");
            if (oldest.b4, oldest.own, oldest.id) == (outer.b4, outer.own, id) {
                return false;
            }
            self.evict_oldest(owner);
        }
        if self.waiting.iter().map(|w| w.octets).sum::<u32>() + octets > self.limits.octets {
            return false;
        }
        let at = self.at(outer, id).expect("it is there");
        self.waiting[at].octets += octets;
        true
    }

    pub(crate) fn ends(&self) -> impl Iterator<Item = Time> + '_ {
        self.waiting.iter().map(|waiting| waiting.since + LIFE)
    }

    pub(crate) fn pass(&mut self, moment: Time) {
        let (over, stay): (Vec<Waiting>, Vec<Waiting>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|w| w.since + LIFE <= moment);
        self.waiting = stay;
        for piece in over.into_iter().flat_map(|waiting| waiting.pieces) {
            self.lost.push(DropReason::V6FragTimeout);
            // RFC 4443 section 2.4 e.1: not about an ICMPv6 error.
            let is_error = piece.next == 58 && piece.data[0] & 0x80 == 0;
            if piece.fragment.is_some_and(|fragment| fragment.offset == 0) && !is_error {
                self.given_up.push(piece.bytes);
            }
        }
    }
}

/// The pieces in order, and RFC 3168 section 5.3.
fn join(mut whole: Waiting) -> Result<Outer6, DropReason> {
    whole.pieces.sort_by_key(|piece| piece.fragment.map(|fragment| fragment.offset));
    let marks: Vec<u8> = whole.pieces.iter().map(|piece| piece.class & 3).collect();
    let first = &whole.pieces[0];
    let mark = match (marks.contains(&3), marks.contains(&0)) {
        (true, true) => return Err(DropReason::Ecn),
        (true, false) => 3,
        (false, true) => 0,
        (false, false) => first.class & 3,
    };
    let is_one = whole.pieces.iter().all(|piece| piece.number == first.number);
    Ok(Outer6 {
        class: first.class & !3 | mark,
        fragment: None,
        data: whole.pieces.iter().flat_map(|piece| piece.data.iter().copied()).collect(),
        number: if is_one { first.number } else { 0 },
        ..first.clone()
    })
}
