//! Sends the frames of a plan: as fast as they go, or at a rate.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use super::clock;
use super::frames::Frames;
use super::meters;
use crate::io::sys::packet_ring::{RingSize, TransmitRing};

/// Frames handed over with one system call.
const BATCH: usize = 64;
/// Frames of the ring: more than wait anywhere on the way.
const SLOTS: usize = 8192;
/// When the ring is full.
const PAUSE: Duration = Duration::from_micros(50);
/// Shorter pauses are waited for without sleeping: a sleeper wakes too late.
const SHORTEST_SLEEP: Duration = Duration::from_micros(200);

/// How fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pace {
    /// As fast as the interface takes them.
    Flood,
    /// Packets per second.
    Rate(f64),
}

/// How much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Somebody says stop.
    Stopped,
    /// So many packets were sent.
    Count(u32),
}

/// What a sender has done so far, for others to read.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Given to the interface, with those that it did not take.
    pub(super) sent: AtomicU64,
    /// Not taken by the interface.
    pub(super) refused: AtomicU64,
    /// Its thread.
    pub(super) thread: AtomicI32,
    pub(super) stop: AtomicBool,
}

/// A ring to send `frames` on an interface.
///
/// # Errors
/// As [`TransmitRing::open`].
pub(super) fn open(interface: u32, frames: &Frames) -> io::Result<TransmitRing> {
    TransmitRing::open(interface, RingSize { frame: frames.length(), slots: SLOTS })
}

/// One sender.
pub(super) struct Generator<'a> {
    pub(super) ring: TransmitRing,
    pub(super) frames: &'a Frames,
    /// Flows in the order to send them, over and over.
    pub(super) order: &'a [u32],
    pub(super) pace: Pace,
    pub(super) until: Until,
    /// Packets whose number has none of these bits carry the time of sending.
    pub(super) unstamped: u32,
}

impl Generator<'_> {
    /// Sends on the calling thread until it is done.
    pub(super) fn run(mut self, progress: &Progress) -> io::Result<()> {
        progress.thread.store(meters::this_thread(), Ordering::Relaxed);
        let start = clock::now();
        let most = match self.until {
            Until::Stopped => u32::MAX,
            Until::Count(count) => count,
        };
        let mut number = 0u32;
        while number < most && !progress.stop.load(Ordering::Relaxed) {
            let due = match self.pace {
                Pace::Flood => BATCH as u32,
                Pace::Rate(rate) => {
                    wait(Duration::from_secs_f64(f64::from(number) / rate).saturating_sub(start.elapsed()));
                    let due = (start.elapsed().as_secs_f64() * rate) as u32 + 1;
                    due.saturating_sub(number).clamp(1, BATCH as u32)
                }
            };
            let due = due.min(most - number);
            for _ in 0..due {
                let flow = self.order[number as usize % self.order.len()];
                number += 1;
                self.write(flow, number, progress)?;
            }
            self.send(progress)?;
            progress.sent.fetch_add(due.into(), Ordering::Relaxed);
        }
        Ok(())
    }

    fn write(&mut self, flow: u32, number: u32, progress: &Progress) -> io::Result<()> {
        let sent = if number & self.unstamped == 0 { clock::wall() } else { Duration::ZERO };
        let length = self.frames.length();
        loop {
            if let Some(slot) = self.ring.reserve() {
                self.frames.write(&mut slot[..length], flow, number, sent);
                break;
            }
            // Every slot is on its way. To ask again and again would be counted as the cost of sending.
            self.send(progress)?;
            std::thread::sleep(PAUSE);
        }
        self.ring.commit(length);
        Ok(())
    }

    /// Sends what is written. A frame that the interface does not take is gone.
    fn send(&self, progress: &Progress) -> io::Result<()> {
        loop {
            match self.ring.kick() {
                Ok(()) => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    progress.refused.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn wait(time: Duration) {
    let end = clock::now() + time;
    if time > SHORTEST_SLEEP {
        std::thread::sleep(time - SHORTEST_SLEEP / 2);
    }
    while clock::now() < end {
        std::hint::spin_loop();
    }
}
