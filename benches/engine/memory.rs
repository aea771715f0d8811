//! What memory costs: bytes that the process really uses, and the time of a read that must wait for the
//! one before it.

use super::packets::shuffled;

/// Pages of the process that are in memory, in bytes. The engine reserves its tables at the start and
/// touches them as they fill, so this is what a mapping costs.
pub(crate) fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("procfs");
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).expect("statm");
    pages * 4096
}

/// Nanoseconds of one read of a random line of `bytes`, when its address comes from the line before.
pub(crate) fn dependent_read(bytes: usize, count: usize) -> f64 {
    const WORDS_PER_LINE: usize = 8;
    let lines = (bytes / 64).max(1);
    let order = shuffled(lines);
    let mut table = vec![0u64; lines * WORDS_PER_LINE];
    for (at, &line) in order.iter().enumerate() {
        let next = order[(at + 1) % lines];
        table[line as usize * WORDS_PER_LINE] = u64::from(next);
    }
    let start = super::clock();
    let mut line = order[0] as usize;
    for _ in 0..count {
        line = table[line * WORDS_PER_LINE] as usize;
    }
    std::hint::black_box(line);
    start.elapsed().as_secs_f64() * 1e9 / count as f64
}
