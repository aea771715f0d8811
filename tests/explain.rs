//! `aftr explain`: golden texts in `tests/explain/`, its errors, and what must hold for every packet.
//!
//! `UPDATE=1 cargo test --test explain` rewrites the capture and the texts.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "explain/packets.rs"]
mod packets;
mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aftr::commands::explain::{Explanation, Outcome, Player, explanation_text};
use aftr::commands::replay::side_of;
use aftr::engine::{Config, DropReason, Instant, Seed, TtlBy, Verdict};
use aftr::io::pcap::{self, Record};
use aftr::wire::Side;
use program::{aftr, assert_ends};

const CAPTURE: &str = "tests/explain/capture.pcap";
const CONFIG: &str = "tests/explain/config.toml";

/// A text, the folder of its configuration and capture in `tests/packets` (none: the capture of this test),
/// and which packet it explains.
const TEXTS: &[(&str, Option<&str>, usize)] = &[
    ("a-first-packet-goes-to-the-internet", Some("a-reply-reaches-only-the-home-that-asked"), 1),
    ("its-answer-goes-to-the-b4", Some("a-reply-reaches-only-the-home-that-asked"), 3),
    ("a-syn-gets-a-session-and-a-smaller-mss", Some("tcp-syn-mss-is-lowered-to-1420"), 1),
    (
        "a-call-from-home-to-home-turns-around",
        Some("hairpinned-udp-shows-the-caller-by-its-external-address"),
        3,
    ),
    (
        "an-icmp-error-is-translated-by-its-quotation",
        Some("an-icmp-error-from-a-router-on-the-way-is-translated-back"),
        2,
    ),
    ("a-stranger-is-in-no-allow-list", Some("an-unknown-b4-meets-silence"), 1),
    ("a-used-up-ttl-is-told", Some("inner-ttl-one-is-answered-by-192-0-0-1"), 1),
    ("a-full-quota-is-told", Some("a-full-quota-refuses-the-new-and-keeps-the-old"), 4),
    ("a-port-that-nobody-has-is-silent", Some("udp-from-the-internet-to-a-free-port-meets-silence"), 1),
    ("an-unexpected-syn-waits", Some("an-unsolicited-syn-is-answered-with-icmp-after-6-seconds"), 1),
    ("the-aftr-answers-its-ping", Some("ping-of-192-0-0-1-is-answered-and-costs-no-port"), 1),
    ("a-pass-through-rule-leaves-a-packet-alone", Some("pass-through-destinations-see-the-inner-address"), 1),
    (
        "a-packet-that-the-softwire-does-not-take-is-told",
        Some("honoured-df-is-answered-with-the-mtu-of-the-tunnel"),
        2,
    ),
    ("a-path-mtu-that-was-learnt-is-told", Some("honoured-df-is-answered-with-the-mtu-of-the-tunnel"), 6),
    (
        "a-call-meets-the-softwire-of-the-called-home",
        Some("honoured-df-is-answered-with-the-mtu-of-the-tunnel"),
        7,
    ),
    ("an-outer-fragment-waits", None, 1),
    ("an-outer-fragment-completes-its-packet", None, 2),
    ("a-later-piece-waits-for-the-first", None, 3),
    ("a-first-piece-draws-the-others-after-it", None, 4),
    ("a-later-piece-follows-the-first", None, 5),
    ("a-path-mtu-is-learnt", None, 6),
    ("a-path-mtu-that-cannot-be-is-refused", None, 7),
    ("a-large-packet-is-cut-to-the-path", None, 8),
    ("an-overlap-ends-its-packet", None, 10),
    ("a-packet-that-must-not-be-cut-is-refused", None, 11),
    ("a-rule-refuses-a-datagram", None, 12),
    ("a-later-piece-shares-the-fate-of-the-first", None, 13),
];

