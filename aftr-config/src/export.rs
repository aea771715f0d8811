//! `[ipfix]` and `[syslog]`: who is told of grants and mappings, and how. Without either nobody is.

use std::net::IpAddr;
use std::path::PathBuf;

use toml::de::DeValue;

use crate::reader::{Table, Value, Wrong, string};
use crate::target::{Target, TargetDefaults, Transport, refuse_shared_spools};

/// Well-known ports: RFC 7011 sections 10.3.4 and 11.1, RFC 5426 section 3.3, RFC 6587 (IANA `syslog-conn`), RFC 5425
/// section 4.1, and the one that nfcapd listens to.
const IPFIX_PORT: u16 = 4739;
const IPFIX_TLS_PORT: u16 = 4740;
const NETFLOW_PORT: u16 = 9995;
const SYSLOG_UDP_PORT: u16 = 514;
const SYSLOG_TCP_PORT: u16 = 601;
const SYSLOG_TLS_PORT: u16 = 6514;
/// Most seconds between two copies of the templates: a day.
const MOST_REFRESH: u32 = 86_400;

/// `[ipfix]` and `[syslog]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// `ipfix.nat-instance-id`: names this translator in every record of both, and is the Observation Domain;
    /// 1 to 2^32-1, default 1 (RFC 8158 natInstanceID).
    pub nat_instance_id: u32,
    /// `[[ipfix.collector]]`
    pub collectors: Vec<Collector>,
    /// `[[syslog.receiver]]`
    pub receivers: Vec<Receiver>,
}

/// `[[ipfix.collector]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector {
    /// Where it is, and what is kept for it.
    pub target: Target,
    /// `format`: default as `preset` says.
    pub format: Format,
    /// `compat = "nel"`: natEvent 1 and 2 for what is created and ended, as Cisco's NetFlow event logging has
    /// it; default with preset `nfdump`.
    pub nel: bool,
    /// `template-refresh`: seconds between two copies of the templates over UDP, default 60 (RFC 7011
    /// section 8.4).
    pub template_refresh: u32,
}

/// `format`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `"ipfix"`: RFC 7011.
    Ipfix,
    /// `"netflow-v9"`: RFC 3954.
    NetflowV9,
}

/// `[[syslog.receiver]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// Where it is, and what is kept for it.
    pub target: Target,
    /// `enterprise-number` behind the names of the structured data; none with `sd-style = "draft"`.
    pub enterprise_number: Option<u32>,
    /// `host-name`: default the machine's.
    pub host_name: Option<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Preset {
    Rfc8158,
    Nfdump,
    Pmacct,
}

#[derive(Clone, Copy, PartialEq)]
enum SdStyle {
    Enterprise,
    Draft,
}

const PRESETS: &[(&str, Preset)] =
    &[("rfc8158", Preset::Rfc8158), ("nfdump", Preset::Nfdump), ("pmacct", Preset::Pmacct)];
const FORMATS: &[(&str, Format)] = &[("ipfix", Format::Ipfix), ("netflow-v9", Format::NetflowV9)];
const COMPATS: &[(&str, bool)] = &[("none", false), ("nel", true)];
const STYLES: &[(&str, SdStyle)] = &[("enterprise", SdStyle::Enterprise), ("draft", SdStyle::Draft)];

impl Export {
    pub(crate) fn read(mut ipfix: Table<'_>, mut syslog: Table<'_>) -> Export {
        let export = Export {
            nat_instance_id: ipfix.number("nat-instance-id", 1..=u32::MAX, 1),
            collectors: ipfix.tables("collector", Collector::read),
            receivers: syslog.tables("receiver", Receiver::read),
        };
        refuse_shared_spools(
            ipfix.report(),
            &[
                (ipfix.key("collector"), targets(&export.collectors, |collector| &collector.target)),
                (syslog.key("receiver"), targets(&export.receivers, |receiver| &receiver.target)),
            ],
        );
        ipfix.finish();
        syslog.finish();
        export
    }

    /// Every target, collectors first.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        let collectors = self.collectors.iter().map(|collector| &collector.target);
        collectors.chain(self.receivers.iter().map(|receiver| &receiver.target))
    }
}

fn targets<T>(of: &[T], target: impl Fn(&T) -> &Target) -> Vec<Option<PathBuf>> {
    of.iter().map(|one| target(one).spool.as_ref().map(|spool| spool.directory.clone())).collect()
}

