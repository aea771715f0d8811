//! What a worker owes the journal: a grant is durable before a packet leaves with one of its ports.
//!
//! The record of a grant goes to the journal's writer at once. Until it is on the disk, packets from those ports, to
//! the Internet or to another home, wait here, in their order and at most so many; everything else goes on. Where no record can
//! be kept, `on-loss` of the configuration decides. After a gap of the journal what is still held is said again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use aftr_config::OnLoss;

use crate::attribution::wal::{Producer, Ticket};
use crate::attribution::{EndCause, Holding, Millis, Record};
use crate::engine::{Event, EventKind, Grant, Instant, WorkerNumber};
use crate::wire::ipv4::{self, Ipv4, protocol};
use crate::wire::ipv6::{self, Ipv6, next_header};
use crate::wire::{Packet, Side};

/// Octets of an IPv6 fragment header (RFC 8200 section 4.5).
const FRAGMENT_HEADER: usize = 8;
/// Packets that wait for the disk, at most: a few milliseconds of a worker's traffic.
const MOST_WAITING: usize = 4096;
/// A packet waits so long at most. A sync takes milliseconds: a disk that takes longer hangs. Nor may a packet leave
/// so late that its ports may be somebody else's.
const PATIENCE: Duration = Duration::from_secs(5);
/// Records that are said again at once: new ones have room beside them.
const SAID_AT_ONCE: usize = 4096;

/// One worker's evidence.
pub(super) struct Evidence {
    producer: Producer,
    /// Of the worker.
    number: u16,
    on_loss: OnLoss,
    /// Since when each port set is granted.
    since: HashMap<Place, Millis>,
    /// Grants that are not durable yet.
    undurable: BTreeMap<Place, Undurable>,
    /// The same, the oldest first.
    order: VecDeque<(Place, Ticket)>,
    waiting: VecDeque<Waiting>,
    /// Packets that found no room to wait, or waited for nothing.
    pub(super) lost: u64,
    /// Gaps of the journal behind which everything was said again, or is in `unsaid`.
    gaps: u64,
    /// What is to be said again, and since when it is granted.
    unsaid: Vec<(Grant, Millis)>,
    /// The last that was said again.
    said: Option<Ticket>,
}

/// External address and first port.
type Place = (Ipv4Addr, u16);

struct Undurable {
    last_port: u16,
    ticket: Ticket,
    at: Instant,
}

/// Where a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    To(Side),
    ToWorker(WorkerNumber),
}

struct Waiting {
    packet: Packet,
    way: Way,
    ticket: Ticket,
    at: Instant,
}

impl Evidence {
    pub(super) fn new(producer: Producer, number: u16, on_loss: OnLoss) -> Evidence {
        Evidence {
            producer,
            number,
            on_loss,
            since: HashMap::new(),
            undurable: BTreeMap::new(),
            order: VecDeque::new(),
            waiting: VecDeque::new(),
            lost: 0,
            gaps: 0,
            unsaid: Vec::new(),
            said: None,
        }
    }

