//! A forwarder between two ports, with packets sent through it: what `aftr bench` measures, whoever
//! forwards.

use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::bed::{Port, Ports};
use super::frames::{Frames, Hop};
use super::generator::{self, Generator, Pace, Progress, Until};
use super::meters::{self, Cpus};
use super::plan::Plan;
use super::probe::{self, Mark};
use super::sink::{self, Arrivals};
use crate::io::sys::packet_ring::TransmitRing;

/// Where packets come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Way {
    FromB4,
    FromInternet,
}

/// Two ports, the flows between them, and the names under which the Internet sees them.
pub(super) struct Stand {
    pub(super) ports: Ports,
    pub(super) plan: Plan,
    pub(super) cpus: Cpus,
    outside: Vec<SocketAddrV4>,
    order: Vec<u32>,
}

/// Packets that [`Stand::watched`] sends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) way: Way,
    /// Octets of an inner packet.
    pub(super) size: usize,
    pub(super) pace: Pace,
    pub(super) count: u32,
    /// Packets whose number has none of these bits are stamped and looked at.
    pub(super) skipped: u32,
}

impl Stand {
    pub(super) fn new(ports: Ports, plan: Plan, cpus: &Cpus) -> Stand {
        Stand { ports, plan, cpus: cpus.clone(), outside: Vec::new(), order: plan.order() }
    }

    /// Goes on with other flows.
    pub(super) fn turn_to(&mut self, plan: Plan) {
        (self.plan, self.order, self.outside) = (plan, plan.order(), Vec::new());
    }

    /// The port that packets of this direction are sent on, and the one they arrive at.
    pub(super) fn ends(&self, way: Way) -> (&Port, &Port) {
        match way {
            Way::FromB4 => (&self.ports.b4s, &self.ports.internet),
            Way::FromInternet => (&self.ports.internet, &self.ports.b4s),
        }
    }

    /// Opens every flow by a packet from its home, and learns how the Internet sees it. What got lost is
    /// sent again a few times.
    pub(super) fn learn(&mut self) -> anyhow::Result<()> {
        const ATTEMPTS: u32 = 5;
        const RATE: f64 = 50_000.0;
        let mut seen: Vec<Option<SocketAddrV4>> = vec![None; self.plan.flows as usize];
        let mut missing = self.order.clone();
        for _ in 0..ATTEMPTS {
            let load = Load {
                way: Way::FromB4,
                size: probe::SMALLEST,
                pace: Pace::Rate(RATE),
                count: missing.len() as u32,
                skipped: 0,
            };
            let (arrivals, _) = self.watched_in_order(load, &missing)?;
            for (known, new) in seen.iter_mut().zip(arrivals.seen) {
                *known = new.or(*known);
            }
            missing.retain(|&flow| seen[flow as usize].is_none());
            if missing.is_empty() {
                self.outside = seen.into_iter().flatten().collect();
                return Ok(());
            }
        }
        bail!("{} of {} flows do not come through", missing.len(), self.plan.flows)
    }

    /// Sends a number of packets and looks at those that arrive. Gives how many of those that are looked at
    /// the interface took.
    pub(super) fn watched(&self, load: Load) -> anyhow::Result<(Arrivals, u64)> {
        self.watched_in_order(load, &self.order)
    }

    fn watched_in_order(&self, load: Load, order: &[u32]) -> anyhow::Result<(Arrivals, u64)> {
        let mark = next_mark();
        let (from, to) = self.ends(load.way);
        let frames = self.frames(load.way, load.size, mark, from.hop)?;
        let watched = to.run(|| sink::open(to.index, mark, load.skipped))?;
        let watched = watched.with_context(|| format!("cannot look at {}", to.name))?;
        let (ended, progress) = (AtomicBool::new(false), Progress::default());
        let arrivals = std::thread::scope(|scope| {
            let sink = scope.spawn(|| {
                meters::pin(&[self.cpus.rest]);
                sink::watch(watched, self.plan.flows, mark, &ended)
            });
            let generator = Generator {
                ring: ring(from, &frames)?,
                frames: &frames,
                order,
                pace: load.pace,
                until: Until::Count(load.count),
                unstamped: load.skipped,
            };
            let sent = meters::on_cpus(&self.cpus.senders[..1], || generator.run(&progress));
            ended.store(true, Ordering::Relaxed);
            let arrivals = sink.join().map_err(|_| anyhow::anyhow!("the sink panicked"))??;
            sent?;
            anyhow::Ok(arrivals)
        })?;
        let sent = progress.sent.load(Ordering::Relaxed) / u64::from(load.skipped + 1);
        Ok((arrivals, sent))
    }

