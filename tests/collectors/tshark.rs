//! tshark on the datagrams of IPFIX and of NetFlow v9: it names every element that it knows.

use std::path::Path;

use serde_json::Value;

use crate::journal;
use crate::run::{self, Told};

/// IPX-1, IPX-20, IPX-48
#[test]
fn tshark_reads_every_field_of_ipfix() {
    if !run::has("tshark") {
        return;
    }
    let export =
        "[[ipfix.collector]]\naddress = '127.0.0.1'\nport = PORT\npreset = 'pmacct'\nlog = 'mappings'\n";
    let events = run::events();
    let (told, text) = decoded("ipfix.pcap", &run::datagrams(export, &events));
    assert_eq!(told, run::told(true));
    assert!(text.contains("198.51.100.0/28"), "the name of the pool");
    journal::assert_agrees("tshark", &events, &told);
    let events = journal::history();
    let (told, _) = decoded("ipfix-hours.pcap", &run::datagrams(export, &events));
    journal::assert_agrees("tshark-hours", &events, &told);
}

/// IPX-46
#[test]
fn tshark_reads_every_field_of_netflow() {
    if !run::has("tshark") {
        return;
    }
    let export = "[[ipfix.collector]]\naddress = '127.0.0.1'\nport = PORT\npreset = 'nfdump'\ncompat = 'none'\n\
                  log = 'mappings'\n";
    let (told, _) = decoded("netflow.pcap", &run::datagrams(export, &run::events()));
    assert_eq!(told, run::told(true));
}

fn decoded(name: &str, datagrams: &[Vec<u8>]) -> (Vec<Told>, String) {
    let file = run::folder(&format!("tshark-{name}")).join(name);
    write_capture(&file, datagrams);
    let file = file.to_str().expect("a path");
    let decode = format!("udp.port=={PORT},cflow");
    let json = run::output("tshark", &["-r", file, "-d", &decode, "-T", "json"]);
    let text = run::output("tshark", &["-r", file, "-d", &decode, "-V"]);
    assert!(!text.contains("alformed") && !text.contains("No template found"), "{text}");
    let packets: Value = serde_json::from_str(&json).expect("JSON");
    let mut told = Vec::new();
    walk(&packets, &mut told);
    (told, text)
}

fn walk(value: &Value, told: &mut Vec<Told>) {
    match value {
        Value::Array(elements) => elements.iter().for_each(|element| walk(element, told)),
        Value::Object(entries) if entries.contains_key("cflow.nat_event") => told.extend(read(value)),
        // Flow 10 stands before flow 2 in the order of their names.
        Value::Object(entries) => {
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by_key(|(name, _)| (name.len(), name.as_str()));
            entries.into_iter().for_each(|(_, entry)| walk(entry, told));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn read(flow: &Value) -> Option<Told> {
    let text = |key: &str| flow[format!("cflow.{key}")].as_str().map(str::to_owned);
    let number = |key: &str| text(key).and_then(|number| number.parse::<u16>().ok());
    let event = number("nat_event")? as u8;
    if event == 18 {
        return None;
    }
    assert_eq!(number("nat_instanceid"), Some(1));
    assert_eq!(number("nat_pool_id"), Some(7));
    let protocol = number("protocol").unwrap_or_default() as u8;
    let ports = if protocol == 0 {
        let (first, last) = (number("port_range_start")?, number("port_range_end")?);
        assert_eq!(
            (number("port_range_step_size"), number("port_range_num_ports")),
            (Some(1), Some(last - first + 1))
        );
        (first, last)
    } else {
        (number("srcport")?, number("post_naptsource_transport_port")?)
    };
    Some(Told {
        at: run::unix_millis(&text("observation_time_milliseconds")?),
        event,
        b4: text("srcaddrv6")?.parse().ok()?,
        internal: text("srcaddr")?.parse().ok()?,
        external: text("post_natsource_ipv4_address")?.parse().ok()?,
        ports,
        protocol,
    })
}

const PORT: u16 = 4739;

/// The datagrams as a capture of IP packets (LINKTYPE_RAW), with the headers that they travelled in.
fn write_capture(file: &Path, datagrams: &[Vec<u8>]) {
    let mut capture = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 101] {
        capture.extend(word.to_le_bytes());
    }
    for datagram in datagrams {
        let length = datagram.len() as u16 + 28;
        for word in [(run::START / 1000) as u32, 0, u32::from(length), u32::from(length)] {
            capture.extend(word.to_le_bytes());
        }
        capture.extend([0x45, 0]);
        capture.extend(length.to_be_bytes());
        capture.extend([0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
        for word in [40_000, PORT, length - 20, 0] {
            capture.extend(word.to_be_bytes());
        }
        capture.extend(datagram);
    }
    std::fs::write(file, capture).expect("a capture");
}
