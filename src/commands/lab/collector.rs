//! A small collector of IPFIX, as an operator would run one: it knows RFC 7011 and numbers of the IANA registry, and
//! nothing of this exporter. What a record consists of it learns from the templates that it is sent.

use std::collections::HashMap;
use std::fmt;
use std::io::Read as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;

use super::topology::Node;
use crate::attribution::time_text;

/// What the configuration has for it.
pub(super) const CONFIGURATION: &str = r#"
[[ipfix.collector]]
address = "127.0.0.1"
flush-interval-ms = 100
reconnect-interval = 1       # the lab is short
"#;

const PORT: u16 = 4739;
/// A grant is on its way this long at most: a second until the session is there, the flush interval, and time to
/// spare.
const PATIENCE: Duration = Duration::from_secs(5);

/// Numbers of the Information Elements that it looks at.
mod element {
    pub(super) const SOURCE_IPV4: u16 = 8;
    pub(super) const SOURCE_IPV6: u16 = 27;
    pub(super) const POST_NAT_SOURCE_IPV4: u16 = 225;
    pub(super) const NAT_EVENT: u16 = 230;
    pub(super) const OBSERVATION_TIME_MILLIS: u16 = 323;
    pub(super) const PORT_RANGE_START: u16 = 361;
    pub(super) const PORT_RANGE_END: u16 = 362;
}

/// natEvent "Port block allocation".
const PORT_BLOCK_ALLOCATION: u64 = 16;
/// The set that has templates (RFC 7011 section 3.3.2).
const TEMPLATES: u16 = 2;
const FIRST_DATA: u16 = 256;

/// A port set that somebody got, as the collector was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Granted {
    /// Milliseconds since 1970.
    pub(super) at: u64,
    pub(super) external: Ipv4Addr,
    pub(super) ports: RangeInclusive<u16>,
    pub(super) b4: Ipv6Addr,
    internal: Ipv4Addr,
}

impl fmt::Display for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Granted { at, external, ports, b4, internal } = self;
        let (first, last) = (ports.start(), ports.end());
        write!(f, "{} port set granted {external}:{first}-{last} to {b4} ({internal})", time_text(*at))
    }
}

/// A collector at work, until the exporter closes its session.
pub(super) struct Collector {
    granted: Arc<Mutex<Vec<Granted>>>,
}

impl Collector {
    /// Listens on the loopback interface of `node`.
    pub(super) fn start(node: &Node) -> anyhow::Result<Collector> {
        let listener = node.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)))??;
        let granted = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&granted);
        let thread = std::thread::Builder::new().name("collector".into());
        thread.spawn(move || {
            for session in listener.incoming().map_while(Result::ok) {
                // A session that breaks is followed by another one.
                let _ = read_session(session, &written);
            }
        })?;
        Ok(Collector { granted })
    }

    /// The latest grant of a port, once it is told.
    pub(super) fn granted(&self, external: SocketAddrV4) -> anyhow::Result<Granted> {
        let has = |one: &&Granted| one.external == *external.ip() && one.ports.contains(&external.port());
        let step = Duration::from_millis(20);
        for _ in 0..PATIENCE.as_millis() / step.as_millis() {
            let granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = granted.iter().rfind(has) {
                return Ok(found.clone());
            }
            drop(granted);
            std::thread::sleep(step);
        }
        anyhow::bail!("the collector was not told of {external} in {} s", PATIENCE.as_secs())
    }
}

/// Reads messages until the session ends.
fn read_session(mut session: TcpStream, granted: &Mutex<Vec<Granted>>) -> anyhow::Result<()> {
    let mut templates = HashMap::new();
    loop {
        let mut message = vec![0; 16];
        session.read_exact(&mut message)?;
        anyhow::ensure!(word(&message, 0)? == 10, "no IPFIX");
        message.resize(usize::from(word(&message, 2)?).max(16), 0);
        session.read_exact(&mut message[16..])?;
        let told = read_message(&message[16..], &mut templates)?;
        granted.lock().unwrap_or_else(PoisonError::into_inner).extend(told);
    }
}

