//! nfcapd by NetFlow v9, which `nfdump` then reads: its IPFIX path passes port ranges over.

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::Duration;

use aftr::export::Stamped;
use serde_json::Value;

use crate::journal;
use crate::run::{self, Told};

/// IPX-46, IPX-48
#[test]
fn nfdump_tells_what_was_sent() {
    let events = run::events();
    if let Some(told) = collected("nfdump", &events) {
        journal::assert_agrees("nfdump", &events, &told);
        assert_eq!(run::sorted(told), run::sorted(expected()));
    }
}

/// IPX-48
#[test]
fn nfdump_agrees_with_the_journal_over_hours() {
    let events = journal::history();
    if let Some(told) = collected("nfdump-hours", &events) {
        journal::assert_agrees("nfdump-hours", &events, &told);
    }
}

fn collected(name: &str, events: &[Stamped]) -> Option<Vec<Told>> {
    if !run::has("nfcapd") || !run::has("nfdump") {
        return None;
    }
    let (folder, port) = (run::folder(name), run::free_udp_port());
    let mut nfcapd = Command::new("nfcapd")
        .args(["-b", "127.0.0.1", "-p", &port.to_string(), "-t", "3600", "-w"])
        .arg(&folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("nfcapd");
    run::wait_for_udp(port);
    let export = format!(
        "[[ipfix.collector]]\naddress = '127.0.0.1'\nport = {port}\npreset = 'nfdump'\nlog = 'mappings'\n"
    );
    run::tell(run::exporter(&export), events);
    std::thread::sleep(Duration::from_millis(500));
    run::terminate(&mut nfcapd);
    let said = std::io::read_to_string(nfcapd.stderr.take().expect("its log")).expect("text");
    assert!(said.contains("Sequence Errors: 0, Bad Packets: 0"), "{said}");
    let files = std::fs::read_dir(&folder).expect("its files").flatten();
    let file = files.map(|file| file.path()).find(|path| path.to_string_lossy().contains("nfcapd.2"));
    let file = file.expect("a file of flows");
    let json = run::output("nfdump", &["-q", "-r", file.to_str().expect("a path"), "-o", "json"]);
    let records: Vec<Value> = serde_json::from_str(&format!("[{json}]")).expect("JSON");
    Some(records.iter().map(read).collect())
}

/// What nfdump does not tell: the host behind the B4 (its IPv4 and IPv6 sources share their memory), and the
/// identifier of an ICMP query.
fn expected() -> Vec<Told> {
    let seen = |told: Told| Told {
        event: if matches!(told.event, 8 | 16) { 1 } else { 2 },
        internal: Ipv4Addr::UNSPECIFIED,
        ports: if told.protocol == 1 { (0, told.ports.1) } else { told.ports },
        ..told
    };
    run::told(true).into_iter().map(seen).collect()
}

fn read(record: &Value) -> Told {
    let text = |key: &str| run::text(&record[key]);
    let number = |key: &str| text(key).parse::<u16>().unwrap_or_default();
    // Milliseconds without their zeros: .067 is written as .67.
    let event = text("t_event");
    let (seconds, millis) = event.split_once('.').expect("a time");
    let is_block = !record["pblock_start"].is_null() && number("pblock_end") > 0;
    Told {
        at: run::unix_seconds(seconds) * 1000 + millis.parse::<u64>().expect("milliseconds"),
        event: number("nat_event_id") as u8,
        b4: text("src6_addr").parse().expect("a B4"),
        internal: Ipv4Addr::UNSPECIFIED,
        external: text("src4_xlt_ip").parse().expect("an external address"),
        ports: if is_block {
            (number("pblock_start"), number("pblock_end"))
        } else {
            (number("src_port"), number("src_xlt_port"))
        },
        protocol: number("proto") as u8,
    }
}
