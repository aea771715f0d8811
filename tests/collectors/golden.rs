//! The octets of the run on the wire, for those who have no collector at hand: what changes here changes for every
//! collector. `UPDATE=1 cargo test --test collectors golden` writes them.

use std::path::Path;

use aftr::engine::Instant;
use aftr::export::{Change, Encoder, Lines, Now, Record, What, records};
use aftr_config::{Format, Log};

use crate::run::{self, Told};

const NOW: Now = Now { monotonic: Instant::from_millis(60_000), unix_millis: run::START + 60_000 };

/// IPX-47: the file is one of RFC 5655, which `ipfixDump --in` reads too.
#[test]
fn golden_ipfix() {
    let mut encoder = Encoder::new(Format::Ipfix, false, 1, 1400);
    let instance = run::instance(&run::config(""));
    let mut octets = encoder.templates(Log::Mappings, NOW).concat();
    octets.extend(encoder.pool_names(&instance, NOW).concat());
    write_all(&mut encoder, &mut octets);
    let octets = golden("run.ipfix", octets);
    let (read, length) = records(&octets);
    assert_eq!(length, octets.len());
    assert_eq!(told(&read), run::told(true));
}

/// IPX-46: packets of NetFlow v9 one behind the other.
#[test]
fn golden_netflow() {
    let mut encoder = Encoder::new(Format::NetflowV9, true, 1, 1400);
    let mut octets = encoder.templates(Log::Mappings, NOW).concat();
    write_all(&mut encoder, &mut octets);
    golden("run.netflow-v9", octets);
}

/// SYS-1
#[test]
fn golden_syslog() {
    let lines = Lines::new(&run::instance(&run::config("")), Some(32473));
    let text: String = recorded().iter().map(|record| lines.line(record) + "\n").collect();
    let text = String::from_utf8(golden("run.syslog", text.into_bytes())).expect("ASCII");
    assert!(text.is_ascii());
    assert_eq!(text.lines().count(), recorded().len());
    assert!(text.lines().all(|line| line.len() <= 480), "SYS-6: a line fits into a datagram");
}

fn write_all(encoder: &mut Encoder, octets: &mut Vec<u8>) {
    let recorded = recorded();
    let mut rest = recorded.as_slice();
    while !rest.is_empty() {
        let written = encoder.records(rest, NOW, octets);
        rest = &rest[written..];
    }
}

/// The records of the run, as a collector of IPFIX gets them.
fn recorded() -> Vec<Record> {
    let export = "[[ipfix.collector]]\naddress = '127.0.0.1'\nport = PORT\nlog = 'mappings'\n";
    records(&run::stream(export, &run::events())).0
}

/// As every collector tells it.
pub(crate) fn told(records: &[Record]) -> Vec<Told> {
    records.iter().filter_map(told_by).collect()
}

fn told_by(record: &Record) -> Option<Told> {
    let number = |change, begin| if change == Change::Begin { begin } else { begin + 1 };
    let (event, host, external, ports, protocol) = match record.what {
        What::PortSet { change, host, external, first_port, last_port, .. } => {
            (number(change, 16), host, external, (first_port, last_port), 0)
        }
        What::Mapping { change, host, protocol, internal_port, external, external_port, .. } => {
            (number(change, 8), host, external, (internal_port, external_port), protocol)
        }
        What::Threshold { .. } | What::Limit { .. } => return None,
    };
    Some(Told { at: record.at, event, b4: host.b4, internal: host.internal, external, ports, protocol })
}

/// What the file has, after comparing it with what is written now.
fn golden(name: &str, octets: Vec<u8>) -> Vec<u8> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/collectors/golden").join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, &octets).expect("a file");
    }
    let expected = std::fs::read(&file).expect("a golden file");
    let differs = expected.iter().zip(&octets).position(|(one, other)| one != other);
    assert!(
        expected == octets,
        "{name} differs at octet {differs:?}, {} and {}",
        expected.len(),
        octets.len()
    );
    expected
}