#[test]
fn every_text_is_as_it_was() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut capture = Vec::new();
    let mut writer = pcap::Writer::new(&mut capture).unwrap();
    for (at, packet) in packets::capture() {
        writer.write(Duration::from_secs(1_767_225_600) + Duration::from_millis(at), &packet).unwrap();
    }
    if update {
        fs::write(CAPTURE, &capture).unwrap();
    }
    assert_eq!(fs::read(CAPTURE).unwrap(), capture, "{CAPTURE} is not what packets.rs makes");
    let mut different = Vec::new();
    for &(name, folder, number) in TEXTS {
        let (config, capture) = match folder {
            Some(folder) => {
                (format!("tests/packets/{folder}/config.toml"), format!("tests/packets/{folder}/in.pcap"))
            }
            None => (CONFIG.to_owned(), CAPTURE.to_owned()),
        };
        let records = records(Path::new(&capture));
        let explanations = explain_all(&config_of(Path::new(&config)), &records[..number]);
        let text = explanation_text(explanations.last().unwrap());
        let path = format!("tests/explain/{name}.txt");
        if update {
            fs::write(&path, &text).unwrap();
        } else if fs::read_to_string(&path).unwrap_or_default() != text {
            different.push(format!("{path} differs; now it is\n{text}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn the_page_shows_what_the_program_says() {
    let page = fs::read_to_string("docs/explain.md").unwrap();
    let text = fs::read_to_string("tests/explain/a-full-quota-is-told.txt").unwrap();
    assert!(
        page.contains(&text),
        "docs/explain.md has another text than tests/explain/a-full-quota-is-told.txt"
    );
}

#[test]
fn no_text_is_left_over() {
    let texts = fs::read_dir("tests/explain").unwrap().map(|entry| entry.unwrap().path());
    for path in texts.filter(|path| path.extension().is_some_and(|extension| extension == "txt")) {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(TEXTS.iter().any(|(text, ..)| *text == name), "{} belongs to no case", path.display());
    }
}

#[test]
fn every_packet_of_every_golden_case_is_explained() {
    let mut reasons = Vec::new();
    for (config, records) in golden_cases() {
        for explanation in explain_all(&config, &records) {
            check(&explanation);
            reasons.extend(explanation.verdict.drop_reason());
        }
    }
    reasons.sort();
    reasons.dedup();
    assert!(reasons.len() > 40, "the cases meet {} drop reasons only", reasons.len());
}

#[test]
fn packets_that_are_spoilt_are_explained_too() {
    for (config, records) in golden_cases() {
        let mut player = Player::new(&config, TtlBy::Engine, &Seed::from_number(1));
        for record in records.iter().take(3) {
            for at in 0..record.bytes.len().min(110) {
                let mut spoilt = record.bytes.clone();
                spoilt[at] ^= 1 << (at % 8);
                for bytes in [&spoilt[..], &record.bytes[..at]] {
                    check(&player.explain(side_of(&record.bytes), player.now(), bytes));
                }
            }
            check(&player.explain(side_of(&record.bytes), player.now(), &record.bytes));
            for side in [Side::B4, Side::Internet] {
                check(&player.explain(side, player.now(), &record.bytes));
            }
        }
    }
}

/// What must hold for every explanation.
fn check(explanation: &Explanation) {
    let text = explanation_text(explanation);
    let ended: Vec<Outcome> = explanation.steps.iter().map(|step| step.outcome).collect();
    let last = ended.last().copied();
    let all_passed = ended.iter().all(|&outcome| outcome == Outcome::Passed);
    let one_end = ended.iter().filter(|&&outcome| outcome != Outcome::Passed).count() == 1;
    match explanation.verdict {
        Verdict::Drop(reason) | Verdict::Reject(reason) => {
            assert!(last == Some(Outcome::Dropped) && one_end, "no step dropped it\n{text}");
            assert_eq!(explanation.counter.unwrap().name, reason.name());
            assert!(explanation.told.is_some(), "{text}");
            let is_told = matches!(explanation.verdict, Verdict::Reject(_));
            assert_eq!(is_told, !explanation.told.as_ref().unwrap().starts_with("nothing"), "{text}");
        }
        Verdict::Hold => {
            assert!(
                matches!(last, Some(Outcome::Held | Outcome::Taken)) && one_end,
                "no step holds it\n{text}"
            );
        }
        Verdict::ToWorker(_) => panic!("all is one worker's here\n{text}"),
        Verdict::ToInternet | Verdict::ToB4 | Verdict::Reply => {
            assert!(all_passed && !explanation.leaves.is_empty(), "{text}");
            let has = |names: &[&str]| explanation.steps.iter().any(|step| names.contains(&step.name));
            assert!(
                has(&["translation", "pass-through", "local delivery", "ICMPv6 type", "mapping"]),
                "{text}"
            );
            let into_softwire = explanation.verdict == Verdict::ToB4;
            assert!(!into_softwire || has(&["encapsulation"]), "{text}");
        }
    }
    for step in &explanation.steps {
        let sentence = &step.sentence;
        assert!(sentence.len() > 4 && !sentence.contains("  "), "{}: {sentence}\n{text}", step.name);
    }
}

#[test]
fn the_program_explains_a_packet_of_a_capture_and_of_digits_alike() {
    let of_capture = aftr(&["explain", CONFIG, CAPTURE, "--packet", "1"]);
    assert_ends(&of_capture, 0, &["from a B4", "reassembly", "verdict  hold"]);
    let (_, first) = packets::capture().swap_remove(0);
    let digits: String = first.iter().map(|octet| format!("{octet:02x} ")).collect();
    let of_digits = aftr(&["explain", CONFIG, "--hex", &digits]);
    assert_eq!(String::from_utf8_lossy(&of_digits.stdout), String::from_utf8_lossy(&of_capture.stdout));
}

#[test]
fn a_capture_that_is_played_first_makes_the_state_that_digits_meet() {
    let (_, packet) = packets::capture().swap_remove(7);
    let digits: String = packet.iter().map(|octet| format!("{octet:02x}")).collect();
    let alone = aftr(&["explain", CONFIG, "--hex", &digits]);
    assert_ends(&alone, 0, &["from the Internet", "in fragments of 1496, 88 octets"]);
    let after = aftr(&["explain", CONFIG, "--hex", &digits, "--after", CAPTURE, "--at", "1.5"]);
    assert_ends(&after, 0, &["packet 14, ", "at 1.500 s", "in fragments of 1400, 184 octets"]);
}

#[test]
fn an_mtu_that_is_lowered_names_its_key() {
    let text = fs::read_to_string(CONFIG).unwrap();
    let sentence = |text: &str| {
        let mut player = Player::new(&Config::parse(text).unwrap(), TtlBy::Engine, &Seed::from_number(0));
        let packet = packets::fragmentation_needed(1480);
        let explanation = player.explain(Side::Internet, player.now(), &packet);
        assert_eq!(explanation.verdict, Verdict::ToB4, "{}", explanation_text(&explanation));
        explanation.steps.into_iter().find(|step| step.name == "translation").unwrap().sentence
    };
    let clamped = sentence(&text.replace("[softwire]", "[softwire]\nptb-clamp = true"));
    assert!(clamped.ends_with("MTU 1480 → 1460: softwire.ptb-clamp"), "{clamped}");
    assert!(!sentence(&text).contains("MTU"), "{}", sentence(&text));
}

#[test]
fn an_error_that_quotes_no_ipv6_packet_says_so() {
    let mut player = Player::new(&config_of(Path::new(CONFIG)), TtlBy::Engine, &Seed::from_number(0));
    let mut said = |packet: &[u8]| {
        let explanation = player.explain(Side::B4, player.now(), packet);
        assert_eq!(explanation.counter.unwrap().name, DropReason::Icmp6Quote.name());
        explanation.steps.last().unwrap().sentence.clone()
    };
    assert_eq!(said(&packets::tunnel_error_about_ipv4(60)), "it quotes no IPv6 packet");
    assert_eq!(said(&packets::tunnel_error_about_ipv4(20)), "it quotes no IPv6 packet");
    assert_eq!(said(&packets::tunnel_error_about(&[0x60; 20])), "it quotes less than an IPv6 header");
}

#[test]
fn machines_learn_what_a_fragment_waits_for() {
    let output = aftr(&["explain", CONFIG, CAPTURE, "--packet", "3", "--json"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&value["verdict"], &value["counter"]), (&"hold".into(), &serde_json::Value::Null));
    assert_eq!(value["else"]["name"], DropReason::V4FragNoContext.name());
    let output = aftr(&["explain", CONFIG, CAPTURE, "--packet", "6", "--json"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&value["verdict"], &value["else"]), (&"taken".into(), &serde_json::Value::Null));
}

#[test]
fn machines_get_one_json_object() {
    let output = aftr(&["explain", CONFIG, CAPTURE, "--packet", "10", "--json"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["verdict"], "drop drop.v6.frag_overlap");
    assert_eq!(value["counter"]["name"], DropReason::V6FragOverlap.name());
    let steps = value["steps"].as_array().unwrap();
    assert_eq!(steps.last().unwrap()["outcome"], "dropped");
    assert!(steps.iter().all(|step| step["rule"].is_string() && step["source"].is_string()));
}

#[test]
fn the_side_can_be_said() {
    let output = aftr(&["explain", CONFIG, "--hex", "4500", "--side", "b4"]);
    assert_ends(&output, 0, &["from a B4", "drop drop.v6.short", "2 octets, and an IPv6 header has 40"]);
}

#[test]
fn what_is_wrong_is_named_with_its_place_and_its_cure() {
    for (arguments, expected) in [
        (&["--hex", "45 0g"][..], &["character 5, 'g'", "white space and colons"][..]),
        (&["--hex", "450"], &["3 digits", "one is missing"]),
        (&["--hex", ""], &["is empty", "--hex 4500002e"]),
        (&["--hex", "00ff"], &["starts with 0x00", "--side"]),
        (&["--hex", "0011223344550011223344550800450000"], &["Ethernet frame", "first 14 octets"]),
        (&[CAPTURE, "--packet", "99"], &["has 13 IP packets", "no packet 99", "--packet 13"]),
        (&[CAPTURE, "--packet", "0"], &["no packet 0", "--packet 1 to"]),
        (
            &["tests/explain/none.pcap", "--packet", "1"],
            &["tests/explain/none.pcap", "No such file", "tcpdump -w"],
        ),
        (&[CONFIG, "--packet", "1"], &["no pcap file", "tcpdump -w"]),
        (&["--hex", "4500", "--after", CONFIG], &["no pcap file"]),
        (&[CAPTURE], &["--packet <N>"]),
        (&[], &["--hex <HEX>"]),
        (&[CAPTURE, "--packet", "1", "--hex", "45"], &["cannot be used with"]),
    ] {
        let output = aftr(&[&["explain", CONFIG], arguments].concat());
        assert_ends(&output, 2, expected);
    }
    assert_ends(
        &aftr(&["explain", "/nonexistent.toml", "--hex", "45"]),
        2,
        &["/nonexistent.toml", "No such file"],
    );
}

fn explain_all(config: &Config, records: &[Record]) -> Vec<Explanation> {
    let mut player = Player::new(config, TtlBy::Engine, &Seed::from_number(0));
    let origin = records.first().map_or(Duration::ZERO, |first| first.at);
    let explain = |record: &Record| {
        player.explain(side_of(&record.bytes), Instant::ZERO + (record.at - origin), &record.bytes)
    };
    records.iter().map(explain).collect()
}

fn golden_cases() -> Vec<(Config, Vec<Record>)> {
    let mut folders: Vec<PathBuf> =
        fs::read_dir("tests/packets").unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let folders = folders.into_iter().filter(|folder| folder.join("in.pcap").exists());
    let cases =
        folders.map(|folder| (config_of(&folder.join("config.toml")), records(&folder.join("in.pcap"))));
    cases.chain([(config_of(Path::new(CONFIG)), records(Path::new(CAPTURE)))]).collect()
}

fn config_of(path: &Path) -> Config {
    Config::parse(&fs::read_to_string(path).unwrap()).unwrap()
}

fn records(path: &Path) -> Vec<Record> {
    pcap::Reader::new(&*fs::read(path).unwrap()).unwrap().map(Result::unwrap).collect()
}
