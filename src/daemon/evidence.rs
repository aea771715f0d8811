//! What a worker owes the journal: a grant is durable before a packet leaves with one of its ports.
//!
//! The record of a grant goes to the journal's writer at once. Until it is on the disk, packets to the Internet
//! from that external address wait here, in their order and at most so many; everything else goes on. Where no
//! record can be kept, `on-loss` of the configuration decides.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;

use aftr_config::OnLoss;

use crate::attribution::wal::{Producer, Ticket};
use crate::attribution::{EndCause, Holding, Millis, Record};
use crate::engine::{Event, EventKind, Grant};
use crate::wire::ipv4::Ipv4;
use crate::wire::{Packet, Side};

/// Packets that wait for the disk, at most: a few milliseconds of a worker's traffic.
const MOST_WAITING: usize = 4096;

/// One worker's evidence.
pub(super) struct Evidence {
    producer: Producer,
    /// Of the worker.
    number: u16,
    on_loss: OnLoss,
    /// Since when each port set is granted, by address and first port.
    since: HashMap<(Ipv4Addr, u16), Millis>,
    /// External addresses of grants that are not durable yet, the oldest first.
    undurable: VecDeque<(Ipv4Addr, Ticket)>,
    waiting: VecDeque<(Packet, Ticket)>,
    /// Packets that found no room to wait.
    pub(super) lost: u64,
    is_failing: bool,
}

impl Evidence {
    pub(super) fn new(producer: Producer, number: u16, on_loss: OnLoss) -> Evidence {
        Evidence {
            producer,
            number,
            on_loss,
            since: HashMap::new(),
            undurable: VecDeque::new(),
            waiting: VecDeque::new(),
            lost: 0,
            is_failing: false,
        }
    }

    /// Writes down what an event says of who holds what; `at` reads the wall clock's time of it, which most events do
    /// not need.
    pub(super) fn note(&mut self, event: &Event, at: impl FnOnce() -> Millis) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is no evidence of who held a port")]
        match event.kind {
            EventKind::PortSetGranted(grant) => self.granted(&grant, at()),
            EventKind::PortSetReleased(grant) => {
                let at = at();
                let since = self.since.remove(&(grant.external, grant.first_port)).unwrap_or(at);
                let holding = Holding::of_grant(&grant, grant.pool_id, self.number);
                self.push(Record::Ended { at, since, holding, cause: EndCause::Idle });
            }
            EventKind::SoftwireMoved { subscriber, from, to } => {
                self.push(Record::Moved { at: at(), prefix_len: subscriber.prefix_len(), from, to });
            }
            _ => {}
        }
    }

    fn granted(&mut self, grant: &Grant, at: Millis) {
        self.since.insert((grant.external, grant.first_port), at);
        let holding = Holding::of_grant(grant, grant.pool_id, self.number);
        if let Some(ticket) = self.push(Record::Started { at, since: at, holding }) {
            self.undurable.push_back((grant.external, ticket));
        }
    }

    fn push(&mut self, record: Record) -> Option<Ticket> {
        let pushed = self.producer.push(record);
        self.is_failing = pushed.is_err();
        pushed.ok()
    }

    /// Whether the configuration wants no grants now, because no record of them can be kept.
    pub(super) fn refuses_grants(&self) -> bool {
        self.on_loss == OnLoss::RefuseNewBlocks && (self.is_failing || self.producer.is_failing())
    }

    /// Forgets what is durable by now.
    pub(super) fn look(&mut self) {
        while self.undurable.front().is_some_and(|&(_, ticket)| self.is_settled(ticket)) {
            self.undurable.pop_front();
        }
    }

    /// On the disk, or beyond hope while the operator wants subscribers to be served all the same.
    fn is_settled(&self, ticket: Ticket) -> bool {
        self.producer.is_durable(ticket) || (self.on_loss == OnLoss::Alarm && self.producer.is_failing())
    }

    /// Keeps a packet that must wait for the disk. False: it may leave.
    pub(super) fn keeps(&mut self, packet: &Packet, to: Side) -> bool {
        if self.undurable.is_empty() || to != Side::Internet {
            return false;
        }
        let Some(source) = Ipv4::view(packet.bytes()).map(Ipv4::source) else { return false };
        // The youngest grant of the address: what was sent before it waits with it, and keeps its order.
        let ticket = self.undurable.iter().rev().find(|(address, _)| *address == source).map(|&(_, it)| it);
        let Some(ticket) = ticket else { return false };
        if self.waiting.len() == MOST_WAITING {
            self.lost += 1;
        } else {
            self.waiting.push_back((Packet::copied_from(packet.bytes(), packet.side), ticket));
        }
        true
    }

    /// The next packet whose grant is durable.
    pub(super) fn release(&mut self) -> Option<Packet> {
        let &(_, ticket) = self.waiting.front()?;
        if !self.is_settled(ticket) {
            return None;
        }
        self.waiting.pop_front().map(|(packet, _)| packet)
    }

    /// Whether the disk is waited for.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}
