//! Where an IPv4 packet goes: out, to a home of this worker, or to a home of another worker.
//!
//! What goes to another worker is a packet as the Internet would see it. It takes the path from the Internet
//! there, marked as one that was let in already: its source is a pool address, and it was counted.

use std::net::Ipv4Addr;

use super::aftr::Aftr;
use super::owners::WorkerNumber;
use super::verdict::Verdict;
use crate::wire::ipv4::Ipv4;
use crate::wire::{Packet, Side};

/// Where a packet to an IPv4 address goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Toward {
    Internet,
    /// A pool address of this worker, by its number.
    Address(u32),
    Worker(WorkerNumber),
}

impl Aftr {
    /// Where packets to `destination` go.
    #[inline(always)]
    pub(super) fn toward(&self, destination: Ipv4Addr) -> Toward {
        match self.pool.find(destination) {
            None => Toward::Internet,
            Some(address) => match self.pool.addresses[address as usize].other_worker {
                None => Toward::Address(address),
                Some(worker) => Toward::Worker(worker),
            },
        }
    }

    /// Gives a packet to another worker.
    pub(super) fn hand_over(&mut self, packet: &mut Packet, side: Side, to: WorkerNumber) -> Verdict {
        self.counters.to_workers.count(packet.len());
        packet.hand_over(side);
        Verdict::ToWorker(to)
    }

    /// Sends a packet of our own, or what is left of one, after the batch.
    pub(super) fn send_later(&mut self, mut packet: Packet, to: Side) {
        if to == Side::Internet
            && let Some(worker) = self.other_worker(&packet)
        {
            packet.hand_over(Side::Internet);
            self.handed_over.push_back((packet, worker));
        } else {
            self.outbox.push_back((packet, to));
        }
    }

    /// An answer to what another worker handed over goes back there.
    #[cold]
    pub(super) fn answer_worker(&self, packet: &mut Packet, verdict: Verdict) -> Verdict {
        let answers = verdict.leaves_to(packet.side) == Some(Side::Internet);
        match self.other_worker(packet).filter(|_| answers) {
            Some(worker) => {
                packet.hand_over(Side::Internet);
                Verdict::ToWorker(worker)
            }
            None => verdict,
        }
    }

    fn other_worker(&self, packet: &Packet) -> Option<WorkerNumber> {
        if self.share.is_all() {
            return None;
        }
        match self.toward(Ipv4::view(packet.bytes())?.destination()) {
            Toward::Worker(worker) => Some(worker),
            Toward::Internet | Toward::Address(_) => None,
        }
    }
}