impl Collector {
    fn read(mut table: Table<'_>) -> Option<Collector> {
        let preset = table.choice("preset", PRESETS).unwrap_or(Preset::Rfc8158);
        let of_preset = if preset == Preset::Nfdump { Format::NetflowV9 } else { Format::Ipfix };
        let format = table.choice("format", FORMATS).unwrap_or(of_preset);
        let transport = match (preset, format) {
            (Preset::Rfc8158, Format::Ipfix) => Transport::Tcp,
            _ => Transport::Udp,
        };
        let port = if format == Format::NetflowV9 { NETFLOW_PORT } else { IPFIX_PORT };
        let defaults = TargetDefaults { transport, port_tcp: port, port_tls: IPFIX_TLS_PORT, port_udp: port };
        let target = Target::read(&mut table, &defaults);
        let nel = table.choice("compat", COMPATS).unwrap_or(preset == Preset::Nfdump);
        let template_refresh = table.number("template-refresh", 1..=MOST_REFRESH, 60);
        let (report, is_tcp) = (table.report(), target.as_ref().is_some_and(Target::is_tcp));
        if format == Format::NetflowV9 && is_tcp {
            let cure = "write transport = \"udp\", or format = \"ipfix\"";
            report.wrong(&table.key("transport"), "= \"tcp\" does not carry netflow-v9", cure);
        }
        if is_tcp && table.has("template-refresh") {
            let cure = "leave it out: a TCP session is told the templates once (RFC 7011 section 8.4)";
            report.wrong(&table.key("template-refresh"), "has no use with transport = \"tcp\"", cure);
        }
        table.finish();
        Some(Collector { target: target?, format, nel, template_refresh })
    }
}

impl Receiver {
    fn read(mut table: Table<'_>) -> Option<Receiver> {
        const CURE: &str = "write the enterprise number that IANA gave you, or sd-style = \"draft\"";
        let defaults = TargetDefaults {
            transport: Transport::Tcp,
            port_tcp: SYSLOG_TCP_PORT,
            port_tls: SYSLOG_TLS_PORT,
            port_udp: SYSLOG_UDP_PORT,
        };
        let target = Target::read(&mut table, &defaults);
        let style = table.choice("sd-style", STYLES).unwrap_or(SdStyle::Enterprise);
        let number: Option<u32> = table.optional_number("enterprise-number", 1..=u32::MAX);
        match style {
            SdStyle::Enterprise => table.require("enterprise-number", CURE),
            SdStyle::Draft if number.is_some() => {
                let problem = "has no use with sd-style = \"draft\"";
                table.report().wrong(&table.key("enterprise-number"), problem, "leave one of the two out");
            }
            SdStyle::Draft => {}
        }
        let host_name: Option<HostName> = table.optional("host-name");
        table.finish();
        Some(Receiver {
            target: target?,
            enterprise_number: number.filter(|_| style == SdStyle::Enterprise),
            host_name: host_name.map(|HostName(name)| name),
        })
    }
}

/// RFC 5424 section 6: 1 to 255 printable octets of ASCII.
struct HostName(String);

impl Value for HostName {
    fn read(value: &DeValue<'_>) -> Result<HostName, Wrong> {
        const WHAT: &str = "1 to 255 printable characters of ASCII without space";
        let text = string(value, WHAT)?;
        if (1..=255).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_graphic()) {
            Ok(HostName(text.to_owned()))
        } else {
            Err(Wrong::new("is no host name", format!("write {WHAT}")))
        }
    }
}

pub(crate) fn advice(export: &Export, advice: &mut Vec<String>) {
    let is_away = |address: IpAddr| !address.is_loopback();
    let targets: Vec<&Target> = export.targets().collect();
    if !targets.is_empty() && targets.iter().all(|target| !target.is_tcp()) {
        advice.push(
            "ipfix, syslog: all go by UDP, which loses records in silence: have one collector by TCP, or rely on \
             the journal alone"
                .into(),
        );
    }
    for (at, target) in targets.iter().enumerate() {
        let address = target.address;
        if target.is_tcp() && target.spool.is_none() {
            let kind = if at < export.collectors.len() { "ipfix.collector" } else { "syslog.receiver" };
            advice.push(format!(
                "the {kind} at {address}, port {}, has no spool: what does not fit in {} MiB of memory while it is \
                 away is lost to it",
                target.port,
                target.queue_octets >> 20
            ));
        }
        if is_away(address) && target.tls.is_none() {
            advice.push(format!(
                "records to {address} are not encrypted and name subscribers: give it tls (RFC 8158 section 7), or \
                 keep them on a management network"
            ));
        }
    }
}
