//! The recorded run: what the engine told of, in order, and what a collector must know afterwards.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aftr::engine::{Config, Event, EventKind, Grant, Instant, MappingRecord, Protocol, Table};
use rustix::process::{Pid, Signal, kill_process};

use aftr::export::{Clock, ExportCounters, Exporter, Instance, Now, Stamped};

/// When the run begins: 2026-10-28 13:24:05.067 UTC.
pub(crate) const START: u64 = 1_793_193_845_067;

/// A record as every collector can tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Told {
    /// Milliseconds since 1970.
    pub(crate) at: u64,
    /// natEvent
    pub(crate) event: u8,
    /// IE 27.
    pub(crate) b4: Ipv6Addr,
    /// IE 8.
    pub(crate) internal: Ipv4Addr,
    /// IE 225.
    pub(crate) external: Ipv4Addr,
    /// First and last port of a set; internal and external port of a mapping.
    pub(crate) ports: (u16, u16),
    /// 0 for a port set.
    pub(crate) protocol: u8,
}

/// The clock of this machine.
pub(crate) struct Real {
    origin: std::time::Instant,
    speed: u64,
}

impl Real {
    pub(crate) fn start() -> Arc<Real> {
        Real::faster(1)
    }

    /// Intervals pass so many times faster.
    pub(crate) fn faster(speed: u64) -> Arc<Real> {
        Arc::new(Real { origin: instant(), speed })
    }
}

impl Clock for Real {
    #[expect(clippy::disallowed_methods, reason = "real collectors live in real time")]
    fn now(&self) -> Now {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970");
        Now {
            monotonic: Instant::from_millis(self.origin.elapsed().as_millis() as u64 * self.speed),
            unix_millis: since.as_millis() as u64,
        }
    }
}

/// A configuration with this behind its required keys.
pub(crate) fn config(export: &str) -> Config {
    let text = format!(
        "[softwire]\naftr-ipv6-addr = ['2001:db8:aaaa::1']\nb4-prefixes = ['2001:db8:b4::/48']\n\
         [[nat.external-ip-address-pool]]\npool-id = 7\nexternal-ip-pool = ['198.51.100.0/28']\n{export}"
    );
    Config::parse(&text).unwrap_or_else(|errors| panic!("{errors:?}"))
}

pub(crate) fn instance(config: &Config) -> Instance {
    Instance::of(config, "aftr.example.net")
}

/// An exporter that tells whom the configuration names.
pub(crate) fn exporter(export: &str) -> Exporter {
    let config = config(export);
    Exporter::start(&config.export, instance(&config), Real::start()).expect("an exporter")
}

/// Tells a run, waits until it is sent, and ends.
pub(crate) fn tell(mut exporter: Exporter, events: &[Stamped]) -> ExportCounters {
    // What a collector of datagrams can take at once is as much as its socket does.
    for some in events.chunks(100) {
        exporter.offer(some);
        std::thread::sleep(Duration::from_millis(5));
    }
    exporter.stop(Duration::from_secs(10))
}

const HOMES: [&str; 3] = ["2001:db8:b4::1", "2001:db8:b4:1::1", "2001:db8:b4:2:a:b:c:d"];

