//! What is written is read back by our own reader, and by one that is not ours.

use std::net::{Ipv4Addr, Ipv6Addr};

use netflow_parser::{NetflowPacket, NetflowParser};

use super::*;
use crate::engine::{Instant, Limit, Protocol};
use crate::export::decode;
use crate::export::element::Element;
use crate::export::instance::PoolFacts;
use crate::export::record::{Change, Class, Host, Threshold, What};

const NOW: Now = Now { monotonic: Instant::from_millis(5000), unix_millis: 1_793_193_845_067 };

fn host(number: u32) -> Host {
    let b4 = Ipv6Addr::new(0x2001, 0xdb8, 0xb4, 0, 0, 0, (number >> 16) as u16, number as u16);
    Host { b4, internal: Ipv4Addr::new(10, 0, (number >> 8) as u8, number as u8) }
}

/// One of each.
fn limits(host: Host, external: Ipv4Addr) -> [Limit; 7] {
    let Host { b4, internal } = host;
    [
        Limit::Pool { pool_id: 7 },
        Limit::Address { external, protocol: Protocol::Udp },
        Limit::Sessions,
        Limit::Mappings,
        Limit::Subscribers,
        Limit::Subscriber { b4, internal, most: 99 },
        Limit::Fragments { b4, internal, most: 99 },
    ]
}

/// One of everything, in changing order.
pub(crate) fn assorted(count: u32) -> Vec<Record> {
    let record = |number: u32| {
        let change = if number.is_multiple_of(3) { Change::End } else { Change::Begin };
        let external = Ipv4Addr::new(198, 51, 100, number as u8);
        let what = match number % 7 {
            0 | 1 => What::Mapping {
                change,
                host: host(number),
                protocol: [1, 6, 17][number as usize % 3],
                internal_port: number as u16,
                external,
                external_port: 1024 + number as u16 % 512,
                pool_id: 7,
            },
            2 if number.is_multiple_of(2) => {
                let limit = limits(host(number), external)[number as usize / 14 % 7];
                let most = if matches!(limit, Limit::Pool { .. } | Limit::Address { .. }) { 0 } else { 99 };
                What::Limit { limit, most }
            }
            2 => What::Threshold {
                threshold: Threshold::ALL[number as usize / 7 % 4],
                value: number,
                pool_id: if number / 7 % 4 < 2 { 7 } else { 0 },
            },
            _ => What::PortSet {
                change,
                host: host(number),
                external,
                first_port: 1024,
                last_port: 1535,
                pool_id: 7,
            },
        };
        Record { at: NOW.unix_millis - u64::from(number), what }
    };
    (1..=count).map(record).collect()
}

fn messages(encoder: &mut Encoder, mut records: &[Record]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while !records.is_empty() {
        let mut message = Vec::new();
        let written = encoder.records(records, NOW, &mut message);
        assert!(written > 0);
        records = &records[written..];
        messages.push(message);
    }
    messages
}

/// IPX-1, IPX-2
#[test]
fn messages_are_whole_within_their_size_and_counted() {
    let records = assorted(1000);
    for most_octets in [512, 1232, 65_535] {
        let mut encoder = Encoder::new(Format::Ipfix, false, 9, most_octets);
        let mut counted = 0;
        for message in messages(&mut encoder, &records) {
            assert!(message.len() <= most_octets && message.len().is_multiple_of(4));
            assert_eq!(message[..4], [0, 10, (message.len() >> 8) as u8, message.len() as u8]);
            assert_eq!(message[4..8], 1_793_193_845u32.to_be_bytes());
            assert_eq!(message[8..12], u32::to_be_bytes(counted));
            assert_eq!(message[12..16], 9u32.to_be_bytes());
            counted += decode::records(&message).0.len() as u32;
        }
        assert_eq!(counted, 1000);
    }
}

#[test]
fn what_is_written_is_read_back() {
    let records = assorted(1000);
    let mut encoder = Encoder::new(Format::Ipfix, false, 9, 1232);
    let stream = messages(&mut encoder, &records).concat();
    assert_eq!(decode::records(&stream), (records.clone(), stream.len()));
    // A message that is cut short is not read, and nothing behind it.
    let (cut, read) = decode::records(&stream[..stream.len() - 1]);
    assert_eq!(cut, records[..cut.len()]);
    assert!(read < stream.len());
}

/// The other reader's names.
const NAT_EVENTS: &[(u128, &str)] = &[
    (3, "NatAddressesExhausted"),
    (8, "Nat44BibCreate"),
    (9, "Nat44BibDelete"),
    (12, "NatPortsExhausted"),
    (13, "QuotaExceeded"),
    (16, "PortBlockAllocation"),
    (17, "PortBlockDeAllocation"),
    (18, "ThresholdReached"),
];
const PROTOCOLS: &[(u128, &str)] = &[(1, "Icmp"), (6, "Tcp"), (17, "Udp")];

