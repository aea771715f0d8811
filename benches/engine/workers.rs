//! One worker against two, each thread on a processor of its own, without I/O: what sharing costs that nothing is
//! shared. The two own their subscribers and addresses as in the daemon, look at each packet whose it is, and
//! no packet may come to the wrong one.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use aftr::engine::{Aftr, Instant, Owners, Seed, Share, TtlBy, Verdict};
use aftr::wire::{Packet, Side};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::measure::{BATCH, clock, create, median};
use crate::packets::{self, Flow, Shape};

/// Millions of packets per second.
pub(crate) struct Figures {
    pub(crate) mappings: usize,
    pub(crate) one: f64,
    pub(crate) two: f64,
    /// Packets that were another worker's.
    pub(crate) strays: u64,
}

/// A worker, and the flows that are its own.
struct Worker {
    aftr: Aftr,
    owners: Option<Arc<Owners>>,
    number: u16,
    flows: Vec<Flow>,
    order: Vec<u32>,
}

/// Established flows in random order, half of the packets from each side; medians of the rounds.
pub(crate) fn measure(mappings: usize, shape: Shape, rounds: usize) -> Figures {
    let mut alone = vec![Worker::alone(mappings, shape)];
    let mut both = Worker::of_two(mappings, shape);
    let count = mappings.clamp(200_000, 1_000_000);
    let (mut one, mut two, mut strays) = (Vec::new(), Vec::new(), 0);
    for _ in 0..rounds {
        one.push(run(&mut alone, count).0);
        let (rate, wrong) = run(&mut both, count);
        two.push(rate);
        strays += wrong;
    }
    Figures { mappings, one: median(one), two: median(two), strays }
}

impl Worker {
    fn alone(mappings: usize, shape: Shape) -> Worker {
        let config = packets::config(mappings);
        let aftr = Aftr::new(&config, TtlBy::Engine, &Seed::from_number(1), Instant::ZERO);
        Worker::with(aftr, None, 0, packets::flows(mappings, shape))
    }

    fn of_two(mappings: usize, shape: Shape) -> Vec<Worker> {
        let config = packets::config_of_two(mappings);
        let (key, seeds) = Seed::from_number(1).for_workers(2);
        let owners = Arc::new(Owners::new(&config, key));
        let worker = |(number, seed): (u16, &Seed)| {
            let share = Share::new(Arc::clone(&owners), number);
            let aftr = Aftr::of_worker(&config, share, TtlBy::Engine, seed, Instant::ZERO);
            let mut flows = packets::flows(mappings, shape);
            flows.retain(|flow| owners.of(&flow.opening()) == number);
            Worker::with(aftr, Some(Arc::clone(&owners)), number, flows)
        };
        (0..).zip(&seeds).map(worker).collect()
    }

    fn with(mut aftr: Aftr, owners: Option<Arc<Owners>>, number: u16, mut flows: Vec<Flow>) -> Worker {
        create(&mut aftr, &mut flows);
        let order = packets::shuffled(flows.len());
        Worker { aftr, owners, number, flows, order }
    }

    /// Time for `count` packets, and how many of them were another worker's; filling the buffers is not counted.
    fn work(&mut self, count: usize) -> (Duration, u64) {
        let now = Instant::from_secs(2);
        let mut batch: Vec<Packet> = (0..BATCH).map(|_| Packet::with_capacity(1500)).collect();
        let mut verdicts = [Verdict::Hold; BATCH];
        let mut order = self.order.iter().cycle();
        let (mut spent, mut strays) = (Duration::ZERO, 0);
        for _ in 0..count / BATCH {
            for (at, (packet, &flow)) in batch.iter_mut().zip(&mut order).enumerate() {
                let side = if at % 2 == 0 { Side::B4 } else { Side::Internet };
                self.flows[flow as usize].write_data(packet, side);
            }
            let start = clock();
            if let Some(owners) = &self.owners {
                strays += batch.iter().filter(|packet| owners.of(packet) != self.number).count() as u64;
            }
            self.aftr.process(&mut batch, &mut verdicts, now);
            spent += start.elapsed();
            let leaves = |verdict: &Verdict| matches!(verdict, Verdict::ToInternet | Verdict::ToB4);
            assert!(verdicts.iter().all(leaves), "{verdicts:?}");
        }
        (spent, strays)
    }
}

/// All workers at once, `count` packets each: millions of packets per second of all together, and the strays.
fn run(workers: &mut [Worker], count: usize) -> (f64, u64) {
    let start = Barrier::new(workers.len());
    let ends: Vec<(Duration, u64)> = std::thread::scope(|scope| {
        let run = |(cpu, worker): (usize, &mut Worker)| {
            pin(cpu);
            start.wait();
            worker.work(count)
        };
        let threads: Vec<_> =
            workers.iter_mut().enumerate().map(|each| scope.spawn(move || run(each))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a worker that works")).collect()
    });
    let rate = |spent: &Duration| (count / BATCH * BATCH) as f64 / spent.as_secs_f64() / 1e6;
    (ends.iter().map(|(spent, _)| rate(spent)).sum(), ends.iter().map(|(_, strays)| strays).sum())
}

/// Where there is no such processor the thread runs anywhere.
fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    let _ = sched_setaffinity(None, &set);
}
