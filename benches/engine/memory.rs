//! What memory costs: bytes that the process takes, and the time of a read that must wait for the one before
//! it.

use crate::measure::clock;
use crate::packets::shuffled;

/// Bytes of the process by the kernel's count.
#[derive(Clone, Copy)]
pub(crate) struct Use {
    /// Pages that are in memory.
    resident: u64,
    /// What was asked for: tables are reserved whole at the start, and touched as they fill.
    reserved: u64,
}

/// The same for each mapping.
pub(crate) struct PerMapping {
    pub(crate) resident: f64,
    pub(crate) reserved: f64,
}

impl Use {
    pub(crate) fn now() -> Use {
        let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
        let field = |name: &str| -> u64 {
            let value = status.lines().find_map(|line| line.strip_prefix(name)).expect("a field of status");
            value.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("kB") * 1024
        };
        Use { resident: field("VmRSS:"), reserved: field("VmData:") }
    }

    /// What came since then, for each of `count` mappings.
    pub(crate) fn per_mapping(self, count: usize) -> PerMapping {
        let now = Use::now();
        let each = |now: u64, then: u64| now.saturating_sub(then) as f64 / count as f64;
        PerMapping {
            resident: each(now.resident, self.resident),
            reserved: each(now.reserved, self.reserved),
        }
    }
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
    let start = clock();
    let mut line = order[0] as usize;
    for _ in 0..count {
        line = table[line * WORDS_PER_LINE] as usize;
    }
    std::hint::black_box(line);
    start.elapsed().as_secs_f64() * 1e9 / count as f64
}