/// IPX-4, IPX-20: every record is understood by a reader that knows nothing of us.
#[test]
fn another_reader_understands_ipfix() {
    let records = assorted(300);
    let mut encoder = Encoder::new(Format::Ipfix, false, 9, 1232);
    let mut stream = encoder.templates(Log::Mappings, NOW);
    let loss = Loss { records: [1, 2, 3], first: 1, last: 2 };
    let mut options = Vec::new();
    encoder.reliability(1, &loss, NOW, &mut options);
    stream.push(options);
    stream.extend(messages(&mut encoder, &records));
    let mut parser = NetflowParser::default();
    let mut seen = Vec::new();
    for message in &stream {
        let result = parser.parse_bytes(message);
        for packet in result.packets {
            let NetflowPacket::IPFix(packet) = packet else { panic!("{packet:?}") };
            for set in packet.flowsets {
                use netflow_parser::variable_versions::ipfix::FlowSetBody;
                if let FlowSetBody::Data(data) = set.body {
                    seen.extend(data.fields);
                }
            }
        }
    }
    assert_eq!(seen.len(), records.len());
    for (record, fields) in records.iter().zip(&seen) {
        let template = Template::find(record.template()).unwrap();
        assert_eq!(fields.len(), template.fields.len());
        let mut expected = Vec::new();
        for &element in template.fields {
            expected.clear();
            Fields::of(record, false, 9).put(element, &mut expected);
            let (field, value) = &fields[template.fields.iter().position(|one| *one == element).unwrap()];
            let said = format!("{field:?} {value:?}");
            let number = expected.iter().fold(0u128, |number, &octet| number << 8 | u128::from(octet));
            let words = if element == Element::SourceIpv6Address {
                Ipv6Addr::from(number).to_string()
            } else if matches!(element, Element::SourceIpv4Address | Element::PostNatSourceIpv4Address) {
                Ipv4Addr::from(number as u32).to_string()
            } else if element == Element::NatEvent {
                NAT_EVENTS.iter().find(|(code, _)| *code == number).expect("an event").1.to_owned()
            } else if element == Element::ProtocolIdentifier {
                PROTOCOLS.iter().find(|(code, _)| *code == number).expect("a protocol").1.to_owned()
            } else {
                number.to_string()
            };
            assert!(said.contains(&words), "{element:?} is {words} and read as {said}");
        }
    }
}

/// RFC 7011 section 8.2: a template is never younger than its records, whatever is done to the wall clock.
#[test]
fn the_time_of_export_never_goes_back_in_a_session() {
    let mut encoder = Encoder::new(Format::Ipfix, false, 9, 1232);
    let told = |encoder: &mut Encoder, unix_millis| {
        let now = Now { unix_millis, ..NOW };
        u32::from_be_bytes(*encoder.templates(Log::PortSets, now)[0][4..].first_chunk().unwrap())
    };
    assert_eq!([5_000, 9_999, 2_000, 10_000].map(|at| told(&mut encoder, at)), [5, 9, 9, 10]);
    encoder.restart();
    assert_eq!(told(&mut encoder, 2_000), 2);
}

/// IPX-46
#[test]
fn netflow_counts_messages_and_aligns_sets() {
    let mut records = assorted(300);
    records.retain(|record| record.class() != Class::Notice);
    let mut encoder = Encoder::new(Format::NetflowV9, true, 9, 1400);
    let templates = encoder.templates(Log::Mappings, NOW);
    assert_eq!(templates[0][20..22], [0, 0], "a template flowset has number 0");
    let mut parser = NetflowParser::default();
    let mut read = 0;
    for (sequence, message) in (0u32..).zip(templates.iter().chain(&messages(&mut encoder, &records))) {
        assert_eq!(message[..2], [0, 9]);
        assert_eq!(message[12..16], sequence.to_be_bytes());
        assert_eq!(message[16..20], 9u32.to_be_bytes());
        assert!(message.len().is_multiple_of(4));
        for packet in parser.parse_bytes(message).packets {
            let NetflowPacket::V9(packet) = packet else { panic!("{packet:?}") };
            for set in &packet.flowsets {
                use netflow_parser::variable_versions::v9::FlowSetBody;
                if let FlowSetBody::Data(data) = &set.body {
                    read += data.fields.len();
                }
            }
        }
    }
    assert_eq!(read, records.len());
    for record in &records {
        assert!(matches!(record.nat_event(true), 1 | 2));
    }
}

/// IPX-13
#[test]
fn a_name_is_of_any_length() {
    let pool = |pool_id, octets| PoolFacts {
        pool_id,
        name: "x".repeat(octets),
        addresses: 1,
        high_threshold: 90,
        low_threshold: 70,
    };
    let instance = Instance {
        nat_instance_id: 1,
        host_name: String::new(),
        pools: vec![pool(1, 3), pool(2, 300)],
        most_subscribers: 0,
        most_mappings: 0,
        most_sessions: 0,
    };
    let mut encoder = Encoder::new(Format::Ipfix, false, 1, 65_535);
    let [message] = encoder.pool_names(&instance, NOW).try_into().unwrap();
    assert_eq!(message[16..29], [1, 45, 1, 64, 0, 0, 0, 1, 3, b'x', b'x', b'x', 0]);
    assert_eq!(message[32..35], [255, 1, 44]);
    assert_eq!(message.len() - 16, 320);
    encoder.most_octets = 100;
    assert_eq!(encoder.pool_names(&instance, NOW).len(), 2);
}