    /// Sends without end in each of `ways`, while `work` runs and reads the senders' progress.
    pub(super) fn flooded<T>(
        &self,
        ways: &[Way],
        size: usize,
        nowhere: Option<Hop>,
        work: impl FnOnce(&[Progress]) -> T,
    ) -> anyhow::Result<T> {
        let mark = next_mark();
        let progress: Vec<Progress> = ways.iter().map(|_| Progress::default()).collect();
        let frames = ways.iter().map(|&way| {
            let hop = nowhere.unwrap_or(self.ends(way).0.hop);
            self.frames(way, size, mark, hop)
        });
        let frames = frames.collect::<anyhow::Result<Vec<Frames>>>()?;
        std::thread::scope(|scope| {
            let parts = ways.iter().zip(&frames).zip(&progress).zip(self.cpus.senders);
            let senders = parts.map(|(((&way, frames), progress), cpu)| {
                let order = self.order.as_slice();
                let (pace, until) = (Pace::Flood, Until::Stopped);
                let ring = ring(self.ends(way).0, frames)?;
                anyhow::Ok(scope.spawn(move || {
                    meters::pin(&[cpu]);
                    Generator { ring, frames, order, pace, until, unstamped: u32::MAX }.run(progress)
                }))
            });
            let senders = senders.collect::<anyhow::Result<Vec<_>>>();
            let result = senders.is_ok().then(|| work(&progress));
            progress.iter().for_each(|progress| progress.stop.store(true, Ordering::Relaxed));
            for sender in senders? {
                sender.join().map_err(|_| anyhow::anyhow!("a sender panicked"))??;
            }
            result.context("nothing was sent")
        })
    }

    /// Sends the first packet of every flow from its home, while `work` runs, which can ask whether that goes
    /// on. Gives how many there were and the sender's CPU time.
    pub(super) fn opened(
        &self,
        pace: Pace,
        work: impl FnOnce(&dyn Fn() -> bool) -> anyhow::Result<()>,
    ) -> anyhow::Result<(u64, Duration)> {
        let from = &self.ports.b4s;
        let frames = self.frames(Way::FromB4, probe::SMALLEST, next_mark(), from.hop)?;
        let (progress, is_done) = (Progress::default(), AtomicBool::new(false));
        let until = Until::Count(self.plan.flows);
        let ring = ring(from, &frames)?;
        let spent = std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                meters::pin(&self.cpus.senders[..1]);
                let generator =
                    Generator { ring, frames: &frames, order: &self.order, pace, until, unstamped: u32::MAX };
                let sent = generator.run(&progress);
                is_done.store(true, Ordering::Relaxed);
                sent.map(|()| meters::thread_time(meters::this_thread()))
            });
            work(&|| !is_done.load(Ordering::Relaxed))?;
            anyhow::Ok(sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??)
        })?;
        Ok((progress.sent.load(Ordering::Relaxed), spent))
    }

    fn frames(&self, way: Way, size: usize, mark: Mark, hop: Hop) -> anyhow::Result<Frames> {
        Ok(match way {
            Way::FromB4 => Frames::from_b4(&self.plan, hop, size, mark),
            Way::FromInternet if self.outside.is_empty() => bail!("it is not known how flows are seen"),
            Way::FromInternet => Frames::from_internet(&self.plan, hop, size, mark, &self.outside),
        })
    }
}

fn ring(port: &Port, frames: &Frames) -> anyhow::Result<TransmitRing> {
    port.run(|| generator::open(port.index, frames))?.with_context(|| format!("cannot send on {}", port.name))
}

/// No two measurements of a process have the same, until there were 65536.
fn next_mark() -> Mark {
    static NEXT: AtomicU16 = AtomicU16::new(0xd500);
    Mark(NEXT.fetch_add(1, Ordering::Relaxed))
}
