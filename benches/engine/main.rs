//! The engine by itself: ns per packet for established UDP and TCP in both directions, at table sizes
//! from one mapping to a million, visited in random order; new mappings per second; bytes per mapping.
//!
//! Beside them, measured in the same run, the time of one dependent random read over as much memory as
//! the engine's tables take: what a machine's memory alone costs. Figures travel as ratios to that.
//!
//! `cargo bench --bench engine`; `-- --short` is what CI runs so that it keeps building.

mod memory;
mod packets;

use std::time::Instant as Clock;

use aftr::engine::{Aftr, Instant, Seed, TtlBy, Verdict};
use aftr::wire::{Packet, Side};
use packets::{Flow, Transport};

/// Packets that the device hands over at a time.
const BATCH: usize = 64;

fn main() {
    if let Some(at) = std::env::args().position(|argument| argument == "--count") {
        let arguments: Vec<String> = std::env::args().skip(at + 1).collect();
        let size = arguments[0].parse().expect("a size");
        let transport = if arguments[1] == "tcp" { Transport::Tcp } else { Transport::Udp };
        let side = if arguments[2] == "down" { Side::Internet } else { Side::B4 };
        let config = packets::config(size);
        let mut aftr = Aftr::new(&config, TtlBy::Engine, &Seed::from_number(1), Instant::ZERO);
        let mut flows = packets::flows(size, transport);
        create(&mut aftr, &mut flows);
        run(&mut aftr, &flows, &packets::shuffled(size), 64_000, side);
        return;
    }
    let short = std::env::args().any(|argument| argument == "--short");
    let sizes: &[usize] = if short { &[1, 1000] } else { &[1, 1000, 100_000, 1_000_000] };
    let rounds = if short { 1 } else { 5 };
    println!(
        "{:>9} {:>5} {:>12} {:>12} {:>14} {:>12} {:>10}",
        "mappings", "", "from B4", "to B4", "new per s", "bytes each", "read"
    );
    for &size in sizes {
        for transport in [Transport::Udp, Transport::Tcp] {
            let row = measure(size, transport, rounds);
            println!(
                "{size:>9} {:>5} {:>9.1} ns {:>9.1} ns {:>14.0} {:>12.0} {:>7.1} ns",
                transport.name(),
                row.from_b4,
                row.from_internet,
                row.new_per_second,
                row.bytes_per_mapping,
                row.dependent_read,
            );
        }
    }
}

struct Row {
    from_b4: f64,
    from_internet: f64,
    new_per_second: f64,
    bytes_per_mapping: f64,
    dependent_read: f64,
}

fn measure(size: usize, transport: Transport, rounds: usize) -> Row {
    let config = packets::config(size);
    let mut aftr = Aftr::new(&config, TtlBy::Engine, &Seed::from_number(1), Instant::ZERO);
    let mut flows = packets::flows(size, transport);
    let before = memory::resident();
    let created = create(&mut aftr, &mut flows);
    let bytes = memory::resident().saturating_sub(before);
    let order = packets::shuffled(size);
    let packets_per_round = size.clamp(200_000, 2_000_000);
    let up = median(rounds, || run(&mut aftr, &flows, &order, packets_per_round, Side::B4));
    let down = median(rounds, || run(&mut aftr, &flows, &order, packets_per_round, Side::Internet));
    let read = median(rounds, || memory::dependent_read(size * 96, packets_per_round.min(1_000_000)));
    Row {
        from_b4: up,
        from_internet: down,
        new_per_second: created,
        bytes_per_mapping: bytes as f64 / size as f64,
        dependent_read: read,
    }
}

fn median(rounds: usize, mut figure: impl FnMut() -> f64) -> f64 {
    let mut figures: Vec<f64> = (0..rounds).map(|_| figure()).collect();
    figures.sort_by(f64::total_cmp);
    figures[rounds / 2]
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn clock() -> Clock {
    Clock::now()
}

/// Sends the first packet of every flow; gives new mappings per second.
fn create(aftr: &mut Aftr, flows: &mut [Flow]) -> f64 {
    let now = Instant::from_secs(1);
    let mut spent = std::time::Duration::ZERO;
    for chunk in flows.chunks_mut(BATCH) {
        let mut batch: Vec<Packet> = chunk.iter().map(|flow| flow.opening()).collect();
        let mut verdicts = [Verdict::Hold; BATCH];
        let start = clock();
        aftr.process(&mut batch, &mut verdicts, now);
        spent += start.elapsed();
        for ((flow, packet), verdict) in chunk.iter_mut().zip(&batch).zip(verdicts) {
            assert_eq!(verdict, Verdict::ToInternet);
            flow.learn(packet.bytes());
        }
        while aftr.poll_event().is_some() {}
    }
    if let Transport::Tcp = flows[0].transport {
        for flow in flows.iter() {
            let mut answer = flow.answer();
            assert_eq!(aftr.packet(&mut answer, now), Verdict::ToB4);
        }
    }
    flows.len() as f64 / spent.as_secs_f64()
}

/// What is measured, under a name that callgrind finds.
#[inline(never)]
fn judge(aftr: &mut Aftr, batch: &mut [Packet], verdicts: &mut [Verdict], now: Instant) {
    aftr.process(batch, verdicts, now);
}

/// Sends `count` packets of established flows in random order; gives ns per packet, with what filling
/// the buffers takes subtracted.
fn run(aftr: &mut Aftr, flows: &[Flow], order: &[u32], count: usize, side: Side) -> f64 {
    let now = Instant::from_secs(2);
    let mut batch: Vec<Packet> = (0..BATCH).map(|_| Packet::with_capacity(256)).collect();
    let mut verdicts = [Verdict::Hold; BATCH];
    let mut at = 0;
    let mut spent = std::time::Duration::ZERO;
    for _ in 0..count / BATCH {
        for packet in &mut batch {
            flows[order[at] as usize].write_data(packet, side);
            at = (at + 1) % order.len();
        }
        let start = clock();
        judge(aftr, &mut batch, &mut verdicts, now);
        spent += start.elapsed();
        let expected = if side == Side::B4 { Verdict::ToInternet } else { Verdict::ToB4 };
        assert!(verdicts.iter().all(|&verdict| verdict == expected), "{verdicts:?}");
    }
    spent.as_secs_f64() * 1e9 / (count / BATCH * BATCH) as f64
}
