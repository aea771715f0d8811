//! The engine by itself: ns and instructions per packet for established UDP and TCP in both directions, small
//! and large, at table sizes from one mapping to four million, visited in random order; new mappings per
//! second, what ending them takes, bytes per mapping.
//!
//! Beside them, measured in the same run, the time of one dependent random read over as much memory as
//! the engine's tables take: what a machine's memory alone costs. Figures travel as ratios to that.
//!
//! `cargo bench --bench engine`; `-- --size 1000` for one size only; `-- --short` is what CI runs so that it keeps building; `-- --write` writes
//! the table into `docs/performance.md`.

mod instructions;
mod measure;
mod memory;
mod packets;
mod peer;
mod report;
mod workers;

use measure::Row;
use packets::{Shape, Transport};

/// Mappings in the table.
const SIZES: [usize; 5] = [1, 1000, 100_000, 1_000_000, 4_000_000];
/// Total length of an inner packet: as the peers' figures were made with, and what bulk data has.
const LENGTHS: [usize; 2] = [46, 1400];
/// An odd number, so that the median is one of them.
const ROUNDS: usize = 5;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    if let Some(at) = arguments.iter().position(|argument| argument == instructions::CHILD) {
        instructions::run_child(&arguments[at + 1..]);
        return;
    }
    let is_short = has("--short");
    let wanted = arguments.iter().skip_while(|argument| *argument != "--size").nth(1);
    let wanted: Option<usize> = wanted.map(|size| size.parse().expect("--size and a number of mappings"));
    let sizes = if is_short { &SIZES[..2] } else { &SIZES[..] };
    let sizes = wanted.as_ref().map_or(sizes, std::slice::from_ref);
    let rounds = if is_short { 1 } else { ROUNDS };
    println!("{}", report::HEAD);
    let mut rows = Vec::new();
    for &size in sizes {
        for shape in shapes() {
            let row =
                Row { instructions: instructions::count(size, shape), ..measure::row(size, shape, rounds) };
            println!("{}", report::line(&row));
            rows.push(row);
        }
    }
    if wanted.is_some() {
        return;
    }
    let expiry = measure::expiry(if is_short { 10_000 } else { 1_000_000 });
    println!("\n{}", report::expiry(&expiry));
    let shape = Shape { transport: Transport::Udp, length: 46 };
    let together = if is_short { &[10_000][..] } else { &[100_000, 1_000_000] };
    let pairs: Vec<_> = together.iter().map(|&mappings| workers::measure(mappings, shape, rounds)).collect();
    pairs.iter().for_each(|pair| println!("{}", report::workers(pair)));
    if has("--write") {
        report::write(&rows, &expiry, &pairs);
    }
}

fn shapes() -> impl Iterator<Item = Shape> {
    LENGTHS.into_iter().flat_map(|length| {
        [Transport::Udp, Transport::Tcp].into_iter().map(move |transport| Shape { transport, length })
    })
}
