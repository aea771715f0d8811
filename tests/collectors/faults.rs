//! Collectors that freeze, restart, and whose link is cut, on real sockets. What a collector has in the end is
//! compared by the key that tells duplicates (IPX-43): instance, time, event, external address and port, B4.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aftr::engine::{Event, EventKind, Grant, Instant};
use aftr::export::{Class, ExportCounters, Exporter, Record, Stamped, TargetStatus, What, records};

use aftr::io::sys::namespace::NetNamespace;

use crate::run;

/// Grants, each with a time of its own.
fn grants(range: std::ops::Range<u64>) -> Vec<Stamped> {
    let grant = |number: u64| Grant {
        subscriber: format!("2001:db8:b4:{:x}::/64", number / 2 % 65_536).parse().expect("an address"),
        b4: format!("2001:db8:b4:{:x}::1", number / 2 % 65_536).parse().expect("an address"),
        internal: Ipv4Addr::new(10, 0, 0, 2),
        pool_id: 7,
        external: Ipv4Addr::from(0xc633_6400 + (number / 252 % 16) as u32),
        first_port: 1024 + 512 * (number / 2 % 126) as u16,
        last_port: 1535 + 512 * (number / 2 % 126) as u16,
    };
    let kind = |number: u64| match number % 2 {
        0 => EventKind::PortSetGranted(grant(number)),
        _ => EventKind::PortSetReleased(grant(number)),
    };
    let event = |number| Stamped {
        unix_millis: run::START + number,
        event: Event { at: Instant::from_millis(number), kind: kind(number) },
    };
    range.map(event).collect()
}

/// What tells a record from all others.
fn key(record: &Record) -> (u64, u8, Ipv4Addr, u16, std::net::Ipv6Addr) {
    let What::PortSet { host, external, first_port, .. } = record.what else { panic!("{record:?}") };
    (record.at, record.nat_event(false), external, first_port, host.b4)
}

/// A collector that keeps what it reads, one stream for each session.
struct Collector {
    port: u16,
    listener: TcpListener,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    streams: Mutex<Vec<Vec<u8>>>,
    session: Mutex<Option<TcpStream>>,
    is_frozen: AtomicBool,
}

impl Collector {
    fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let collector = Collector {
            port: listener.local_addr().expect("an address").port(),
            listener,
            state: Arc::default(),
        };
        collector.serve();
        collector
    }

    fn serve(&self) {
        let (listener, state) = (self.listener.try_clone().expect("a socket"), Arc::clone(&self.state));
        std::thread::spawn(move || {
            for session in listener.incoming() {
                let session = session.expect("a session");
                *state.session.lock().expect("a lock") = Some(session.try_clone().expect("a socket"));
                let place = {
                    let mut streams = state.streams.lock().expect("a lock");
                    streams.push(Vec::new());
                    streams.len() - 1
                };
                let state = Arc::clone(&state);
                std::thread::spawn(move || read(session, &state, place));
            }
        });
    }

    /// Closes the session in the middle of whatever it carries.
    fn cut(&self) {
        if let Some(session) = self.state.session.lock().expect("a lock").take() {
            let _ = session.shutdown(std::net::Shutdown::Both);
        }
    }

    fn freeze(&self, is_frozen: bool) {
        self.state.is_frozen.store(is_frozen, Ordering::Relaxed);
    }

    /// All records, of whole messages.
    fn read(&self) -> Vec<Record> {
        let streams = self.state.streams.lock().expect("a lock");
        streams.iter().flat_map(|stream| records(stream).0).collect()
    }

    fn sessions(&self) -> usize {
        self.state.streams.lock().expect("a lock").len()
    }

    fn knows(&self, count: usize) -> bool {
        self.read().iter().map(key).collect::<BTreeSet<_>>().len() == count
    }
}

fn read(mut session: TcpStream, state: &State, place: usize) {
    let mut buffer = [0; 65_536];
    loop {
        while state.is_frozen.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(10));
        }
        match session.read(&mut buffer) {
            Ok(0) | Err(_) => {
                let _ = session.shutdown(std::net::Shutdown::Both);
                return;
            }
            Ok(octets) => state.streams.lock().expect("a lock")[place].extend(&buffer[..octets]),
        }
    }
}

/// An exporter for which time runs faster: attempts to connect are a second apart.
fn exporter(port: u16, spool: &str, speed: u64) -> Exporter {
    let folder = run::folder(spool);
    let config = run::config(&format!(
        "[[ipfix.collector]]\naddress = '127.0.0.1'\nport = {port}\nreconnect-interval = 1\nflush-interval-ms = 20\n\
         spool = {{ directory = '{}' }}\n",
        folder.display()
    ));
    Exporter::start(&config.export, run::instance(&config), run::Real::faster(speed)).expect("an exporter")
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..1200 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("waited for too long: {what}");
}

