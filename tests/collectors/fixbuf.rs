//! libfixbuf's ipfixDump on the stream of a TCP session, which is a file of RFC 5655.

use crate::journal;
use crate::run::{self, Told};

/// IPX-1, IPX-2, IPX-4, IPX-48
#[test]
fn ipfixdump_reads_the_stream() {
    if !run::has("ipfixDump") {
        return;
    }
    let file = run::folder("fixbuf").join("stream.ipfix");
    let export = "[[ipfix.collector]]\naddress = '127.0.0.1'\nport = PORT\nlog = 'mappings'\n";
    let events = run::events();
    std::fs::write(&file, run::stream(export, &events)).expect("a file");
    let text = run::output("ipfixDump", &["--in", file.to_str().expect("a path")]);
    let told: Vec<Told> = text.split("--- data record ").filter_map(read).collect();
    assert_eq!(told, run::told(true), "{text}");
    assert!(text.contains("natPoolName : (len: 15) 198.51.100.0/28"), "{text}");
    // 23 grants and mappings, 3 thresholds, and 2 records of options.
    assert!(text.contains("28 Data Records"), "{text}");
    journal::assert_agrees("fixbuf", &events, &told);
    let events = journal::history();
    std::fs::write(&file, run::stream(export, &events)).expect("a file");
    let text = run::output("ipfixDump", &["--in", file.to_str().expect("a path")]);
    let told: Vec<Told> = text.split("--- data record ").filter_map(read).collect();
    journal::assert_agrees("fixbuf-hours", &events, &told);
}

/// IPX-41, IPX-47: what waits for a collector that is away, mappings too.
#[test]
fn ipfixdump_reads_a_spool() {
    if !run::has("ipfixDump") {
        return;
    }
    let folder = run::folder("fixbuf-spool");
    let away = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let counters = run::tell(
        run::exporter(&format!(
            "[[ipfix.collector]]\naddress = '127.0.0.1'\nport = {}\nlog = 'mappings'\nspool = {{ directory = '{}' }}\n",
            away.port(),
            folder.display()
        )),
        &run::events(),
    );
    assert_eq!(counters.status()[0].loss.total(), 0);
    let mut files: Vec<_> =
        std::fs::read_dir(&folder).expect("a folder").flatten().map(|file| file.path()).collect();
    files.sort();
    let texts = files.iter().map(|file| run::output("ipfixDump", &["--in", file.to_str().expect("a path")]));
    let text: String = texts.collect();
    let told: Vec<Told> = text.split("--- data record ").filter_map(read).collect();
    assert_eq!(told, run::told(true), "{text}");
}

fn read(record: &str) -> Option<Told> {
    let field = |name: &str| {
        let line = record.lines().find(|line| line.contains(&format!(" {name} : ")))?;
        line.split_once(" : ").map(|(_, value)| value.trim().to_owned())
    };
    let number = |name: &str| field(name).and_then(|number| number.parse::<u16>().ok());
    let event = number("natEvent")? as u8;
    if event == 18 {
        return None;
    }
    assert_eq!((number("natInstanceID"), number("natPoolId")), (Some(1), Some(7)), "{record}");
    let protocol = number("protocolIdentifier").unwrap_or_default() as u8;
    let (first, last) = if protocol == 0 {
        ("portRangeStart", "portRangeEnd")
    } else {
        ("sourceTransportPort", "postNAPTSourceTransportPort")
    };
    Some(Told {
        at: run::unix_millis(&field("observationTimeMilliseconds")?),
        event,
        b4: field("sourceIPv6Address")?.parse().ok()?,
        internal: field("sourceIPv4Address")?.parse().ok()?,
        external: field("postNATSourceIPv4Address")?.parse().ok()?,
        ports: (number(first)?, number(last)?),
        protocol,
    })
}
