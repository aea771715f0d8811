//! The engines of all workers on one thread: what the daemon's threads hand over is handed over at once.
//!
//! Replay, tests and fuzzing run it: the same trace, seed and number of workers give the same output.

use std::collections::VecDeque;
use std::sync::Arc;

use aftr_config::Config;
use ipnet::Ipv6Net;

use super::aftr::{Aftr, TtlBy};
use super::counters::Counters;
use super::event::Event;
use super::owners::{Owners, Share, WorkerNumber};
use super::seed::Seed;
use super::time::Instant;
use super::verdict::Verdict;
use super::view::{Gauges, MappingView, SubscriberView};
use crate::wire::{Packet, Side};

/// As many engines as the configuration has workers, and its owners.
pub struct Team {
    owners: Arc<Owners>,
    workers: Vec<Aftr>,
    outbox: VecDeque<(Packet, Side)>,
}

impl Team {
    /// Engines without state but the static mappings of `config`, each with tables of the configured size.
    #[must_use]
    pub fn new(config: &Config, ttl: TtlBy, seed: &Seed, now: Instant) -> Team {
        let (key, seeds) = seed.for_workers(config.dataplane.workers);
        let owners = Arc::new(Owners::new(config, key));
        let engine = |(number, seed): (WorkerNumber, &Seed)| {
            Aftr::of_worker(config, Share::new(Arc::clone(&owners), number), ttl, seed, now)
        };
        let workers = (0..).zip(&seeds).map(engine).collect();
        Team { owners, workers, outbox: VecDeque::new() }
    }

    /// Who owns what.
    #[must_use]
    pub fn owners(&self) -> &Owners {
        &self.owners
    }

    /// As [`Aftr::packet`]; the verdict is that of the last worker that had the packet.
    pub fn packet(&mut self, packet: &mut Packet, now: Instant) -> Verdict {
        let owner = self.owners.of(packet);
        let verdict = self.workers[usize::from(owner)].packet(packet, now);
        let verdict = self.follow(packet, verdict, now);
        self.exchange(now);
        verdict
    }

    /// As [`Aftr::process`]: each worker gets its packets as one batch.
    pub fn process(&mut self, batch: &mut [Packet], verdicts: &mut [Verdict], now: Instant) {
        let owners: Vec<WorkerNumber> = batch.iter().map(|packet| self.owners.of(packet)).collect();
        for number in 0..self.owners.workers() {
            let places: Vec<usize> = (0..batch.len()).filter(|&at| owners[at] == number).collect();
            let take = |&at: &usize| std::mem::replace(&mut batch[at], Packet::with_capacity(0));
            let mut own: Vec<Packet> = places.iter().map(take).collect();
            let mut judged = vec![Verdict::Hold; own.len()];
            self.workers[usize::from(number)].process(&mut own, &mut judged, now);
            for ((at, packet), verdict) in places.into_iter().zip(own).zip(judged) {
                batch[at] = packet;
                verdicts[at] = verdict;
            }
        }
        for (packet, verdict) in batch.iter_mut().zip(verdicts) {
            *verdict = self.follow(packet, *verdict, now);
        }
        self.exchange(now);
    }

    /// Has a packet taken the rest of its way.
    fn follow(&mut self, packet: &mut Packet, mut verdict: Verdict, now: Instant) -> Verdict {
        while let Verdict::ToWorker(worker) = verdict {
            verdict = self.workers[usize::from(worker)].packet(packet, now);
        }
        verdict
    }

    /// Takes what the workers send by themselves, and what that brings about.
    fn exchange(&mut self, now: Instant) {
        loop {
            for worker in &mut self.workers {
                self.outbox.extend(std::iter::from_fn(|| worker.poll_packet()));
            }
            let Some((mut packet, to)) = self.workers.iter_mut().find_map(Aftr::poll_handover) else {
                return;
            };
            let verdict = self.follow(&mut packet, Verdict::ToWorker(to), now);
            if let Some(side) = verdict.leaves_to(packet.side) {
                self.outbox.push_back((packet, side));
            }
        }
    }

    /// As [`Aftr::handle_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        for worker in &mut self.workers {
            if worker.poll_timeout().is_some_and(|due| due <= now) {
                worker.handle_timeout(now);
            }
        }
        self.exchange(now);
    }

    /// As [`Aftr::poll_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.workers.iter().filter_map(Aftr::poll_timeout).min()
    }

    /// As [`Aftr::poll_packet`].
    pub fn poll_packet(&mut self) -> Option<(Packet, Side)> {
        self.outbox.pop_front()
    }

    /// As [`Aftr::poll_event`]; events of different workers are in no order.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.workers.iter_mut().find_map(Aftr::poll_event)
    }

    /// Everything counted since the start, by all workers.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.workers.iter().map(Aftr::counters).sum()
    }

    /// As [`Aftr::gauges`].
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        self.workers.iter().map(Aftr::gauges).sum()
    }

    /// As [`Aftr::mappings`].
    pub fn mappings(&self, now: Instant) -> impl Iterator<Item = MappingView> + '_ {
        self.workers.iter().flat_map(move |worker| worker.mappings(now))
    }

    /// As [`Aftr::subscribers`].
    pub fn subscribers(&self) -> impl Iterator<Item = SubscriberView> + '_ {
        self.workers.iter().flat_map(Aftr::subscribers)
    }

    /// As [`Aftr::purge`].
    pub fn purge(&mut self, prefix: Ipv6Net, now: Instant) -> usize {
        self.workers.iter_mut().map(|worker| worker.purge(prefix, now)).sum()
    }

    /// As [`Aftr::reconfigure`].
    ///
    /// # Errors
    /// As there, and the pools when subscribers would have to move to another worker.
    pub fn reconfigure(&mut self, config: &Config, now: Instant) -> Result<(), Vec<&'static str>> {
        self.owners.check_unmoved(config)?;
        self.workers.iter_mut().try_for_each(|worker| worker.reconfigure(config, now))
    }
}