fn status(counters: &ExportCounters) -> TargetStatus {
    counters.status().remove(0)
}

/// IPX-43: nothing is lost, duplicates are known by their key, counters are true.
#[test]
fn a_link_that_is_cut_a_hundred_times_loses_nothing() {
    let collector = Collector::start();
    let mut exporter = exporter(collector.port, "cut", 20);
    let counters = exporter.counters();
    let (cuts, batch) = (100, 200);
    for cut in 0..cuts {
        exporter.offer(&grants(cut * batch..(cut + 1) * batch));
        // Sessions are short: most cuts meet one in the middle of its first messages.
        wait("a session", || collector.sessions() as u64 > cut);
        collector.cut();
    }
    let all = (cuts * batch) as usize;
    wait("every record", || collector.knows(all));
    let status = status(&counters);
    assert_eq!((status.sent, status.loss.total()), (all as u64, 0));
    assert!(status.breaks >= 100, "{status:?}");
    let read = collector.read();
    assert!(read.len() as u64 <= status.sent + status.resent);
    exporter.stop(Duration::from_secs(5));
}

/// IPX-40, IPX-41: who offers never waits; afterwards every record has arrived once, in order.
#[test]
fn a_frozen_collector_delays_nobody_and_misses_nothing() {
    let collector = Collector::start();
    let mut exporter = exporter(collector.port, "frozen", 1);
    let counters = exporter.counters();
    wait("a session", || collector.sessions() == 1);
    collector.freeze(true);
    let all = 600_000;
    let mut longest = Duration::ZERO;
    for batch in 0..all / 2000 {
        let events = grants(batch * 2000..(batch + 1) * 2000);
        let begin = run::instant();
        exporter.offer(&events);
        longest = longest.max(begin.elapsed());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(longest < Duration::from_millis(500), "an offer took {longest:?}");
    assert!(status(&counters).spool_octets > 1 << 20, "{:?}", status(&counters));
    collector.freeze(false);
    wait("every record", || status(&counters).sent == all && collector.read().len() as u64 == all);
    let read = collector.read();
    assert!(read.windows(2).all(|pair| pair[0].at < pair[1].at), "out of order, or twice");
    let status = status(&counters);
    assert_eq!((status.sent, status.resent, status.loss.total()), (all, 0, 0));
    exporter.stop(Duration::from_secs(5));
}

/// IPX-41: the exporter ends while the collector is away, and another one takes over its spool.
#[test]
fn what_an_ended_exporter_left_is_sent_by_the_next() {
    let collector = Collector::start();
    let port = collector.port;
    let mut first = exporter(port, "next", 1);
    first.offer(&grants(0..1000));
    wait("a session", || collector.knows(1000));
    collector.freeze(true);
    // More than the sockets of both ends take.
    first.offer(&grants(1000..400_000));
    let left = first.stop(Duration::from_millis(300));
    assert_eq!(status(&left).loss.total(), 0);
    assert!(status(&left).spool_octets > 0);
    collector.freeze(false);
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("collectors/next");
    let second = run::exporter(&format!(
        "[[ipfix.collector]]\naddress = '127.0.0.1'\nport = {port}\nspool = {{ directory = '{}' }}\n",
        folder.display()
    ));
    wait("every record", || collector.knows(400_000));
    // The collector closes after it has read all: the spool is empty then.
    let counters = second.stop(Duration::from_secs(5));
    assert_eq!(status(&counters).spool_octets, 0);
}

/// IPX-8: each collector has its own session and queue.
#[test]
fn a_collector_that_is_away_is_no_matter_for_another() {
    let collector = Collector::start();
    let away = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let target = |port| format!("[[ipfix.collector]]\naddress = '127.0.0.1'\nport = {port}\nqueue-mib = 1\n");
    let mut exporter = run::exporter(&(target(away) + &target(collector.port)));
    let counters = exporter.counters();
    let all = 100_000;
    for batch in 0..all / 1000 {
        exporter.offer(&grants(batch * 1000..(batch + 1) * 1000));
        std::thread::sleep(Duration::from_millis(1));
    }
    wait("every record", || collector.read().len() as u64 == all);
    let [lost, sent] = counters.status().try_into().expect("two targets");
    assert_eq!((sent.sent, sent.loss.total()), (all, 0));
    assert_eq!(lost.queued + lost.loss.of(Class::Grant), all);
    assert!(lost.queued_octets <= 1 << 20 && !lost.is_connected && sent.is_connected);
    let counters = exporter.stop(Duration::from_secs(5));
    assert_eq!(counters.status()[0].loss.of(Class::Grant), all);
}

/// IPX-5, IPX-6: two copies of the templates, then records.
#[test]
fn datagrams_begin_with_two_copies_of_the_templates() {
    let export = "[[ipfix.collector]]\naddress = '127.0.0.1'\nport = PORT\npreset = 'pmacct'\n";
    let datagrams = run::datagrams(export, &run::events());
    let first_sets: Vec<u16> =
        datagrams.iter().map(|datagram| u16::from_be_bytes([datagram[16], datagram[17]])).collect();
    assert_eq!(first_sets, [2, 301, 300, 2, 301, 300, 258]);
    assert_eq!(datagrams[0][16..], datagrams[3][16..]);
    assert!(datagrams.iter().all(|datagram| datagram.len() <= 1452));
}

/// IPX-5, RFC 7011 section 8.4: a collector that comes late knows them soon.
#[test]
fn templates_are_told_again_by_datagrams() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let port = socket.local_addr().expect("an address").port();
    let config = run::config(&format!(
        "[[ipfix.collector]]\naddress = '127.0.0.1'\nport = {port}\npreset = 'pmacct'\n"
    ));
    // A minute of the exporter's passes in half a second.
    let clock = run::Real::faster(120);
    let exporter = Exporter::start(&config.export, run::instance(&config), clock).expect("an exporter");
    let mut buffer = [0; 65_535];
    let mut seen = 0;
    // Two copies at first, and one in each of three minutes.
    while seen < 5 {
        let octets = socket.recv(&mut buffer).expect("templates");
        seen += u32::from(octets > 18 && buffer[16..18] == [0, 2]);
    }
    exporter.stop(Duration::from_secs(1));
}

