//! What every `[[ipfix.collector]]` and `[[syslog.receiver]]` has: where it is, what it is told of, and what is
//! kept for it while it is away.

use std::net::IpAddr;
use std::path::PathBuf;

use toml::de::DeValue;

use crate::reader::{Table, Value, Wrong, string};
use crate::report::Report;
use crate::tls::{Tls, read_tls};

/// MiB: of a queue, and of a spool.
const MOST_MEMORY: u32 = 65_536;
const MOST_DISK: u32 = 1 << 24;

/// Somebody who is told of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `address`
    pub address: IpAddr,
    /// `port`
    pub port: u16,
    /// `transport`
    pub transport: Transport,
    /// `source-address`: which of ours to send from; default the kernel's choice.
    pub source_address: Option<IpAddr>,
    /// `log`
    pub log: Log,
    /// `flush-interval-ms`: longest wait of a record for others to travel with, 1 to 10000, default 500.
    pub flush_interval_ms: u32,
    /// `queue-mib`: octets of records that wait in memory, default 64 MiB.
    pub queue_octets: u64,
    /// `reconnect-interval`: least seconds between two attempts, default 60 (RFC 7011 section 10.4.4); TCP only.
    pub reconnect_interval: u32,
    /// `resend-mib`: octets of records that were sent last and are sent again after a break, default 40 MiB:
    /// more than waits in the sockets of both ends (36 MiB, since Linux 6.16 gives a reader 32); TCP only.
    pub resend_octets: u64,
    /// `spool`: none means that what does not fit in memory is lost; TCP only.
    pub spool: Option<Spool>,
    /// `tls`: none means clear text; TCP only.
    pub tls: Option<Tls>,
}

/// `spool`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spool {
    /// `directory`: for this target alone.
    pub directory: PathBuf,
    /// `most-mib`: octets on disk, default 20 GiB.
    pub most_octets: u64,
    /// `most-hours`: age of what is kept, default 24.
    pub most_hours: u32,
}

/// `transport`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// `"tcp"`
    Tcp,
    /// `"udp"`
    Udp,
}

/// `log`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// `"port-sets"`: grants of port sets, and notices.
    PortSets,
    /// `"mappings"`: each mapping too.
    Mappings,
}

pub(crate) struct TargetDefaults {
    pub(crate) transport: Transport,
    pub(crate) port_tcp: u16,
    pub(crate) port_tls: u16,
    pub(crate) port_udp: u16,
}

const TRANSPORTS: &[(&str, Transport)] = &[("tcp", Transport::Tcp), ("udp", Transport::Udp)];
const LOGS: &[(&str, Log)] = &[("port-sets", Log::PortSets), ("mappings", Log::Mappings)];
/// Keys without a use where nothing is ever known to be lost.
const TCP_KEYS: &[&str] = &["reconnect-interval", "resend-mib", "spool", "tls"];

impl Target {
    pub(crate) fn read(table: &mut Table<'_>, defaults: &TargetDefaults) -> Option<Target> {
        let address = table.required("address", "write the address of the collector, as \"192.0.2.1\"");
        let transport = table.choice("transport", TRANSPORTS).unwrap_or(defaults.transport);
        let tls = read_tls(table);
        let port = match transport {
            Transport::Tcp if tls.is_some() => defaults.port_tls,
            Transport::Tcp => defaults.port_tcp,
            Transport::Udp => defaults.port_udp,
        };
        let (port, source_address) =
            (table.number("port", 1..=65_535, port), table.optional("source-address"));
        let mebibytes = |number: u32| u64::from(number) << 20;
        let target = Target {
            address: address.unwrap_or(IpAddr::from([0; 4])),
            port,
            transport,
            source_address,
            log: table.choice("log", LOGS).unwrap_or(Log::PortSets),
            flush_interval_ms: table.number("flush-interval-ms", 1..=10_000, 500),
            queue_octets: mebibytes(table.number("queue-mib", 1..=MOST_MEMORY, 64)),
            reconnect_interval: table.number("reconnect-interval", 1..=3600, 60),
            resend_octets: mebibytes(table.number("resend-mib", 0..=MOST_MEMORY, 40)),
            spool: read_spool(table),
            tls,
        };
        if transport == Transport::Udp {
            for key in TCP_KEYS.iter().filter(|key| table.has(key)) {
                let cure = "leave it out, or write transport = \"tcp\"";
                table.report().wrong(&table.key(key), "has no use with transport = \"udp\"", cure);
            }
        }
        let (address, source) = (address?, source_address);
        if source.is_some_and(|source: IpAddr| source.is_ipv4() != address.is_ipv4()) {
            let cure = "write one of the same kind as address";
            table.report().wrong_value(&table.key("source-address"), "cannot reach the address", cure);
        }
        Some(target)
    }

    /// Whether it is told by TCP.
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        self.transport == Transport::Tcp
    }
}

fn read_spool(table: &mut Table<'_>) -> Option<Spool> {
    const CURE: &str = "name a directory: spool = { directory = \"/var/spool/aftr/first\" }";
    let is_there = table.is_table("spool");
    let mut spool = table.table_or("spool", "write spool = { directory = \"/var/spool/aftr/first\" }");
    if is_there {
        spool.require("directory", CURE);
    }
    let directory: Option<AbsolutePath> = spool.optional("directory");
    let most_octets = u64::from(spool.number::<u32>("most-mib", 1..=MOST_DISK, 20_480)) << 20;
    let most_hours = spool.number("most-hours", 1..=8760, 24);
    spool.finish();
    Some(Spool { directory: directory?.0, most_octets, most_hours })
}

/// Two spools in one directory would replay each other's records.
pub(crate) fn refuse_shared_spools(report: &Report<'_>, lists: &[(String, Vec<Option<PathBuf>>)]) {
    let mut seen: Vec<(&PathBuf, String)> = Vec::new();
    for (list, spools) in lists {
        for (at, directory) in spools.iter().enumerate() {
            let (element, Some(directory)) = (report.element(list, at), directory) else { continue };
            let key = format!("{element}.spool.directory");
            if let Some((_, other)) = seen.iter().find(|(other, _)| *other == directory) {
                report.wrong_value(&key, format!("is the spool of {other} already"), "give each its own");
            }
            seen.push((directory, element));
        }
    }
}

pub(crate) struct AbsolutePath(pub(crate) PathBuf);

impl Value for AbsolutePath {
    fn read(value: &DeValue<'_>) -> Result<AbsolutePath, Wrong> {
        const WHAT: &str = "a path that begins with /";
        let path = PathBuf::from(string(value, WHAT)?);
        if path.is_absolute() {
            Ok(AbsolutePath(path))
        } else {
            Err(Wrong::new("is relative", format!("write {WHAT}")))
        }
    }
}

impl Value for IpAddr {
    fn read(value: &DeValue<'_>) -> Result<IpAddr, Wrong> {
        const WHAT: &str = "an address, as \"192.0.2.1\" or \"2001:db8::1\"";
        let text = string(value, WHAT)?;
        text.parse().map_err(|_| Wrong::new("cannot be read", format!("write {WHAT}")))
    }
}
