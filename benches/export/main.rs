//! The export by itself: what it takes to write a record in each form, and how many records a second one exporter
//! tells a TCP collector on loopback, from the engine's event to the octets that the collector read, none lost.
//!
//! `cargo bench --bench export`; `-- --short` is what CI runs so that it keeps building. Figures:
//! `docs/export.md`.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use aftr::engine::{Config, Event, EventKind, Grant, Instant, MappingRecord, Protocol};
use aftr::export::{Change, Clock, Encoder, Exporter, Host, Instance, Lines, Now, Record, Stamped, What};
use aftr_config::Format;

/// Events of one offer, as a worker's queue gives them.
const OFFER: usize = 256;
const ROUNDS: usize = 5;
const START: u64 = 1_793_193_845_067;

fn main() {
    let is_short = std::env::args().any(|argument| argument == "--short");
    let rounds = if is_short { 1 } else { ROUNDS };
    let written = if is_short { 100_000 } else { 2_000_000 };
    println!("| written | ns a record | octets a record |\n|---|---|---|");
    for (name, mapping, write) in forms() {
        let records: Vec<Record> = (0..4096).map(|number| record(number, mapping)).collect();
        let (nanos, octets) = median(rounds, || write_all(&records, written, write));
        println!("| {name} | {nanos:.1} | {octets:.1} |");
    }
    let told = if is_short { 200_000 } else { 10_000_000 };
    println!("\n| told by TCP | records a second | octets a record | lost |\n|---|---|---|---|");
    for (name, export, mappings) in [
        ("port sets, IPFIX", "[[ipfix.collector]]", false),
        ("mappings, IPFIX", "[[ipfix.collector]]\nlog = 'mappings'", true),
        ("port sets, syslog", "[[syslog.receiver]]\nsd-style = 'draft'", false),
    ] {
        let told = if export.contains("syslog") { told / 10 } else { told };
        let mut figures: Vec<Told> = (0..rounds).map(|_| tell(export, mappings, told)).collect();
        figures.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
        let Told { per_second, octets, lost } = figures[figures.len() / 2];
        println!("| {name} | {per_second:.0} | {octets:.1} | {lost} |");
        assert_eq!(lost, 0, "records were lost");
    }
    let mut figures: Vec<f64> = (0..rounds).map(|_| spool(told)).collect();
    figures.sort_by(f64::total_cmp);
    println!("\n| nobody listens | records a second |\n|---|---|");
    println!("| port sets, into the spool | {:.0} |", figures[figures.len() / 2]);
}

/// Records a second onto the disk, while the collector is away: below `target/`, or where `SPOOL` says.
fn spool(count: usize) -> f64 {
    let folder =
        std::env::var("SPOOL").unwrap_or_else(|_| concat!(env!("CARGO_TARGET_TMPDIR"), "/spool").into());
    let _ = std::fs::remove_dir_all(&folder);
    let away = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let config = config(&format!(
        "[[ipfix.collector]]\naddress = '127.0.0.1'\nport = {away}\nspool = {{ directory = '{folder}' }}\n"
    ));
    let instance = Instance::of(&config, "aftr.example.net");
    let mut exporter =
        Exporter::start(&config.export, instance, Arc::new(Real(instant()))).expect("an exporter");
    let counters = exporter.counters();
    let half = config.export.targets().next().expect("a target").queue_octets / 2;
    let events: Vec<Stamped> = (0..65_536).map(|number| event(number, false)).collect();
    let begin = instant();
    for chunk in events.chunks(OFFER).cycle().take(count / OFFER) {
        exporter.offer(chunk);
        while counters.status()[0].queued_octets > half {
            std::thread::yield_now();
        }
    }
    let status = exporter.stop(Duration::from_secs(60)).status().remove(0);
    let seconds = begin.elapsed().as_secs_f64();
    assert_eq!((status.sent, status.queued, status.loss.total()), (0, 0, 0));
    assert!(status.spool_octets > 49 * (count / OFFER * OFFER) as u64);
    let _ = std::fs::remove_dir_all(&folder);
    (count / OFFER * OFFER) as f64 / seconds
}

type Write = fn(&[Record], &mut Vec<u8>) -> usize;