/// IPX-7: the link's MTU shrinks in the middle; what was too large is written anew, nothing is lost or cut.
#[test]
fn datagrams_shrink_with_the_path() {
    let namespace = match NetNamespace::new() {
        Ok(namespace) => namespace,
        Err(error) => return run::skip(&format!("no network namespace: {error}")),
    };
    let outcome = namespace.run(|| {
        let mtu = |mtu: &str| run::output("ip", &["link", "set", "lo", "mtu", mtu, "up"]);
        mtu("1400");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
        let port = socket.local_addr().expect("an address").port();
        let mut exporter = run::exporter(&format!(
            "[[ipfix.collector]]\naddress = '127.0.0.1'\nport = {port}\npreset = 'pmacct'\nflush-interval-ms = 10\n"
        ));
        let mut buffer = [0; 65_535];
        let mut read = |count: usize, most: usize| {
            let (mut known, mut longest) = (Vec::new(), 0);
            while known.len() < count {
                let octets = socket.recv(&mut buffer).expect("a datagram");
                longest = longest.max(octets);
                known.extend(records(&buffer[..octets]).0);
            }
            assert_eq!(known.len(), count);
            assert!(longest <= most && longest + 60 > most, "{longest} octets where {most} fit");
        };
        exporter.offer(&grants(0..500));
        read(500, 1400 - 28);
        mtu("700");
        exporter.offer(&grants(500..1000));
        read(500, 700 - 28);
        let status = status(&exporter.stop(Duration::from_secs(5)));
        assert_eq!((status.sent, status.loss.total()), (1000, 0));
    });
    outcome.expect("a thread in the namespace");
}

/// SYS-6: lines of one datagram each, and lines behind their length.
#[test]
fn syslog_goes_both_ways() {
    let export =
        "[[syslog.receiver]]\naddress = '127.0.0.1'\nport = PORT\nlog = 'mappings'\nsd-style = 'draft'\n";
    let datagrams = run::datagrams(&format!("{export}transport = 'udp'\n"), &run::events());
    let stream = String::from_utf8(run::stream(export, &run::events())).expect("ASCII");
    let mut rest = stream.as_str();
    let mut lines = Vec::new();
    while let Some((length, behind)) = rest.split_once(' ') {
        let (line, more) = behind.split_at(length.parse().expect("a length"));
        lines.push(line);
        rest = more;
    }
    assert_eq!(lines.len(), 1 + 26);
    let sent: Vec<&str> = datagrams.iter().map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
    // The quality of the time goes twice by datagrams.
    assert_eq!(sent[2..], lines[1..]);
    assert!(sent[0].contains(" NAT - TIME [timeQuality "), "{}", sent[0]);
}
