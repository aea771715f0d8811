//! One worker: a thread that owns a device and an engine, and shares nothing.
//!
//! It waits for packets, for the engine's next timer or for a [`Wake`], and then does all that is due.
//! Nothing is allocated and nothing is locked per packet.

use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::clock::Clock;
use super::request::{Losses, Reply, Request, Snapshot};
use super::wake::Wake;
use crate::engine::{Aftr, Event, Instant, Verdict};
use crate::io::Device;
use crate::wire::Packet;

/// Packets per batch.
const BATCH: usize = 64;
/// What a buffer takes: any IP packet, whatever MTU somebody gives the interface. Pages that no packet
/// has reached cost nothing.
const LARGEST_PACKET: usize = 65535;

/// What a worker is made of.
pub(super) struct Worker<D> {
    pub(super) device: D,
    pub(super) aftr: Aftr,
    pub(super) clock: Clock,
    pub(super) requests: Receiver<Request>,
    pub(super) wake: Wake,
    /// Where events go; one that does not fit is counted and lost.
    pub(super) events: Option<SyncSender<Event>>,
    pub(super) losses: Losses,
}

impl<D: Device + AsFd> Worker<D> {
    /// Works until it is told to stop. Gives the state at the end.
    ///
    /// # Errors
    /// When packets can be received no more.
    pub(super) fn run(mut self) -> io::Result<Snapshot> {
        let mut batch: Vec<Packet> = (0..BATCH).map(|_| Packet::with_capacity(LARGEST_PACKET)).collect();
        let mut verdicts = [Verdict::Hold; BATCH];
        loop {
            let received = self.device.receive(&mut batch)?;
            let now = self.clock.now();
            self.forward(&mut batch[..received], &mut verdicts[..received], now);
            self.let_time_pass(now);
            self.flush();
            self.hand_out_events();
            if self.answer_requests(now) == Then::Stop {
                self.hand_out_events();
                return Ok(self.snapshot(now));
            }
            if received < BATCH {
                self.wait()?;
            }
        }
    }

    fn forward(&mut self, batch: &mut [Packet], verdicts: &mut [Verdict], now: Instant) {
        self.aftr.process(batch, verdicts, now);
        for (packet, verdict) in batch.iter().zip(verdicts) {
            if let Some(side) = verdict.leaves_to(packet.side) {
                self.losses.unsent += u64::from(self.device.send(packet, side).is_err());
            }
        }
    }

    fn let_time_pass(&mut self, now: Instant) {
        if self.aftr.poll_timeout().is_some_and(|due| due <= now) {
            self.aftr.handle_timeout(now);
        }
        while let Some((packet, side)) = self.aftr.poll_packet() {
            self.losses.unsent += u64::from(self.device.send(&packet, side).is_err());
        }
    }

    fn flush(&mut self) {
        self.losses.unsent += u64::from(self.device.flush().is_err());
    }

    fn hand_out_events(&mut self) {
        while let Some(event) = self.aftr.poll_event() {
            if let Some(events) = &self.events {
                self.losses.events += u64::from(events.try_send(event).is_err());
            }
        }
    }

    fn answer_requests(&mut self, now: Instant) -> Then {
        loop {
            match self.requests.try_recv() {
                Ok(Request::Snapshot(reply)) => answer(&reply, self.snapshot(now)),
                Ok(Request::Mappings(reply)) => answer(&reply, self.aftr.mappings(now).collect()),
                Ok(Request::Subscribers(reply)) => answer(&reply, self.aftr.subscribers().collect()),
                Ok(Request::Reconfigure(config, reply)) => {
                    answer(&reply, self.aftr.reconfigure(&config, now));
                }
                Ok(Request::Purge(prefix, reply)) => answer(&reply, self.aftr.purge(prefix, now)),
                Ok(Request::Stop) | Err(std::sync::mpsc::TryRecvError::Disconnected) => return Then::Stop,
                Err(std::sync::mpsc::TryRecvError::Empty) => return Then::Continue,
            }
        }
    }

    fn snapshot(&self, now: Instant) -> Snapshot {
        Snapshot {
            at: now,
            counters: self.aftr.counters().clone(),
            gauges: self.aftr.gauges(),
            losses: self.losses,
        }
    }

    /// Until a packet is there, a timer is due or somebody rings.
    fn wait(&self) -> io::Result<()> {
        let timeout = self.aftr.poll_timeout().map(|due| timespec(self.clock.until(due)));
        let mut descriptors =
            [PollFd::new(&self.device, PollFlags::IN), PollFd::new(&self.wake, PollFlags::IN)];
        match poll(&mut descriptors, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        if !descriptors[1].revents().is_empty() {
            self.wake.hush();
        }
        Ok(())
    }
}

#[derive(PartialEq, Eq)]
enum Then {
    Continue,
    Stop,
}

/// Who asked may have gone away meanwhile.
fn answer<T>(reply: &Reply<T>, answer: T) {
    let _ = reply.try_send(answer);
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) }
}
