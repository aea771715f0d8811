//! The live view of `aftr lab --keep`: redrawn each second until it is interrupted.

use std::time::Duration;

use super::report::{mapping_rows, print_table};
use super::topology::Topology;
use crate::engine::Counters;

/// Lines of the mapping table that fit.
const MOST_ROWS: usize = 20;

/// Shows the lab until the process is interrupted, which takes everything down.
///
/// # Errors
/// When the AFTR has ended.
pub(super) fn watch(lab: &Topology) -> anyhow::Result<()> {
    let mut before = lab.gateway.snapshot()?.counters;
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let now = lab.gateway.snapshot()?.counters;
        let mappings = lab.gateway.mappings()?;
        // Home, and clear to the end: no flicker.
        print!("\x1b[H\x1b[2J");
        println!(
            "aftr lab, live. Ctrl-C ends it and takes everything down.\n\nEnter a host from another terminal:"
        );
        let [one, two] = &lab.homes;
        let nodes = [
            &lab.internet,
            lab.gateway.node(),
            &one.router,
            &one.host,
            &two.router,
            &two.host,
            &lab.stranger,
        ];
        for node in nodes.into_iter().chain(&lab.access) {
            println!("  {:<9} {}", node.name, node.shell());
        }
        print_rates(&before, &now);
        println!("\n  {} mappings", mappings.len());
        print_table(&mapping_rows(&mappings[..mappings.len().min(MOST_ROWS)]));
        before = now;
    }
}

fn print_rates(before: &Counters, now: &Counters) {
    let rate = |name: &str, before: crate::engine::Traffic, now: crate::engine::Traffic| {
        let (packets, octets) = (now.packets - before.packets, now.octets - before.octets);
        println!("  {name:<15} {packets:>9} packets/s {:>9.1} Mbit/s", octets as f64 * 8.0 / 1e6);
    };
    println!();
    rate("from B4s", before.from_b4, now.from_b4);
    rate("to the Internet", before.to_internet, now.to_internet);
    rate("from Internet", before.from_internet, now.from_internet);
    rate("to B4s", before.to_b4, now.to_b4);
    let drops = now.named().filter(|&(name, count)| name.starts_with("drop.") && count > 0);
    let drops: Vec<String> = drops.map(|(name, count)| format!("{name} {count}")).collect();
    println!("  dropped: {}", if drops.is_empty() { "nothing".to_owned() } else { drops.join(", ") });
}
