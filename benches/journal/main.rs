//! The journal by itself: records per second that are durable with none lost, recovery after a crash, sealing,
//! octets for each grant, and how long an answer takes over many grants.
//!
//! `cargo bench --bench journal`; `-- --short` is what CI runs so that it keeps building;
//! `-- --grants 100000000 --directory DIR` for the figures of `docs/journal.md` (needs 15 GB there).

mod history;
mod measure;

use std::path::PathBuf;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let number = |name: &str, default: u64| value(name).and_then(|text| text.parse().ok()).unwrap_or(default);
    let is_short = arguments.iter().any(|argument| argument == "--short");
    let records = number("--records", if is_short { 20_000 } else { 10_000_000 });
    let grants = number("--grants", if is_short { 20_000 } else { 2_000_000 });
    let folder = value("--directory").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = folder.join(format!("aftr-bench-journal-{}", std::process::id()));

    println!("write:      {}", measure::write(&folder.join("write"), records));
    println!("recovery:   {}", measure::recovery(&folder.join("write")));
    let history = history::History::new(grants);
    println!("seal:       {}", measure::seal(&folder.join("ask"), &history));
    println!(
        "attribute:  {}",
        measure::attribute(&folder.join("ask"), &history, if is_short { 100 } else { 20_000 })
    );
    let _ = std::fs::remove_dir_all(&folder);
}
