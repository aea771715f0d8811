//! IPv4 datagrams that cross in pieces (RFC 4787 REQ-14, RFC 6146 section 3.4), as a list that is searched
//! from front to back: of one owner's datagrams the front one is the oldest.

use std::net::{Ipv4Addr, Ipv6Addr};

use aftr::engine::DropReason;
use aftr::wire::Side;
use aftr_config::{FragmentLimits, Timers};

use crate::ip::Ip;
use crate::model::Time;

/// Who sent a piece, and the type of service that it goes on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sender {
    pub(crate) b4: Ipv6Addr,
    /// Which of the AFTR's addresses it was sent to.
    pub(crate) own: usize,
    pub(crate) tos: u8,
}

/// RFC 791 section 3.2, and the softwire: private sources overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    b4: Option<Ipv6Addr>,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    id: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Unknown,
    Passes(Ports),
    Refused(DropReason),
}

/// What the other pieces know of the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) source: u16,
    pub(crate) destination: u16,
    pub(crate) id: u16,
}

#[derive(Debug, Clone)]
pub(crate) struct Context {
    key: Key,
    owner: u128,
    pub(crate) since: Time,
    spans: Spans,
    seen: u32,
    /// How the first piece begins: its ports.
    front: Option<Vec<u8>>,
    /// Whether it was looked at when the patience with it had passed.
    was_looked_at: bool,
    pub(crate) fate: Fate,
    pub(crate) waiting: Vec<(Ip, Option<Sender>)>,
    octets: u32,
}

/// Which octets have come; (first, behind the last, whether nothing follows).
#[derive(Debug, Clone, Default)]
pub(crate) struct Spans(Vec<(usize, usize, bool)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    New,
    Again,
    Overlap,
    TooMany,
}

impl Spans {
    pub(crate) fn fit(&self, new: (usize, usize, bool)) -> Fit {
        let (start, end, is_last) = new;
        if self.0.contains(&new) {
            return Fit::Again;
        }
        let overlaps = self
            .0
            .iter()
            .any(|&(s, e, last)| (s < end && start < e) || (last && end > e) || (is_last && e > end));
        match overlaps {
            true => Fit::Overlap,
            false if self.0.len() == 64 => Fit::TooMany,
            false => Fit::New,
        }
    }

    pub(crate) fn add(&mut self, new: (usize, usize, bool)) {
        self.0.push(new);
    }

    pub(crate) fn are_complete(&self) -> bool {
        let end = self.0.iter().find(|span| span.2).map(|span| span.1);
        end == Some(self.0.iter().map(|span| span.1 - span.0).sum())
    }
}

/// What becomes of a piece at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    First(Key),
    Follows(Ports),
    Waits,
    Refused(DropReason),
}

#[derive(Debug)]
pub(crate) struct Pieces {
    limits: FragmentLimits,
    /// How long later pieces wait for the first one.
    patience: Time,
    side: Side,
    pub(crate) contexts: Vec<Context>,
    /// Pieces that had waited and were dropped, by reason.
    pub(crate) lost: Vec<DropReason>,
}

impl Pieces {
    pub(crate) fn new(limits: FragmentLimits, timers: &Timers, side: Side) -> Pieces {
        let patience = u64::from(timers.fragment_min_timeout) * 1000;
        Pieces { limits, patience, side, contexts: Vec::new(), lost: Vec::new() }
    }

    fn at(&self, key: Key) -> Option<usize> {
        self.contexts.iter().position(|context| context.key == key)
    }

    pub(crate) fn find(&self, key: Key) -> Option<&Context> {
        self.at(key).map(|at| &self.contexts[at])
    }

    pub(crate) fn arrives(&mut self, ip: &Ip, sender: Option<Sender>, owner: u128, now: Time) -> Arrival {
        let key = Key {
            b4: sender.map(|sender| sender.b4),
            source: ip.source(),
            destination: ip.destination(),
            protocol: ip.protocol(),
            id: ip.id(),
        };
        let span = (ip.offset(), ip.offset() + ip.payload().len(), !ip.more());
        if let Some(reason) = fault_of(ip, span) {
            self.refuse(key, reason);
            return Arrival::Refused(reason);
        }
        if self.at(key).is_none() && !self.open(key, owner, now) {
            return Arrival::Refused(DropReason::V4FragMem);
        }
        let at = self.at(key).expect("it is there");
        let context = &mut self.contexts[at];
        if let Fate::Refused(reason) = context.fate {
            return Arrival::Refused(reason);
        }
        context.seen += 1;
        let fault = match context.spans.fit(span) {
            Fit::Overlap => Some(DropReason::V4FragOverlap),
            Fit::TooMany => Some(DropReason::V4FragMany),
            _ if context.seen > 64 => Some(DropReason::V4FragMany),
            Fit::New => {
                context.spans.add(span);
                None
            }
            Fit::Again => None,
        };
        // Another first piece would send the others elsewhere.
        let front = (span.0 == 0).then(|| ip.payload()[..8].to_vec());
        let is_another = front.is_some() && context.front.is_some() && front != context.front;
        let fault = fault.or(is_another.then_some(DropReason::V4FragOverlap));
        context.front = context.front.take().or(front);
        if let Some(reason) = fault {
            self.refuse(key, reason);
            return Arrival::Refused(reason);
        }
        match (span.0, context.fate) {
            (0, _) => Arrival::First(key),
            (_, Fate::Passes(ports)) => Arrival::Follows(ports),
            _ if !self.charge(key, ip.len() as u32 + 256) => Arrival::Refused(DropReason::V4FragMem),
            _ => {
                let at = self.at(key).expect("it is there");
                self.contexts[at].waiting.push((ip.clone(), sender));
                Arrival::Waits
            }
        }
    }

