//! The public face of the engine.

use aftr_config::Config;
use ipnet::Ipv6Net;

use super::counters::Counters;
use super::event::Event;
use super::seed::Seed;
use super::time::Instant;
use super::verdict::Verdict;
use super::view::{MappingView, SubscriberView};
use crate::wire::{Packet, Side};

/// Who takes one from the inner TTL of a packet that crosses. A hairpinned packet is never seen by
/// the kernel: there it is always the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TtlBy {
    /// The engine: it is the only router between the two sides.
    Engine,
    /// The kernel, which routes on both sides of a tun: the engine checks the TTL of what comes from
    /// a B4 and leaves the decrement to the kernel.
    Kernel,
}

/// One AFTR: the tables of one worker.
pub struct Aftr {}

impl Aftr {
    /// An engine without state but the static mappings of `config`. All big tables are made here.
    #[must_use]
    pub fn new(_config: &Config, _ttl: TtlBy, _seed: &Seed, _now: Instant) -> Aftr {
        unimplemented!()
    }

    /// Bytes that [`Aftr::new`] will take for the tables of `config`.
    #[must_use]
    pub fn memory(_config: &Config) -> u64 {
        unimplemented!()
    }

    /// Judges a batch: `verdicts[i]` says what to do with `batch[i]`, which was edited in place.
    pub fn process(&mut self, _batch: &mut [Packet], _verdicts: &mut [Verdict], _now: Instant) {
        unimplemented!()
    }

    /// Judges one packet.
    pub fn packet(&mut self, _packet: &mut Packet, _now: Instant) -> Verdict {
        unimplemented!()
    }

    /// Does what time asks for: expiry, hold-down, held SYNs. Works a bounded amount; when more is
    /// due, [`Aftr::poll_timeout`] answers a time that is not later than `now`.
    pub fn handle_timeout(&mut self, _now: Instant) {
        unimplemented!()
    }

    /// When [`Aftr::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        unimplemented!()
    }

    /// A packet that time brought about, and the side to send it to.
    pub fn poll_packet(&mut self) -> Option<(Packet, Side)> {
        unimplemented!()
    }

    /// The oldest event not yet fetched.
    pub fn poll_event(&mut self) -> Option<Event> {
        unimplemented!()
    }

    /// Everything counted since the start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        unimplemented!()
    }

    /// Takes over a changed configuration; what it still allows lives on.
    ///
    /// # Errors
    /// The keys that cannot change while the engine runs; then nothing has changed.
    pub fn reconfigure(&mut self, _config: &Config, _now: Instant) -> Result<(), Vec<&'static str>> {
        unimplemented!()
    }

    /// Ends every mapping of every subscriber inside `prefix` (RFC 7785 section 4.6); says how many.
    pub fn purge(&mut self, _prefix: Ipv6Net, _now: Instant) -> usize {
        unimplemented!()
    }

    /// Every mapping that lives, in no particular but a repeatable order.
    pub fn mappings(&self, _now: Instant) -> impl Iterator<Item = MappingView> + '_ {
        std::iter::empty()
    }

    /// Every subscriber that holds something, in no particular but a repeatable order.
    pub fn subscribers(&self) -> impl Iterator<Item = SubscriberView> + '_ {
        std::iter::empty()
    }
}
