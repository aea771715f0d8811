//! Looks at what arrives: how much, in which order, how late, and under which name each flow is seen.

use std::io;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::clock;
use super::probe::{self, Mark};
use crate::io::sys::packet_ring::{ReceiveRing, RingSize};

/// Frames that may wait to be looked at.
const SLOTS: usize = 8192;
/// Octets of the longest frame: a jumbo frame is not sent.
const FRAME: usize = 1600;
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

/// A ring of the frames of a measurement that come to an interface; of their numbers, those without any of
/// the bits of `skipped`.
///
/// # Errors
/// As [`ReceiveRing::open`].
pub(super) fn open(interface: u32, mark: Mark, skipped: u32) -> io::Result<ReceiveRing> {
    let size = RingSize { frame: FRAME, slots: SLOTS };
    ReceiveRing::open(interface, libc::ETH_P_ALL as u16, size, &probe::filter(mark, skipped))
}

/// Looks until `ended` is set and then nothing comes any more. Gives up a little later in any case.
pub(super) fn watch(
    mut ring: ReceiveRing,
    flows: u32,
    mark: Mark,
    ended: &AtomicBool,
) -> io::Result<Arrivals> {
    let mut arrivals = Arrivals::of_flows(flows);
    let mut last_packet = clock::now();
    loop {
        while ring.next_frame().is_some() {
            let at = ring.stamp();
            if let Some(frame) = ring.next_frame() {
                arrivals.note(frame.bytes, at, mark);
            }
            ring.release();
            last_packet = clock::now();
        }
        if ended.load(Ordering::Relaxed) && last_packet.elapsed() > QUIET {
            break;
        }
        std::thread::sleep(INTERVAL);
    }
    arrivals.overrun = ring.take_losses()?;
    arrivals.times.sort_unstable();
    Ok(arrivals)
}