    /// Writes down what an event says of who holds what; `at` reads the wall clock's time of it, which most events do
    /// not need.
    pub(super) fn note(&mut self, event: &Event, at: impl FnOnce() -> Millis) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is no evidence of who held a port")]
        match event.kind {
            EventKind::PortSetGranted(grant) => self.granted(&grant, event.at, at()),
            EventKind::PortSetReleased(grant) => {
                let at = at();
                let since = self.since.remove(&place(&grant)).unwrap_or(at);
                let holding = Holding::of_grant(&grant, grant.pool_id, self.number);
                self.push(Record::Ended { at, since, holding, cause: EndCause::Idle });
            }
            EventKind::SoftwireMoved { subscriber, from, to } => {
                self.push(Record::Moved { at: at(), prefix_len: subscriber.prefix_len(), from, to });
                for (grant, _) in self.unsaid.iter_mut().filter(|(grant, _)| grant.b4 == from) {
                    grant.b4 = to;
                }
            }
            _ => {}
        }
    }

    fn granted(&mut self, grant: &Grant, now: Instant, at: Millis) {
        self.since.insert(place(grant), at);
        let holding = Holding::of_grant(grant, grant.pool_id, self.number);
        if let Some(ticket) = self.push(Record::Started { at, since: at, holding }) {
            let undurable = Undurable { last_port: grant.last_port, ticket, at: now };
            self.undurable.insert(place(grant), undurable);
            self.order.push_back((place(grant), ticket));
        }
    }

    fn push(&mut self, record: Record) -> Option<Ticket> {
        self.producer.push(record).ok()
    }

    /// Whether the configuration wants no grants now, because no record of them can be kept. A queue that fills is a
    /// reason before it is full: what is granted until this is asked again finds room.
    pub(super) fn refuses_grants(&self) -> bool {
        self.on_loss == OnLoss::RefuseNewBlocks && (self.producer.is_failing() || self.producer.is_crowded())
    }

    /// Forgets what is durable by now.
    pub(super) fn look(&mut self, now: Instant) {
        while let Some(&(place, ticket)) = self.order.front() {
            let of_place = self.undurable.get(&place).filter(|undurable| undurable.ticket == ticket);
            if of_place.is_some_and(|undurable| !self.is_settled(ticket, undurable.at, now)) {
                return;
            }
            // A younger grant of the same ports has its own turn.
            if of_place.is_some() {
                self.undurable.remove(&place);
            }
            self.order.pop_front();
        }
    }

    /// On the disk, or beyond hope while the operator wants subscribers to be served all the same.
    fn is_settled(&self, ticket: Ticket, since: Instant, now: Instant) -> bool {
        let is_hopeless = || self.producer.is_failing() || is_overdue(since, now);
        self.producer.is_durable(ticket) || (self.on_loss == OnLoss::Alarm && is_hopeless())
    }

    /// Keeps a packet that must wait for the disk. False: it may leave.
    pub(super) fn keeps(&mut self, packet: &Packet, way: Way, now: Instant) -> bool {
        if self.undurable.is_empty() {
            return false;
        }
        let ticket = translated(packet.bytes()).and_then(|packet| self.ticket_of(packet, now));
        let Some(ticket) = ticket else { return false };
        if self.waiting.len() == MOST_WAITING {
            self.lost += 1;
        } else {
            let packet = Packet::copied_from(packet.bytes(), packet.side);
            self.waiting.push_back(Waiting { packet, way, ticket, at: now });
        }
        true
    }

    /// Of the grant that a packet uses. One without ports may belong to any of its address: it keeps its order, but
    /// does not wait for a disk that hangs.
    fn ticket_of(&self, packet: &[u8], now: Instant) -> Option<Ticket> {
        let source = Ipv4::view(packet)?.source();
        let Some(port) = source_port(packet) else {
            let of_address = self.undurable.range((source, 0)..=(source, u16::MAX)).map(|(_, it)| it);
            return of_address.filter(|it| !is_overdue(it.at, now)).map(|it| it.ticket).max();
        };
        let (&(address, _), undurable) = self.undurable.range(..=(source, port)).next_back()?;
        (address == source && port <= undurable.last_port).then_some(undurable.ticket)
    }

    /// The next packet whose grant is durable.
    pub(super) fn release(&mut self, now: Instant) -> Option<(Packet, Way)> {
        loop {
            let first = self.waiting.front()?;
            let is_settled = self.is_settled(first.ticket, first.at, now);
            if !is_settled && !is_overdue(first.at, now) {
                return None;
            }
            let Waiting { packet, way, .. } = self.waiting.pop_front()?;
            if is_settled {
                return Some((packet, way));
            }
            self.lost += 1;
        }
    }

    /// After a gap: says again what is still held, of which the journal no longer knows it. `held` is everything;
    /// each call says a part, when the one before is on the disk.
    pub(super) fn say_again<H: Iterator<Item = Grant>>(
        &mut self,
        held: impl FnOnce() -> H,
        at: impl FnOnce() -> Millis,
    ) {
        let gaps = self.producer.gaps();
        if gaps != self.gaps {
            self.gaps = gaps;
            // Ranges that follow from the configuration were never said.
            let known = |grant: Grant| Some((grant, *self.since.get(&place(&grant))?));
            self.unsaid = held().filter_map(known).collect();
        }
        let is_before_on_disk = self.said.is_none_or(|said| self.producer.is_durable(said));
        if self.unsaid.is_empty() || !is_before_on_disk || self.producer.is_crowded() {
            return;
        }
        let (at, rest) = (at(), self.unsaid.len().saturating_sub(SAID_AT_ONCE));
        for (grant, since) in self.unsaid.split_off(rest) {
            // What was given back meanwhile, and perhaps granted anew, is recorded already.
            if self.since.get(&place(&grant)) == Some(&since) {
                let holding = Holding::of_grant(&grant, grant.pool_id, self.number);
                self.said = self.push(Record::Started { at, since, holding });
            }
        }
    }

    /// Whether the disk is waited for.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.unsaid.is_empty()
    }
}

fn place(grant: &Grant) -> Place {
    (grant.external, grant.first_port)
}

fn is_overdue(since: Instant, now: Instant) -> bool {
    now - since > PATIENCE
}

/// The IPv4 packet whose source may be ours: the packet itself, or what is in it when it goes to a B4. Of a packet in
/// fragments the first one decides; without it the others are worth nothing.
fn translated(packet: &[u8]) -> Option<&[u8]> {
    if packet.first()? >> 4 == 4 {
        return Some(packet);
    }
    match Ipv6::view(packet)?.next_header() {
        next_header::IPV4 => packet.get(ipv6::HEADER..),
        next_header::FRAGMENT => packet.get(ipv6::HEADER + FRAGMENT_HEADER..),
        _ => None,
    }
}

/// External port, or identifier of an ICMP query; nothing where a packet has none, or only inside.
fn source_port(packet: &[u8]) -> Option<u16> {
    const ECHO: [u8; 2] = [8, 0];
    let header = Ipv4::view(packet)?;
    if header.fragment_offset() > 0 {
        return None;
    }
    let payload = ipv4::payload(packet);
    let at = match header.protocol() {
        protocol::TCP | protocol::UDP => 0,
        protocol::ICMP if ECHO.contains(payload.first()?) => 4,
        _ => return None,
    };
    Some(u16::from_be_bytes(*payload.get(at..)?.first_chunk()?))
}

#[cfg(test)]
#[path = "evidence_tests.rs"]
mod tests;
