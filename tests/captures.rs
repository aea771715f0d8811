//! Captures as operators have them, and command lines as they type them: what `aftr replay`, `explain` and
//! `check` say.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod program;

use std::fs;
use std::path::PathBuf;

use program::{aftr, assert_ends};

const CONFIG: &str = "tests/explain/config.toml";
const CAPTURE: &str = "tests/explain/capture.pcap";

#[test]
fn a_capture_that_ends_in_a_record_is_played_as_far_as_it_goes() {
    let whole = fs::read(CAPTURE).unwrap();
    let file = written("cut-short.pcap", &whole[..whole.len() - 9]);
    let replayed = aftr(&["replay", CONFIG, &file, "--quiet"]);
    assert_ends(&replayed, 0, &["last record is cut short", "12 packets before it", "12 packets in"]);
    let explained = aftr(&["explain", CONFIG, &file, "--packet", "12"]);
    assert_ends(&explained, 0, &["last record is cut short", "drop.policy"]);
}

#[test]
fn a_packet_that_was_captured_in_part_is_named_with_its_cure() {
    let mut records = records_of(&fs::read(CAPTURE).unwrap());
    let (_, first) = records.first_mut().unwrap();
    first.truncate(96);
    let file = written("in-part.pcap", &capture_of(101, 848, &records));
    let told = ["1 packet captured in part only", "tcpdump -s 0"];
    assert_ends(&aftr(&["replay", CONFIG, &file, "--quiet"]), 0, &told);
    let explained = aftr(&["explain", CONFIG, &file, "--packet", "1"]);
    let said = ["cut short by the capture, 752 octets are missing", "drop.v6.len"];
    assert_ends(&explained, 0, &[&told[..], &said].concat());
}

#[test]
fn frames_without_an_ip_packet_are_counted_and_the_frame_of_a_packet_is_named() {
    let (arp, pppoe) = (0x0806u16, 0x8864u16);
    let packets = records_of(&fs::read(CAPTURE).unwrap());
    let frame = |kind: u16, data: &[u8]| [&[2; 12], &kind.to_be_bytes()[..], data].concat();
    let frames = [frame(arp, &[0; 28]), frame(0x86dd, &packets[0].1), frame(pppoe, &[0; 40])];
    let frames: Vec<(u32, Vec<u8>)> = frames.into_iter().map(|frame| (0, frame)).collect();
    let file = written("frames.pcap", &capture_of(1, 0, &frames));
    let told = "2 frames without an IP packet (ARP, PPPoE";
    assert_ends(&aftr(&["replay", CONFIG, &file, "--quiet"]), 0, &[told, "1 packets in"]);
    let explained = aftr(&["explain", CONFIG, &file, "--packet", "1"]);
    assert_ends(&explained, 0, &[told, "the packet is in frame 2", "verdict  hold"]);
}

#[test]
fn packets_that_the_aftr_sent_itself_are_noticed_once() {
    let output = aftr(&["replay", CONFIG, CAPTURE, "--out", &path_of("out.pcap"), "--quiet"]);
    assert!(output.status.success());
    for arguments in [
        &["replay", CONFIG, &path_of("out.pcap"), "--quiet"][..],
        &["explain", CONFIG, &path_of("out.pcap"), "--packet", "1"],
    ] {
        let output = aftr(arguments);
        assert_ends(&output, 0, &["captured on the way out? Capture what comes in: tcpdump -Q in"]);
        assert_eq!(String::from_utf8_lossy(&output.stderr).matches("on the way out?").count(), 1);
    }
}

