//! A target by UDP: nobody says what arrived, so nothing is kept. Templates go first, twice, and again every
//! `template-refresh` seconds (RFC 7011 section 8.4), and when somebody may have begun to listen.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aftr_config::Target;

use super::counters::{Counters, add};
use super::form::{Form, SAFE_DATAGRAM, Surroundings};
use super::link;
use super::loss::Loss;
use super::queue::Queue;
use super::record::Record;
use super::time::Now;
use crate::engine::Instant;

/// Records that are taken at once.
const BATCH: usize = 4096;
/// Largest datagram, whatever the path takes: collectors' buffers are made for Ethernet.
const MOST_DATAGRAM: usize = 1452;
/// Copies of the templates before the first record (RFC 7011 section 10.3.5 says: several).
const COPIES: usize = 2;
/// Least time between templates to a port that refuses: whoever listens there next has none.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);

/// The datagrams of one target.
pub(super) struct Datagrams {
    target: Target,
    form: Form,
    refresh: Duration,
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    socket: Option<UdpSocket>,
    size: usize,
    refreshed: Option<Instant>,
    /// Whether nobody was listening after the templates went.
    was_refused: bool,
    taken: Vec<Record>,
    /// How many of them were sent.
    done: usize,
    message: Vec<u8>,
    loss: Loss,
}

impl Datagrams {
    pub(super) fn new(
        target: &Target,
        form: Form,
        template_refresh: u32,
        queue: Arc<Queue>,
        counters: Arc<Counters>,
    ) -> Datagrams {
        Datagrams {
            target: target.clone(),
            form,
            refresh: Duration::from_secs(u64::from(template_refresh)),
            queue,
            counters,
            socket: None,
            size: SAFE_DATAGRAM[usize::from(target.address.is_ipv6())],
            refreshed: None,
            was_refused: false,
            taken: Vec::new(),
            done: 0,
            message: Vec::new(),
            loss: Loss::default(),
        }
    }

    /// Sends what waits. Without a socket, as before there is a route, it keeps waiting.
    pub(super) fn step(&mut self, about: &Surroundings<'_>, now: Now) {
        if self.socket.is_none() {
            add(&self.counters.attempts, 1);
            self.socket = link::datagrams(&self.target)
                .inspect_err(|error| tracing::warn!(collector = self.counters.name(), %error, "no socket"))
                .ok();
        }
        self.counters.is_connected.store(self.socket.is_some(), Ordering::Relaxed);
        if self.socket.is_none() {
            return;
        }
        self.learn_size();
        self.learn_refusal();
        self.refresh(about, now);
        loop {
            if self.done == self.taken.len() {
                (self.taken, self.done) = (std::mem::take(&mut self.taken), 0);
                self.taken.clear();
                self.queue.take(BATCH, &mut self.taken);
            }
            if self.taken.is_empty() {
                return;
            }
            self.send_some(now);
        }
    }

    /// The end: what was never sent is lost.
    pub(super) fn end(&mut self, now: Now) {
        let mut left = self.taken.split_off(self.done);
        self.queue.take(usize::MAX, &mut left);
        left.iter().for_each(|record| self.loss.count(record, now.unix_millis));
        self.counters.set_other_loss(self.loss);
    }

    /// Whether everything that was put in has been sent.
    pub(super) fn is_idle(&self) -> bool {
        self.done == self.taken.len() && self.queue.len() == 0
    }

    fn refresh(&mut self, about: &Surroundings<'_>, now: Now) {
        let copies = match self.refreshed {
            None => COPIES,
            Some(refreshed)
                if self.was_refused && !self.is_idle() && now.monotonic >= refreshed + AFTER_REFUSAL =>
            {
                COPIES
            }
            Some(refreshed) if now.monotonic >= refreshed + self.refresh => 1,
            Some(_) => return,
        };
        (self.refreshed, self.was_refused) = (Some(now.monotonic), false);
        for _ in 0..copies {
            for message in self.form.opening(about, now) {
                self.send(&message);
            }
        }
    }

    /// Sends one message of the records that were taken. One that the path does not take any more is written
    /// anew for its new size.
    fn send_some(&mut self, now: Now) {
        self.message.clear();
        let sequence = self.form.sequence();
        let records = self.form.write(&self.taken[self.done..], now, &mut self.message);
        let message = std::mem::take(&mut self.message);
        let error = self.send(&message);
        self.message = message;
        let is_too_large = error.as_ref().is_some_and(|error| error.raw_os_error() == Some(libc::EMSGSIZE));
        if is_too_large && records > 1 {
            self.form.rewind(sequence);
            let known = self.size;
            self.learn_size();
            if self.size == known {
                self.set_size(known / 2);
            }
            return;
        }
        let of_message = &self.taken[self.done..self.done + records];
        if error.is_some() {
            of_message.iter().for_each(|record| self.loss.count(record, now.unix_millis));
            self.counters.set_other_loss(self.loss);
        } else {
            add(&self.counters.sent, records as u64);
        }
        self.done += records;
    }

    /// Sends a datagram. An error that is there before belongs to an earlier one (`ECONNREFUSED`: an ICMP error
    /// came), so it is tried twice.
    fn send(&mut self, message: &[u8]) -> Option<io::Error> {
        let socket = self.socket.as_ref()?;
        let mut result = socket.send(message);
        if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            self.was_refused = true;
            add(&self.counters.refused, 1);
            result = socket.send(message);
        }
        match result {
            Ok(octets) => {
                add(&self.counters.messages, 1);
                add(&self.counters.octets, octets as u64);
                None
            }
            Err(error) => {
                add(&self.counters.refused, 1);
                Some(error)
            }
        }
    }

    /// Takes the ICMP error that came since the last datagram: the next one may find a collector.
    fn learn_refusal(&mut self) {
        let error = self.socket.as_ref().and_then(|socket| socket.take_error().ok().flatten());
        if error.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            self.was_refused = true;
            add(&self.counters.refused, 1);
        }
    }

    fn learn_size(&mut self) {
        let is_ipv6 = self.target.address.is_ipv6();
        let known = self.socket.as_ref().and_then(|socket| link::datagram_size(socket, is_ipv6));
        if let Some(size) = known.map(|size| size.min(MOST_DATAGRAM))
            && size != self.size
        {
            self.set_size(size);
        }
    }

    fn set_size(&mut self, size: usize) {
        self.size = size;
        self.form.limit(size);
    }
}

#[cfg(test)]
#[path = "tests/datagrams.rs"]
mod tests;