/// Homes with the same private addresses; port sets that come and go; mappings of each protocol; a B4 that
/// changes its address; a pool that fills up.
pub(crate) fn events() -> Vec<Stamped> {
    let grant = |home: usize, set: u16| Grant {
        subscriber: format!("2001:db8:b4:{home}::/64").parse().expect("an address"),
        b4: HOMES[home].parse().expect("an address"),
        internal: Ipv4Addr::new(10, 0, 0, 2),
        pool_id: 7,
        external: Ipv4Addr::new(198, 51, 100, 3),
        first_port: 1024 + 512 * set,
        last_port: 1535 + 512 * set,
    };
    let mapping = |home: usize, set: u16, protocol: Protocol, port: u16| MappingRecord {
        b4: HOMES[home].parse().expect("an address"),
        protocol,
        internal: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 5000 + port),
        external: SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 3), 1024 + 512 * set + port),
        pool_id: 7,
    };
    use EventKind::{MappingCreated, MappingRemoved, PortSetGranted, PortSetReleased};
    let mut kinds = Vec::new();
    for (home, set) in [(0, 0), (1, 17), (2, 125)] {
        kinds.push(PortSetGranted(grant(home, set)));
        for (port, protocol) in [(0, Protocol::Tcp), (1, Protocol::Udp), (2, Protocol::Icmp)] {
            kinds.push(MappingCreated(mapping(home, set, protocol, port)));
        }
    }
    kinds.push(EventKind::PoolHigh { pool_id: 7, percent: 91 });
    kinds.push(EventKind::TableHigh { table: Table::Mappings, percent: 80 });
    kinds.push(MappingRemoved(mapping(1, 17, Protocol::Udp, 1)));
    kinds.push(EventKind::SoftwireMoved {
        subscriber: grant(0, 0).subscriber,
        from: HOMES[0].parse().expect("an address"),
        to: "2001:db8:b4::2".parse().expect("an address"),
    });
    kinds.push(PortSetReleased(grant(1, 17)));
    kinds.push(EventKind::PoolLow { pool_id: 7, percent: 69 });
    kinds.push(PortSetReleased(grant(2, 125)));
    let stamped = |(number, kind): (u64, EventKind)| Stamped {
        unix_millis: START + 1013 * number,
        event: Event { at: Instant::from_millis(1013 * number), kind },
    };
    (0..).zip(kinds).map(stamped).collect()
}

/// Number of the event, natEvent, B4, ports, protocol.
type Row<'a> = (u64, u8, &'a str, (u16, u16), u8);

/// What must be known of the run, written down by hand.
pub(crate) fn told(with_mappings: bool) -> Vec<Told> {
    let [a, b, c] = HOMES;
    let moved = "2001:db8:b4::2";
    #[rustfmt::skip]
    let rows: &[Row<'_>] = &[
        (0, 16, a, (1024, 1535), 0), (1, 8, a, (5000, 1024), 6), (2, 8, a, (5001, 1025), 17),
        (3, 8, a, (5002, 1026), 1),
        (4, 16, b, (9728, 10239), 0), (5, 8, b, (5000, 9728), 6), (6, 8, b, (5001, 9729), 17),
        (7, 8, b, (5002, 9730), 1),
        (8, 16, c, (65024, 65535), 0), (9, 8, c, (5000, 65024), 6), (10, 8, c, (5001, 65025), 17),
        (11, 8, c, (5002, 65026), 1),
        (14, 9, b, (5001, 9729), 17),
        (15, 17, a, (1024, 1535), 0), (15, 16, moved, (1024, 1535), 0),
        (15, 9, a, (5000, 1024), 6), (15, 8, moved, (5000, 1024), 6),
        (15, 9, a, (5001, 1025), 17), (15, 8, moved, (5001, 1025), 17),
        (15, 9, a, (5002, 1026), 1), (15, 8, moved, (5002, 1026), 1),
        (16, 17, b, (9728, 10239), 0), (18, 17, c, (65024, 65535), 0),
    ];
    let told =
        rows.iter().filter(|row| with_mappings || row.4 == 0).map(|&(number, event, b4, ports, protocol)| {
            Told {
                at: START + 1013 * number,
                event,
                b4: b4.parse().expect("an address"),
                internal: Ipv4Addr::new(10, 0, 0, 2),
                external: Ipv4Addr::new(198, 51, 100, 3),
                ports,
                protocol,
            }
        });
    told.collect()
}

/// The same, in an order that does not depend on who tells it.
pub(crate) fn sorted(mut told: Vec<Told>) -> Vec<Told> {
    told.sort_unstable();
    told
}

