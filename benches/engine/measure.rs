//! What is measured of one table size and one kind of packet.

use std::time::{Duration, Instant as Clock};

use aftr::engine::{Aftr, Instant, Seed, TtlBy, Verdict};
use aftr::wire::{Packet, Side};

use crate::memory;
use crate::packets::{self, Flow, Shape, Transport};

/// Packets that the device hands over at a time.
pub(crate) const BATCH: usize = 64;

/// A line of the table.
pub(crate) struct Row {
    pub(crate) size: usize,
    pub(crate) shape: Shape,
    /// Nanoseconds per packet.
    pub(crate) from_b4: f64,
    pub(crate) from_internet: f64,
    /// Instructions per packet, from the B4 and from the Internet, where they were counted.
    pub(crate) instructions: Option<(u64, u64)>,
    pub(crate) new_per_second: f64,
    pub(crate) bytes: memory::PerMapping,
    /// Nanoseconds of a dependent random read over as much memory.
    pub(crate) dependent_read: f64,
}

/// What it takes to end the mappings of a full table.
pub(crate) struct Expiry {
    pub(crate) mappings: usize,
    pub(crate) ns_each: f64,
    /// The longest that packets waited.
    pub(crate) longest: Duration,
}

pub(crate) fn row(size: usize, shape: Shape, rounds: usize) -> Row {
    let mut flows = packets::flows(size, shape);
    let before = memory::Use::now();
    let (mut aftr, new_per_second) = established(size, &mut flows);
    let bytes = before.per_mapping(size);
    let order = packets::shuffled(size);
    let count = size.clamp(200_000, 2_000_000);
    // In turns, so that what disturbs the machine disturbs all of them.
    let mut figures: [Vec<f64>; 3] = Default::default();
    for _ in 0..rounds {
        figures[0].push(nanoseconds(&mut aftr, &flows, &order, count, Side::B4));
        figures[1].push(nanoseconds(&mut aftr, &flows, &order, count, Side::Internet));
        figures[2].push(memory::dependent_read(size * 96, count.min(1_000_000)));
    }
    let [from_b4, from_internet, dependent_read] = figures.map(median);
    Row { size, shape, from_b4, from_internet, instructions: None, new_per_second, bytes, dependent_read }
}

/// An engine with `size` mappings, of these flows, and how many of them were made per second.
pub(crate) fn established(size: usize, flows: &mut [Flow]) -> (Aftr, f64) {
    let config = packets::config(size);
    let mut aftr = Aftr::new(&config, TtlBy::Engine, &Seed::from_number(1), Instant::ZERO);
    let created = create(&mut aftr, flows);
    (aftr, created)
}

/// Sends the first packet of every flow, and takes the events; gives new mappings per second.
pub(crate) fn create(aftr: &mut Aftr, flows: &mut [Flow]) -> f64 {
    let now = Instant::from_secs(1);
    let mut spent = Duration::ZERO;
    let mut verdicts = [Verdict::Hold; BATCH];
    for chunk in flows.chunks_mut(BATCH) {
        let mut batch: Vec<Packet> = chunk.iter().map(|flow| flow.opening()).collect();
        let start = clock();
        aftr.process(&mut batch, &mut verdicts, now);
        while aftr.poll_event().is_some() {}
        spent += start.elapsed();
        for ((flow, packet), verdict) in chunk.iter_mut().zip(&batch).zip(verdicts) {
            assert_eq!(verdict, Verdict::ToInternet);
            flow.learn(packet.bytes());
        }
    }
    if let Transport::Tcp = flows[0].shape.transport {
        for flow in flows.iter() {
            let mut answer = flow.answer();
            assert_eq!(aftr.packet(&mut answer, now), Verdict::ToB4);
        }
    }
    flows.len() as f64 / spent.as_secs_f64()
}

/// Sends `count` packets of established flows in the order given; filling the buffers is not counted.
pub(crate) fn nanoseconds(aftr: &mut Aftr, flows: &[Flow], order: &[u32], count: usize, side: Side) -> f64 {
    let now = Instant::from_secs(2);
    let mut batch: Vec<Packet> = (0..BATCH).map(|_| Packet::with_capacity(1500)).collect();
    let mut verdicts = [Verdict::Hold; BATCH];
    let mut order = order.iter().cycle();
    let mut spent = Duration::ZERO;
    for _ in 0..count / BATCH {
        for (packet, &flow) in batch.iter_mut().zip(&mut order) {
            flows[flow as usize].write_data(packet, side);
        }
        let start = clock();
        judge(aftr, &mut batch, &mut verdicts, now);
        spent += start.elapsed();
        let expected = if side == Side::B4 { Verdict::ToInternet } else { Verdict::ToB4 };
        assert!(verdicts.iter().all(|&verdict| verdict == expected), "{verdicts:?}");
    }
    spent.as_secs_f64() * 1e9 / (count / BATCH * BATCH) as f64
}

/// What is measured, under a name that callgrind finds.
#[inline(never)]
fn judge(aftr: &mut Aftr, batch: &mut [Packet], verdicts: &mut [Verdict], now: Instant) {
    aftr.process(batch, verdicts, now);
}

/// Ends all mappings of a table at once: their time is up, and so is the hold-down of their ports.
pub(crate) fn expiry(size: usize) -> Expiry {
    let shape = Shape { transport: Transport::Udp, length: 46 };
    let (mut aftr, _) = established(size, &mut packets::flows(size, shape));
    let mut longest = Duration::ZERO;
    let mut spent = Duration::ZERO;
    for second in [302, 302 + 121] {
        let now = Instant::from_secs(second);
        while aftr.poll_timeout().is_some_and(|due| due <= now) {
            let start = clock();
            aftr.handle_timeout(now);
            while aftr.poll_event().is_some() {}
            let took = start.elapsed();
            longest = longest.max(took);
            spent += took;
        }
    }
    assert_eq!(aftr.gauges().mappings, 0);
    Expiry { mappings: size, ns_each: spent.as_secs_f64() * 1e9 / size as f64, longest }
}

pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(crate) fn clock() -> Clock {
    Clock::now()
}