/// Elements of a template's records with their lengths, by its number.
type Templates = HashMap<u16, Vec<(u16, u16)>>;

fn read_message(mut sets: &[u8], templates: &mut Templates) -> anyhow::Result<Vec<Granted>> {
    let mut granted = Vec::new();
    while !sets.is_empty() {
        let (id, length) = (word(sets, 0)?, usize::from(word(sets, 2)?));
        let set = sets.get(4..length).context("a set that is too short")?;
        sets = &sets[length..];
        if id == TEMPLATES {
            read_templates(set, templates)?;
        } else if let Some(template) = templates.get(&id).filter(|_| id >= FIRST_DATA) {
            let octets: usize = template.iter().map(|&(_, length)| usize::from(length)).sum();
            granted
                .extend(set.chunks_exact(octets.max(1)).filter_map(|record| read_record(record, template)));
        }
    }
    Ok(granted)
}

/// RFC 7011 section 3.4.1. None of ours has elements of an enterprise.
fn read_templates(mut set: &[u8], templates: &mut Templates) -> anyhow::Result<()> {
    while set.len() >= 4 {
        let (id, count) = (word(set, 0)?, usize::from(word(set, 2)?));
        let fields = set.get(4..4 + 4 * count).context("a template that is cut short")?;
        let field = |field: &[u8]| Ok((word(field, 0)?, word(field, 2)?));
        templates.insert(id, fields.chunks_exact(4).map(field).collect::<anyhow::Result<_>>()?);
        set = &set[4 + 4 * count..];
    }
    Ok(())
}

/// A grant, if the record is one.
fn read_record(record: &[u8], template: &[(u16, u16)]) -> Option<Granted> {
    let (mut values, mut rest) = (HashMap::new(), record);
    for &(element, length) in template {
        let (value, behind) = rest.split_at_checked(usize::from(length))?;
        values.insert(element, value.iter().fold(0, |sum: u128, &octet| sum << 8 | u128::from(octet)));
        rest = behind;
    }
    let value = |element: u16| values.get(&element).copied();
    if value(element::NAT_EVENT)? != u128::from(PORT_BLOCK_ALLOCATION) {
        return None;
    }
    let address = |element: u16| Some(Ipv4Addr::from(value(element)? as u32));
    Some(Granted {
        at: value(element::OBSERVATION_TIME_MILLIS)? as u64,
        external: address(element::POST_NAT_SOURCE_IPV4)?,
        ports: value(element::PORT_RANGE_START)? as u16..=value(element::PORT_RANGE_END)? as u16,
        b4: value(element::SOURCE_IPV6)?.into(),
        internal: address(element::SOURCE_IPV4)?,
    })
}

fn word(octets: &[u8], at: usize) -> anyhow::Result<u16> {
    let word = octets.get(at..at + 2).and_then(|word| word.try_into().ok());
    word.map(u16::from_be_bytes).context("a message that is cut short")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The run of the collectors' golden capture: three grants, and the one that follows a B4 to its new address.
    #[test]
    fn what_every_collector_reads_it_reads_too() {
        let mut octets = include_bytes!("../../../tests/collectors/golden/run.ipfix").as_slice();
        let (mut templates, mut granted) = (HashMap::new(), Vec::new());
        while !octets.is_empty() {
            let (message, behind) = octets.split_at(usize::from(word(octets, 2).unwrap()));
            granted.extend(read_message(&message[16..], &mut templates).unwrap());
            octets = behind;
        }
        let told: Vec<String> = granted.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "2026-10-28T13:24:05.067Z port set granted 198.51.100.3:1024-1535 to 2001:db8:b4::1 (10.0.0.2)",
                "2026-10-28T13:24:09.119Z port set granted 198.51.100.3:9728-10239 to 2001:db8:b4:1::1 (10.0.0.2)",
                "2026-10-28T13:24:13.171Z port set granted 198.51.100.3:65024-65535 to 2001:db8:b4:2:a:b:c:d \
                 (10.0.0.2)",
                "2026-10-28T13:24:20.262Z port set granted 198.51.100.3:1024-1535 to 2001:db8:b4::2 (10.0.0.2)",
            ]
        );
    }
}