#[test]
fn a_capture_that_cannot_be_read_ends_both_commands_alike() {
    let gzip = written("in.pcap.gz", &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
    let mut damaged = fs::read(CAPTURE).unwrap();
    damaged[24 + 8..24 + 12].copy_from_slice(&[0xff; 4]);
    let damaged = written("damaged.pcap", &damaged);
    for (file, said) in [
        ("tests/explain/none.pcap", &["No such file", "tcpdump -w"][..]),
        (CONFIG, &["no pcap file", "tcpdump -w"]),
        (&gzip, &["compressed with gzip", "gunzip it"]),
        (&damaged, &["frame 1: a record of 4294967295 bytes", "capture again"]),
    ] {
        assert_ends(&aftr(&["replay", CONFIG, file]), 2, &[&[file], said].concat());
        assert_ends(&aftr(&["explain", CONFIG, file, "--packet", "1"]), 2, &[&[file], said].concat());
    }
}

#[test]
fn a_file_that_is_no_configuration_has_a_cure_that_fits_the_command() {
    let order = "CONFIG comes first, then PCAP";
    for (arguments, said) in [
        (
            &["explain", "nope", "--hex", "45"][..],
            &["cannot read the configuration nope", order, "minimal.toml"][..],
        ),
        (&["replay", "nope", "x"], &["cannot read the configuration nope", order, "minimal.toml"]),
        (&["check", "nope"], &["cannot read the configuration nope", "aftr check FILE", "minimal.toml"]),
        (&["replay", CAPTURE, CONFIG], &["is not a text file", order]),
        (&["explain", CAPTURE, CONFIG, "--packet", "1"], &["is not a text file", order]),
        (&["check", CAPTURE], &["is not a text file"]),
        (&["replay", "tests", CAPTURE], &["is a directory, not a text file", order]),
    ] {
        let output = aftr(arguments);
        assert_ends(&output, 2, said);
        assert!(!String::from_utf8_lossy(&output.stderr).contains("--config"), "{arguments:?}");
    }
}

#[test]
fn an_option_that_is_wrong_is_named_with_what_it_wants() {
    for (arguments, said) in [
        (
            &["explain", CONFIG, CAPTURE, "--packet", "x"][..],
            &["--packet", "the number of a packet, from 1"][..],
        ),
        (&["explain", CONFIG, CAPTURE, "--packet", "-1"], &["--packet", "the number of a packet, from 1"]),
        (&["explain", CONFIG, "--hex", "45", "--at", "-5"], &["--at", "seconds, 0 or more"]),
        (&["replay", CONFIG, CAPTURE, "--until", "soon"], &["--until", "seconds, 0 or more"]),
        (&["explain", CONFIG, "--hex", "45", "--packet", "1"], &["--packet", "--hex", "cannot be used with"]),
    ] {
        assert_ends(&aftr(arguments), 2, said);
    }
}

#[test]
fn what_time_drops_is_a_line_of_its_own() {
    let file = written("waits.pcap", &capture_of(101, 0, &records_of(&fs::read(CAPTURE).unwrap())[2..3]));
    let text = aftr(&["replay", CONFIG, &file, "--until", "9"]);
    assert_ends(&text, 0, &["   -      2.000 time          drops drop.v4.frag_noctx 1\n"]);
    let json = aftr(&["replay", CONFIG, &file, "--until", "9", "--json"]);
    assert_ends(&json, 0, &[r#"{"type":"expired","time":2.0,"reason":"drop.v4.frag_noctx","count":1}"#]);
}

/// Seconds and octets of the records of a capture that we wrote.
fn records_of(capture: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let (mut records, mut rest) = (Vec::new(), &capture[24..]);
    while let Some((header, behind)) = rest.split_at_checked(16) {
        let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
        let (bytes, next) = behind.split_at(word(8) as usize);
        records.push((word(0), bytes.to_vec()));
        rest = next;
    }
    records
}

/// A capture of a link type. The first record was at least `least` octets long on the wire.
fn capture_of(link: u32, least: u32, records: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = [0xa1b2_c3d4u32, 4 << 16 | 2, 0, 0, 65535, link];
    header.iter().for_each(|field| bytes.extend(field.to_le_bytes()));
    for (at, (seconds, packet)) in records.iter().enumerate() {
        let length = packet.len() as u32;
        let original = if at == 0 { length.max(least) } else { length };
        [*seconds, 0, length, original].iter().for_each(|field| bytes.extend(field.to_le_bytes()));
        bytes.extend(packet);
    }
    bytes
}

fn path_of(name: &str) -> String {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name).to_string_lossy().into_owned()
}

fn written(name: &str, bytes: &[u8]) -> String {
    let path = path_of(name);
    fs::write(&path, bytes).unwrap();
    path
}
