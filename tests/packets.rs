//! Golden cases: every folder of `tests/packets/` is told to an engine, replayed from its capture, and
//! compared file by file. `docs/packets.md` says how a case is made.
//!
//! `UPDATE=1 cargo test --test packets` rewrites the files that are made from the stories, unless a story
//! itself does not hold. `CASE=text` takes only the folders whose names contain it.

mod story;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aftr::commands::replay::{Replay, counter_lines, entry_lines, event_line};
use aftr::engine::{Config, Instant, Seed};
use aftr::io::pcap;
use story::{Story, tell};

/// The time of the first packet of every capture: 2026-01-01 00:00:00 UTC.
const ORIGIN: Duration = Duration::from_secs(1_767_225_600);

#[test]
fn every_story_holds_and_every_capture_replays_the_same() {
    let filter = std::env::var("CASE").unwrap_or_default();
    let folders: Vec<PathBuf> =
        cases().into_iter().filter(|folder| folder.to_string_lossy().contains(&filter)).collect();
    assert!(!folders.is_empty(), "no case contains {filter}");
    let mut failed = 0;
    for folder in &folders {
        if let Err(problems) = check(folder) {
            failed += 1;
            eprintln!("\n{}\n{problems}", folder.display());
        }
    }
    assert_eq!(failed, 0, "{failed} of {} cases differ; each is shown above", folders.len());
}

#[test]
fn names_are_sentences() {
    for folder in cases() {
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let words = name.split('-').count();
        let is_plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        assert!(words >= 4 && is_plain, "{name} is no sentence");
    }
}

#[test]
fn a_story_that_does_not_hold_is_refused() {
    let config = "tests/packets/inner-ttl-one-is-answered-by-192-0-0-1/config.toml";
    let config = Config::parse(&fs::read_to_string(config).expect("a case")).expect("a configuration");
    let problems = |lines: &str| {
        let story = Story::parse(&format!("# why\n{lines}")).expect("a story");
        tell(&story, &config).problems.join("; ")
    };
    let packet = "0 from-b4 A udp 10.0.0.2:5000 > R1:80";
    let right = format!("{packet}\nexpect to-internet from=198.51.100.7:* to-port=80 ttl=60..63 id=!7");
    assert_eq!(problems(&right), "");
    for (wrong, why) in [
        ("", "no expect line"),
        ("expect drop drop.in.src", "expected drop"),
        ("expect to-internet ttl=64", "expected ttl=64, got 63"),
        ("expect to-internet ttl=1..62", "got 63"),
        ("expect to-internet ttl=!63", "got 63"),
        ("expect to-internet from=198.51.100.8:*", "expected from="),
        ("expect to-internet tll=63", "got absent"),
        ("expect to-internet\nexpect counter drop.in.src 1", "got 0"),
        ("expect to-internet\nexpect mappings 2", "got 1"),
        ("expect to-internet\nexpect events mapping-created 2", "got 1"),
        ("expect to-internet\nexpect sends to-b4", "time sends nothing"),
        ("expect to-internet\n1 from-b4 A udp 10.0.0.2:5000 > R1:80 tll=9", "unknown setting tll"),
        ("expect to-internet\n1 from-internet udp R1:80 > {7}", "packet 7 made nothing leave"),
    ] {
        let problems = problems(&format!("{packet}\n{wrong}"));
        assert!(problems.contains(why), "{wrong}: {problems}");
    }
    let unexpected = "0 from-internet tcp R1:80 > 198.51.100.7:9 S\nexpect hold\n9 time";
    assert!(problems(unexpected).contains("nobody expects what time sends"));
}

fn cases() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = fs::read_dir("tests/packets")
        .expect("the golden cases")
        .map(|entry| entry.expect("a folder").path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}

