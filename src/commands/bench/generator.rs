//! Sends the frames of a plan: as fast as they go, or at a rate.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use super::clock;
use super::frames::Frames;
use super::meters;
use crate::io::sys::injector::{BATCH, Injector};

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
    /// Given to the interface.
    pub(super) sent: AtomicU64,
    /// Not taken by the interface.
    pub(super) refused: AtomicU64,
    /// Its thread.
    pub(super) thread: AtomicI32,
    pub(super) stop: AtomicBool,
}

/// One sender.
pub(super) struct Generator<'a> {
    pub(super) injector: Injector,
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
    pub(super) fn run(mut self, progress: &Progress) -> std::io::Result<()> {
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
            let mut refused = 0;
            for _ in 0..due {
                let flow = self.order[number as usize % self.order.len()];
                number += 1;
                refused += self.push(flow, number)?;
            }
            refused += self.injector.flush()?;
            progress.sent.fetch_add(u64::from(due) - refused as u64, Ordering::Relaxed);
            progress.refused.fetch_add(refused as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    fn push(&mut self, flow: u32, number: u32) -> std::io::Result<usize> {
        let sent = if number & self.unstamped == 0 { clock::wall() } else { Duration::ZERO };
        let frames = self.frames;
        self.injector.push(frames.length(), |buffer| frames.write(buffer, flow, number, sent))
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