    fn open(&mut self, key: Key, owner: u128, now: Time) -> bool {
        self.make_room(owner);
        if self.contexts.len() >= self.limits.limit as usize {
            return false;
        }
        self.contexts.push(Context {
            key,
            owner,
            since: now,
            spans: Spans::default(),
            seen: 0,
            front: None,
            was_looked_at: false,
            fate: Fate::Unknown,
            waiting: Vec::new(),
            octets: 0,
        });
        true
    }

    /// An owner that has as many as it may loses its oldest.
    fn make_room(&mut self, owner: u128) {
        while self.of(owner).count() >= self.limits.limit_per_subscriber as usize {
            self.evict_oldest(owner);
        }
    }

    fn of(&self, owner: u128) -> impl Iterator<Item = &Context> {
        self.contexts.iter().filter(move |context| context.owner == owner)
    }

    fn evict_oldest(&mut self, owner: u128) {
        let at = self.contexts.iter().position(|context| context.owner == owner).expect("one");
        let context = self.contexts.remove(at);
        self.lost.extend(context.waiting.iter().map(|_| DropReason::V4FragMem));
    }

    fn charge(&mut self, key: Key, octets: u32) -> bool {
        let owner = self.contexts[self.at(key).expect("it is there")].owner;
        let sum = |contexts: &mut dyn Iterator<Item = &Context>| contexts.map(|c| c.octets).sum::<u32>();
        while sum(&mut self.of(owner)) + octets > self.limits.octets_per_subscriber {
            if self.of(owner).next().is_some_and(|oldest| oldest.key == key) {
                return false;
            }
            self.evict_oldest(owner);
        }
        if sum(&mut self.contexts.iter()) + octets > self.limits.octets {
            return false;
        }
        let at = self.at(key).expect("it is there");
        self.contexts[at].octets += octets;
        true
    }

    /// No piece of it goes on, and those that wait are lost.
    pub(crate) fn refuse(&mut self, key: Key, reason: DropReason) {
        if let Some(at) = self.at(key) {
            let context = &mut self.contexts[at];
            (context.fate, context.octets) = (Fate::Refused(reason), 0);
            let waiting = std::mem::take(&mut context.waiting);
            self.lost.extend(waiting.iter().map(|_| reason));
        }
    }

    /// Its first piece went through for this owner; gives those that waited for it.
    pub(crate) fn passes(&mut self, key: Key, ports: Ports, owner: u128) -> Vec<(Ip, Option<Sender>)> {
        let at = self.at(key).expect("it is there");
        self.contexts[at].fate = Fate::Passes(ports);
        if self.contexts[at].owner != owner {
            self.make_room(owner);
            let owners: std::collections::BTreeSet<u128> = self.contexts.iter().map(|c| c.owner).collect();
            if owners.contains(&owner) || owners.len() < self.limits.limit as usize {
                let at = self.at(key).expect("it is another's");
                let mut context = self.contexts.remove(at);
                context.owner = owner;
                self.contexts.push(context);
            }
        }
        let at = self.at(key).expect("it is there");
        self.contexts[at].octets = 0;
        std::mem::take(&mut self.contexts[at].waiting)
    }

    /// When each is looked at: then it is given up, forgotten, or stays for longer.
    pub(crate) fn ends(&self) -> impl Iterator<Item = Time> + '_ {
        self.contexts.iter().map(|context| context.next_look(self.patience))
    }

    pub(crate) fn pass(&mut self, moment: Time) {
        let mut over = Vec::new();
        for mut context in std::mem::take(&mut self.contexts) {
            let is_due = context.next_look(self.patience) <= moment;
            let is_wanted = match context.fate {
                Fate::Unknown => false,
                // What the Internet sends and nobody wants is forgotten as soon.
                Fate::Refused(_) => self.side == Side::B4,
                Fate::Passes(_) => true,
            };
            if is_due && (context.was_looked_at || !is_wanted) {
                over.push(context);
            } else {
                context.was_looked_at |= is_due;
                self.contexts.push(context);
            }
        }
        let waiting = over.iter().flat_map(|context| &context.waiting);
        self.lost.extend(waiting.map(|_| DropReason::V4FragNoContext));
    }
}

impl Key {
    pub(crate) fn side(&self) -> Side {
        if self.b4.is_some() { Side::B4 } else { Side::Internet }
    }
}

impl Context {
    fn next_look(&self, patience: Time) -> Time {
        self.since + if self.was_looked_at { 10_000 } else { patience }
    }
}

/// RFC 791 section 3.2, RFC 1858 section 3, RFC 3128.
fn fault_of(ip: &Ip, (start, end, is_last): (usize, usize, bool)) -> Option<DropReason> {
    let length = end - start;
    if length == 0 || (!is_last && length % 8 != 0) {
        return Some(DropReason::V4FragTiny);
    }
    if ip.header() + end > 65_535 {
        return Some(DropReason::V4FragBig);
    }
    let is_tiny = ip.protocol() == 6 && (start == 8 || (start == 0 && length < 20));
    is_tiny.then_some(DropReason::V4FragTiny)
}
