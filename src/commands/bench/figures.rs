//! One measurement each: throughput with its CPU time, and loss with latency at a rate.

use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::clock;
use super::frames::Hop;
use super::generator::{Pace, Progress};
use super::links::Received;
use super::meters::{self, Softirqs};
use super::stand::{Load, Stand, Way};

/// Before counting begins, queues fill.
const RUN_UP: Duration = Duration::from_millis(150);
/// The share that is next to nothing.
pub(super) const LOSS: f64 = 0.001;
/// How often the arrival of new flows is looked at.
const LOOK: Duration = Duration::from_millis(2);
/// Nothing more comes when nothing has come for so long.
const QUIET: Duration = Duration::from_millis(100);
/// More packets per second are looked at by samples.
const MOST_LOOKED_AT: f64 = 60_000.0;

/// What passes when as much is sent as can be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Throughput {
    /// Packets per second that the interface of the sender took.
    pub(super) offered: f64,
    /// Packets per second that arrived.
    pub(super) arrived: f64,
    /// CPU time of the forwarder's threads for each packet that arrived, in nanoseconds; zero when the
    /// kernel forwards.
    pub(super) forwarder_ns: f64,
    /// CPU time of the senders for each packet offered, in nanoseconds: their own work, and what the kernel
    /// does until the packet waits for the forwarder or, if the kernel forwards, has arrived.
    pub(super) sender_ns: f64,
    /// CPU time of ksoftirqd for each packet that arrived, in nanoseconds.
    pub(super) softirq_ns: f64,
}

impl Throughput {
    /// The share of the offered packets that did not arrive.
    pub(super) fn lost(&self) -> f64 {
        if self.offered > 0.0 { (1.0 - self.arrived / self.offered).max(0.0) } else { 0.0 }
    }
}

/// What becomes of packets at a rate that should be none too many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Quality {
    /// Packets per second.
    pub(super) rate: f64,
    /// Packets sent of those that were looked at.
    pub(super) sent: u64,
    pub(super) arrived: u64,
    pub(super) doubled: u64,
    /// After a later one of its flow.
    pub(super) late: u64,
    /// Not seen because the sink was too slow: loss that is the bench's.
    pub(super) overrun: u64,
    /// One way, in microseconds: of half, 99 and 99.9 % of the packets, and the longest.
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) longest: f64,
}

impl Quality {
    /// The share of the packets that did not arrive, but for those that only the sink did not see.
    pub(super) fn lost(&self) -> f64 {
        let seen = self.arrived + self.overrun;
        self.sent.saturating_sub(seen) as f64 / self.sent.max(1) as f64
    }
}

/// The highest rate that was found to lose next to nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Lossless {
    /// Packets per second; zero when every trial lost more.
    pub(super) rate: f64,
}

/// What becomes of packets each of which opens a flow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct NewFlows {
    /// Flows that were opened.
    pub(super) opened: u64,
    /// Those whose packet arrived.
    pub(super) arrived: u64,
    /// New flows per second, from the first packet sent to the last that arrived.
    pub(super) per_second: f64,
    /// CPU time of the forwarder's threads, or of the sender and ksoftirqd where the kernel forwards, for
    /// each that arrived, in nanoseconds; zero for the kernel when the sender keeps to a rate.
    pub(super) ns: f64,
}

/// The counters at one moment.
struct Reading {
    at: Instant,
    arrived: u64,
    sent: u64,
    senders: Duration,
    forwarder: Duration,
    softirqs: Duration,
}