/// One folder: its story, then its files.
fn check(folder: &Path) -> Result<(), String> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).map_err(|error| format!("{name}: {error}"));
    let config = Config::parse(&read("config.toml")?).map_err(|errors| format!("config.toml: {errors:?}"))?;
    let story = Story::parse(&read("story")?)?;
    let told = tell(&story, &config);
    if let Some(why) = &story.unmet {
        eprintln!("unmet: {}: {why}", folder.display());
        let holds = "the story holds now: take `unmet` out of it and rewrite the case".to_owned();
        return if told.problems.is_empty() { Err(holds) } else { Ok(()) };
    }
    if !told.problems.is_empty() {
        return Err(told.problems.join("\n"));
    }
    let made = replay(&capture(&told.packets), &story, &config, told.until)?;
    if std::env::var_os("UPDATE").is_some() {
        fs::write(folder.join("in.pcap"), capture(&told.packets)).map_err(|error| error.to_string())?;
        return made
            .into_iter()
            .try_for_each(|(name, bytes)| fs::write(folder.join(name), bytes))
            .map_err(|error| error.to_string());
    }
    let golden = |name: &str| fs::read(folder.join(name)).map_err(|error| format!("{name}: {error}"));
    if golden("in.pcap")? != capture(&told.packets) {
        return Err("in.pcap is not what the story makes any more".to_owned());
    }
    let replayed = replay(&golden("in.pcap")?, &story, &config, told.until)?;
    for (name, bytes) in replayed {
        let expected = golden(name)?;
        if expected != bytes {
            return Err(format!("{name} differs\n{}", difference(&expected, &bytes)));
        }
    }
    Ok(())
}

/// The files that a replay of `capture` makes.
fn replay(
    capture: &[u8],
    story: &Story,
    config: &Config,
    until: u64,
) -> Result<Vec<(&'static str, Vec<u8>)>, String> {
    let mut replay = Replay::new(config, story.ttl, &Seed::from_number(story.seed));
    let mut entries = Vec::new();
    for record in pcap::Reader::new(capture).map_err(|error| error.to_string())? {
        let record = record.map_err(|error| error.to_string())?;
        entries.extend(replay.packet(Instant::ZERO + (record.at - ORIGIN), &record.bytes));
    }
    entries.extend(replay.run_until(Instant::from_millis(until)));
    let outputs: Vec<(u64, Vec<u8>)> = entries
        .iter()
        .filter_map(|entry| Some((entry.at.millis(), entry.output.as_ref()?.1.clone())))
        .collect();
    let verdicts: String = entries.iter().map(entry_lines).collect();
    let events: String = replay.take_events().iter().map(event_line).collect();
    Ok(vec![
        ("verdicts", verdicts.into_bytes()),
        ("events", events.into_bytes()),
        ("counters", counter_lines(&replay.counters()).into_bytes()),
        ("out.pcap", self::capture(&outputs)),
    ])
}

/// A pcap file of raw IP packets.
fn capture(packets: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = pcap::Writer::new(&mut bytes).expect("memory");
    for (at, packet) in packets {
        writer.write(ORIGIN + Duration::from_millis(*at), packet).expect("memory");
    }
    bytes
}

/// The lines that are gone and the lines that are new.
fn difference(expected: &[u8], got: &[u8]) -> String {
    let (expected, got) = (String::from_utf8_lossy(expected), String::from_utf8_lossy(got));
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), got.lines().collect());
    // Length of the longest common subsequence of what follows both places.
    let mut common = vec![vec![0u32; new.len() + 1]; old.len() + 1];
    for (at, line) in old.iter().enumerate().rev() {
        for (there, other) in new.iter().enumerate().rev() {
            common[at][there] = if line == other {
                common[at + 1][there + 1] + 1
            } else {
                common[at + 1][there].max(common[at][there + 1])
            };
        }
    }
    let (mut at, mut there, mut text) = (0, 0, String::new());
    while at < old.len() || there < new.len() {
        if at < old.len() && there < new.len() && old[at] == new[there] {
            (at, there) = (at + 1, there + 1);
        } else if there == new.len() || at < old.len() && common[at + 1][there] >= common[at][there + 1] {
            text += &format!("- {}\n", old[at]);
            at += 1;
        } else {
            text += &format!("+ {}\n", new[there]);
            there += 1;
        }
    }
    if text.is_empty() { "only bytes that the text does not show".to_owned() } else { text }
}