fn forms() -> [(&'static str, bool, Write); 5] {
    const NOW: Now = Now { monotonic: Instant::ZERO, unix_millis: START };
    fn ipfix(records: &[Record], out: &mut Vec<u8>) -> usize {
        Encoder::new(Format::Ipfix, false, 1, 32_768).records(records, NOW, out)
    }
    fn datagram(records: &[Record], out: &mut Vec<u8>) -> usize {
        Encoder::new(Format::Ipfix, false, 1, 1452).records(records, NOW, out)
    }
    fn netflow(records: &[Record], out: &mut Vec<u8>) -> usize {
        Encoder::new(Format::NetflowV9, true, 1, 1452).records(records, NOW, out)
    }
    fn syslog(records: &[Record], out: &mut Vec<u8>) -> usize {
        let config = config("");
        let lines = Lines::new(&Instance::of(&config, "aftr.example.net"), Some(32473));
        records.iter().for_each(|record| out.extend(lines.line(record).as_bytes()));
        records.len()
    }
    [
        ("port set, IPFIX by TCP", false, ipfix),
        ("port set, IPFIX by UDP", false, datagram),
        ("port set, NetFlow v9", false, netflow),
        ("mapping, IPFIX by TCP", true, ipfix),
        ("port set, syslog", false, syslog),
    ]
}

/// ns and octets of a record.
fn write_all(records: &[Record], count: usize, write: Write) -> (f64, f64) {
    let (mut written, mut octets, mut out) = (0, 0, Vec::with_capacity(1 << 22));
    let begin = instant();
    while written < count {
        let mut rest = records;
        while !rest.is_empty() {
            out.clear();
            let some = write(rest, &mut out);
            octets += out.len();
            rest = &rest[some..];
        }
        written += records.len();
    }
    (begin.elapsed().as_nanos() as f64 / written as f64, octets as f64 / written as f64)
}

fn median(rounds: usize, mut measure: impl FnMut() -> (f64, f64)) -> (f64, f64) {
    let mut figures: Vec<(f64, f64)> = (0..rounds).map(|_| measure()).collect();
    figures.sort_by(|one, other| one.0.total_cmp(&other.0));
    figures[figures.len() / 2]
}

#[derive(Clone, Copy)]
struct Told {
    per_second: f64,
    octets: f64,
    lost: u64,
}

/// Offers events as fast as the exporter takes them with its queue never more than half full.
fn tell(export: &str, mappings: bool, count: usize) -> Told {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let collector = collect(listener);
    let config = config(&format!("{export}\naddress = '127.0.0.1'\nport = {port}\n"));
    let instance = Instance::of(&config, "aftr.example.net");
    let mut exporter =
        Exporter::start(&config.export, instance, Arc::new(Real(instant()))).expect("an exporter");
    let counters = exporter.counters();
    let half = config.export.targets().next().expect("a target").queue_octets / 2;
    // Every home gets ports and gives them back: what must be remembered of it stays the same.
    let events: Vec<Stamped> = (0..65_536).map(|number| event(number, mappings)).collect();
    let begin = instant();
    for chunk in events.chunks(OFFER).cycle().take(count / OFFER) {
        exporter.offer(chunk);
        while counters.status()[0].queued_octets > half {
            std::thread::yield_now();
        }
    }
    let status = exporter.stop(Duration::from_secs(60)).status().remove(0);
    // The collector closes when it has read everything.
    let octets = collector.join().expect("a collector");
    let seconds = begin.elapsed().as_secs_f64();
    let offered = (count / OFFER * OFFER) as u64;
    assert_eq!(octets, status.octets, "octets read and sent");
    Told {
        per_second: offered as f64 / seconds,
        octets: octets as f64 / offered as f64,
        lost: offered - status.sent + status.loss.total(),
    }
}

fn collect(listener: TcpListener) -> JoinHandle<u64> {
    std::thread::spawn(move || {
        let (mut session, _) = listener.accept().expect("a session");
        let (mut buffer, mut octets) = (vec![0; 1 << 20], 0);
        loop {
            match session.read(&mut buffer).expect("octets") {
                0 => return octets,
                some => octets += some as u64,
            }
        }
    })
}

fn config(export: &str) -> Config {
    let text = format!(
        "[softwire]\naftr-ipv6-addr = ['2001:db8:aaaa::1']\n[[nat.external-ip-address-pool]]\npool-id = 7\n\
         external-ip-pool = ['198.18.0.0/22']\n{export}"
    );
    Config::parse(&text).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn grant(number: u32) -> Grant {
    let home = number / 2;
    let b4 = std::net::Ipv6Addr::new(0x2001, 0xdb8, (home >> 16) as u16, home as u16, 0, 0, 0, 1);
    Grant {
        subscriber: ipnet::Ipv6Net::new(b4, 64).expect("a length").trunc(),
        b4,
        internal: Ipv4Addr::new(10, 0, 0, 2),
        pool_id: 7,
        external: Ipv4Addr::from(0xc612_0000 + home / 126 % 1024),
        first_port: 1024 + 512 * (home % 126) as u16,
        last_port: 1535 + 512 * (home % 126) as u16,
    }
}

fn event(number: u32, mappings: bool) -> Stamped {
    let grant = grant(number);
    let mapping = MappingRecord {
        b4: grant.b4,
        protocol: Protocol::Udp,
        internal: SocketAddrV4::new(grant.internal, 5000),
        external: SocketAddrV4::new(grant.external, grant.first_port),
        pool_id: 7,
    };
    let kind = match (mappings, number.is_multiple_of(2)) {
        (false, true) => EventKind::PortSetGranted(grant),
        (false, false) => EventKind::PortSetReleased(grant),
        (true, true) => EventKind::MappingCreated(mapping),
        (true, false) => EventKind::MappingRemoved(mapping),
    };
    Stamped { unix_millis: START + u64::from(number), event: Event { at: Instant::ZERO, kind } }
}

fn record(number: u32, mapping: bool) -> Record {
    let grant = grant(number);
    let host = Host { b4: grant.b4, internal: grant.internal };
    let what = if mapping {
        What::Mapping {
            change: Change::Begin,
            host,
            protocol: 17,
            internal_port: 5000,
            external: grant.external,
            external_port: grant.first_port,
            pool_id: 7,
        }
    } else {
        What::PortSet {
            change: Change::Begin,
            host,
            external: grant.external,
            first_port: grant.first_port,
            last_port: grant.last_port,
            pool_id: 7,
        }
    };
    Record { at: START + u64::from(number), what }
}

struct Real(std::time::Instant);

impl Clock for Real {
    #[expect(clippy::disallowed_methods, reason = "a bench lives in real time")]
    fn now(&self) -> Now {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970");
        let monotonic = Instant::from_millis(self.0.elapsed().as_millis() as u64);
        Now { monotonic, unix_millis: since.as_millis() as u64 }
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn instant() -> std::time::Instant {
    std::time::Instant::now()
}