/// Floods a stand in `ways` for `time`; `threads` are the forwarder's. With a hop to `nowhere` the kernel
/// drops what is sent at once, and the sender is measured alone.
pub(super) fn throughput(
    stand: &Stand,
    ways: &[Way],
    size: usize,
    time: Duration,
    threads: &[i32],
    nowhere: Option<Hop>,
) -> anyhow::Result<Throughput> {
    let softirqs = Softirqs::find();
    let mut received =
        ways.iter().map(|&way| stand.ends(way).1.received()).collect::<anyhow::Result<Vec<Received>>>()?;
    let mut read = |progress: &[Progress]| {
        let sent = progress.iter().map(|progress| progress.sent.load(Ordering::Relaxed)).sum();
        let senders = progress.iter().map(|progress| progress.thread.load(Ordering::Relaxed));
        let arrived = received.iter_mut().map(Received::count).sum::<anyhow::Result<u64>>()?;
        anyhow::Ok(Reading {
            at: clock::now(),
            arrived,
            sent,
            senders: senders.map(meters::thread_time).sum(),
            forwarder: threads.iter().copied().map(meters::thread_time).sum(),
            softirqs: softirqs.time(),
        })
    };
    let (before, after) = stand.flooded(ways, size, nowhere, |progress| {
        sleep(RUN_UP.min(time));
        let before = read(progress)?;
        sleep(time);
        anyhow::Ok((before, read(progress)?))
    })??;
    let seconds = (after.at - before.at).as_secs_f64();
    let (arrived, sent) = (after.arrived - before.arrived, after.sent - before.sent);
    let each = |time: Duration, packets: u64| {
        if packets == 0 { 0.0 } else { time.as_secs_f64() * 1e9 / packets as f64 }
    };
    Ok(Throughput {
        offered: sent as f64 / seconds,
        arrived: arrived as f64 / seconds,
        forwarder_ns: each(after.forwarder.saturating_sub(before.forwarder), arrived),
        sender_ns: each(after.senders.saturating_sub(before.senders), sent),
        softirq_ns: each(after.softirqs.saturating_sub(before.softirqs), arrived),
    })
}

/// Sends packets of `size` octets at `rate` for `time`.
pub(super) fn quality(
    stand: &Stand,
    way: Way,
    size: usize,
    rate: f64,
    time: Duration,
) -> anyhow::Result<Quality> {
    let mut skipped = 0u32;
    while rate / f64::from(skipped + 1) > MOST_LOOKED_AT {
        skipped = skipped << 1 | 1;
    }
    let samples = ((rate * time.as_secs_f64()) as u32 / (skipped + 1)).max(1);
    let count = samples * (skipped + 1);
    let (arrivals, sent) = stand.watched(Load { way, size, pace: Pace::Rate(rate), count, skipped })?;
    let micros = |share| arrivals.percentile(share).unwrap_or_default().as_secs_f64() * 1e6;
    Ok(Quality {
        rate,
        sent,
        arrived: arrivals.packets,
        doubled: arrivals.doubled,
        late: arrivals.late,
        overrun: arrivals.overrun,
        p50: micros(0.5),
        p99: micros(0.99),
        p999: micros(0.999),
        longest: micros(1.0),
    })
}

/// Looks for the highest rate, up to `most`, at which at most [`LOSS`] of the packets are lost, by halving
/// what is left (RFC 2544 section 26.1): `trials` of `time` each.
pub(super) fn lossless(
    stand: &Stand,
    way: Way,
    size: usize,
    most: f64,
    trials: u32,
    time: Duration,
) -> anyhow::Result<Lossless> {
    let (mut good, mut bad) = (0.0, most);
    let mut rate = most;
    for _ in 0..trials {
        if quality(stand, way, size, rate.max(1.0), time)?.lost() <= LOSS {
            good = rate;
        } else {
            bad = rate;
        }
        if good >= bad {
            break;
        }
        rate = f64::midpoint(good, bad);
    }
    Ok(Lossless { rate: good })
}

/// Opens every flow of the stand's plan once; `threads` are the forwarder's.
pub(super) fn new_flows(stand: &Stand, threads: &[i32], pace: Pace) -> anyhow::Result<NewFlows> {
    let mut received = stand.ends(Way::FromB4).1.received()?;
    let softirqs = Softirqs::find();
    let forwarder = || threads.iter().copied().map(meters::thread_time).sum::<Duration>();
    let (before, before_softirqs, first) = (forwarder(), softirqs.time(), received.count()?);
    let start = clock::now();
    let (mut last, mut last_at) = (first, start);
    let (opened, sender) = stand.opened(pace, |is_sending| {
        // Until nothing has come for a while.
        while is_sending() || last_at.elapsed() < QUIET {
            let count = received.count()?;
            if count > last {
                (last, last_at) = (count, clock::now());
            }
            sleep(LOOK);
        }
        anyhow::Ok(())
    })?;
    let arrived = last - first;
    let spent = if !threads.is_empty() {
        forwarder().saturating_sub(before)
    } else if pace == Pace::Flood {
        sender + softirqs.time().saturating_sub(before_softirqs)
    } else {
        // A sender that keeps to a rate spends its time waiting.
        Duration::ZERO
    };
    let (seconds, count) = ((last_at - start).as_secs_f64(), arrived.max(1) as f64);
    Ok(NewFlows {
        opened,
        arrived,
        per_second: if seconds > 0.0 { arrived as f64 / seconds } else { 0.0 },
        ns: spent.as_secs_f64() * 1e9 / count,
    })
}
