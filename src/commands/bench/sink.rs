//! Looks at what arrives: how much, in which order, how late, and under which name each flow is seen.

use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::clock;
use super::probe::{self, Mark};
use crate::io::sys::tap::Tap;

/// Octets that may wait to be looked at.
pub(super) const ROOM: usize = 64 << 20;
/// How often the sink looks.
const INTERVAL: Duration = Duration::from_millis(10);
/// Nothing more comes when nothing has come for so long.
const QUIET: Duration = Duration::from_millis(60);

/// What has arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Arrivals {
    /// Packets, each counted once.
    pub(super) packets: u64,
    /// Packets that came again.
    pub(super) doubled: u64,
    /// Packets that came after a later one of the same flow.
    pub(super) late: u64,
    /// Nanoseconds on the way, of each packet that was stamped; sorted when the sink is done.
    pub(super) times: Vec<u32>,
    /// Frames that the sink itself had no room for.
    pub(super) overrun: u64,
    /// The number of the last packet of each flow.
    last: Vec<u32>,
    /// Who sent it, as it is seen here, by flow.
    pub(super) seen: Vec<Option<SocketAddrV4>>,
}

impl Arrivals {
    pub(super) fn of_flows(flows: u32) -> Arrivals {
        Arrivals { last: vec![0; flows as usize], seen: vec![None; flows as usize], ..Arrivals::default() }
    }

    fn note(&mut self, frame: &[u8], at: Duration, mark: Mark) {
        let Some((probe, from)) = probe::in_frame(frame, mark) else { return };
        let flow = probe.flow as usize;
        let (Some(last), Some(seen)) = (self.last.get_mut(flow), self.seen.get_mut(flow)) else { return };
        if probe.number == *last {
            self.doubled += 1;
            return;
        }
        self.packets += 1;
        self.late += u64::from(probe.number < *last);
        *last = probe.number.max(*last);
        *seen = Some(from);
        if !probe.sent.is_zero() {
            let time = at.saturating_sub(probe.sent).as_nanos();
            self.times.push(u32::try_from(time).unwrap_or(u32::MAX));
        }
    }

    /// The time that this share of the packets did not exceed; none when nothing was stamped.
    pub(super) fn percentile(&self, share: f64) -> Option<Duration> {
        let last = self.times.len().checked_sub(1)?;
        let at = (share * last as f64).round() as usize;
        Some(Duration::from_nanos(u64::from(self.times[at.min(last)])))
    }
}

/// Looks until `ended` is set and then nothing comes any more. Gives up a little later in any case.
pub(super) fn watch(mut tap: Tap, flows: u32, mark: Mark, ended: &AtomicBool) -> std::io::Result<Arrivals> {
    let mut arrivals = Arrivals::of_flows(flows);
    let mut last_packet = clock::now();
    loop {
        while tap.receive(|frame, at| arrivals.note(frame, at, mark))? > 0 {
            last_packet = clock::now();
        }
        if ended.load(Ordering::Relaxed) && last_packet.elapsed() > QUIET {
            break;
        }
        std::thread::sleep(INTERVAL);
    }
    arrivals.overrun = tap.lost()?;
    arrivals.times.sort_unstable();
    Ok(arrivals)
}