/// What a TCP collector receives of a run, until the exporter ends.
pub(crate) fn stream(export: &str, events: &[Stamped]) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let collector = std::thread::spawn(move || {
        let (mut session, _) = listener.accept().expect("a session");
        let mut octets = Vec::new();
        std::io::Read::read_to_end(&mut session, &mut octets).expect("a whole stream");
        octets
    });
    tell(exporter(&export.replace("PORT", &port.to_string())), events);
    collector.join().expect("a collector")
}

/// What a UDP collector receives of a run.
pub(crate) fn datagrams(export: &str, events: &[Stamped]) -> Vec<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = socket.local_addr().expect("an address").port();
    tell(exporter(&export.replace("PORT", &port.to_string())), events);
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    let mut buffer = [0; 65_535];
    let mut datagrams = Vec::new();
    while let Ok(octets) = socket.recv(&mut buffer) {
        datagrams.push(buffer[..octets].to_vec());
    }
    datagrams
}

/// A port that nobody has.
pub(crate) fn free_udp_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("an address").port()
}

/// Whether a program is there, and a loud line when it is not.
pub(crate) fn has(tool: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|paths| {
        let mut folders: Vec<_> = std::env::split_paths(&paths).collect();
        folders.push("/usr/sbin".into());
        folders.iter().any(|folder| folder.join(tool).exists())
    });
    if !found {
        skip(&format!("{tool} is not installed"));
    }
    found
}

pub(crate) fn skip(why: &str) {
    println!("SKIPPED: collectors: {why}");
    assert!(std::env::var_os("AFTR_NOTHING_SKIPPED").is_none(), "nothing may be skipped here");
}

/// A folder for one test.
pub(crate) fn folder(name: &str) -> std::path::PathBuf {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("collectors").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// What a program writes on its standard output.
pub(crate) fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).env("TZ", "UTC").output().expect("a program");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits until somebody listens to a UDP port.
pub(crate) fn wait_for_udp(port: u16) {
    let wanted = format!(":{port:04X} ");
    for _ in 0..100 {
        if std::fs::read_to_string("/proc/net/udp").expect("a table of sockets").contains(&wanted) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("nobody listens to port {port}");
}

pub(crate) fn terminate(child: &mut Child) {
    end(child, Signal::TERM);
}

pub(crate) fn interrupt(child: &mut Child) {
    end(child, Signal::INT);
}

fn end(child: &mut Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("a signal");
    child.wait().expect("an end");
}

/// Of `2026-10-28 13:24:05.067`, with a `T` or a space, or of `Oct 28, 2026 13:24:05.067000000 UTC`.
pub(crate) fn unix_millis(text: &str) -> u64 {
    let (seconds, fraction) = text.split_once('.').expect("a fraction");
    let fraction = fraction.trim_end_matches(" UTC");
    unix_seconds(seconds) * 1000 + fraction[..3].parse::<u64>().expect("milliseconds")
}

pub(crate) fn unix_seconds(text: &str) -> u64 {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let parts: Vec<&str> = text.split([' ', 'T', ':', '-', ',']).filter(|part| !part.is_empty()).collect();
    let number = |at: usize| parts[at].parse::<u64>().expect("a number");
    let (year, month, day) = match MONTHS.iter().position(|month| *month == parts[0]) {
        Some(month) => (number(2), month as u64 + 1, number(1)),
        None => (number(0), number(1), number(2)),
    };
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let of_month = |month: u64| match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let of_years: u64 = (1970..year).map(|year| 365 + u64::from(is_leap(year))).sum();
    let days = of_years + (1..month).map(of_month).sum::<u64>() + day - 1;
    days * 86_400 + number(3) * 3600 + number(4) * 60 + number(5)
}

#[expect(clippy::disallowed_methods, reason = "how long a call takes")]
pub(crate) fn instant() -> std::time::Instant {
    std::time::Instant::now()
}

/// A string of JSON, or anything else of it as it is written.
pub(crate) fn text(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
