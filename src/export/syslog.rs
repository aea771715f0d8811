//! Records as lines of RFC 5424: everything is structured data, the message itself is empty. Names are those
//! of draft-ietf-behave-syslog-nat-logging, which were never registered, so that they end in the operator's
//! own enterprise number unless he asks for bare ones.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::fields::number_of;
use super::instance::Instance;
use super::record::{Change, Record, Threshold, What};
use crate::engine::Limit;

/// local1 (RFC 5424 section 6.2.1).
const FACILITY: u8 = 17;
const ERROR: u8 = 3;
const WARNING: u8 = 4;
const NOTICE: u8 = 5;
const INFORMATIONAL: u8 = 6;

/// Writes lines.
#[derive(Debug, Clone)]
pub struct Lines {
    host_name: String,
    nat_instance_id: u32,
    /// `@` and the enterprise number, or nothing.
    suffix: String,
}

impl Lines {
    /// Lines of an instance. `enterprise_number` is behind the names of structured data.
    #[must_use]
    pub fn new(instance: &Instance, enterprise_number: Option<u32>) -> Lines {
        Lines {
            host_name: instance.host_name.clone(),
            nat_instance_id: instance.nat_instance_id,
            suffix: enterprise_number.map_or(String::new(), |number| format!("@{number}")),
        }
    }

    /// The same lines of another name.
    #[must_use]
    pub fn with_host_name(self, host_name: &str) -> Lines {
        Lines { host_name: host_name.to_owned(), ..self }
    }

    /// The line of a record, without a newline.
    #[must_use]
    pub fn line(&self, record: &Record) -> String {
        match record.what {
            What::PortSet { change, host, external, first_port, last_port, pool_id } => {
                let mut line = self.begin(record, "NAT", change.message("PTADD", "PTDEL"), "nprng");
                self.host(&mut line, host.b4, host.internal);
                parameter(&mut line, "XATYP", "IPv4");
                self.external(&mut line, external);
                parameter(&mut line, "PORTMN", first_port);
                parameter(&mut line, "PORTMX", last_port);
                parameter(&mut line, "POOLID", pool_id);
                line + "]"
            }
            What::Mapping { change, host, protocol, internal_port, external, external_port, pool_id } => {
                let mut line = self.begin(record, "NAT", change.message("APMADD", "APMDEL"), "napmap");
                self.host(&mut line, host.b4, host.internal);
                parameter(&mut line, "ISPORT", internal_port);
                parameter(&mut line, "XATYP", "IPv4");
                self.external(&mut line, external);
                parameter(&mut line, "XSPORT", external_port);
                parameter(&mut line, "PROTO", protocol);
                parameter(&mut line, "POOLID", pool_id);
                line + "]"
            }
            What::Threshold { threshold, value, pool_id } => {
                let (message, name, parameter_name) = match threshold {
                    Threshold::PoolHigh => ("POOLHT", "npool", "POOLHW"),
                    Threshold::PoolLow => ("POOLLT", "npool", "POOLLW"),
                    Threshold::MappingsHigh => ("GAPMHT", "ngapmht", "GAPMCNT"),
                    Threshold::AddressMappingsHigh => ("GAMHT", "ngamht", "GAMCNT"),
                };
                let mut line = self.begin(record, "NATTHR", message, name);
                if matches!(threshold, Threshold::PoolHigh | Threshold::PoolLow) {
                    parameter(&mut line, "POOLID", pool_id);
                }
                parameter(&mut line, parameter_name, value);
                line + "]"
            }
            What::Limit { limit, most } => self.limit_line(record, &limit, most),
        }
    }

    /// The draft has names for quotas; a pool without addresses and an address without ports are its "global"
    /// limits, which we tell apart by what is named.
    fn limit_line(&self, record: &Record, limit: &Limit, most: u32) -> String {
        let (message, name, parameter_name) = match limit {
            Limit::Pool { .. } | Limit::Subscribers => ("GAMLIM", "ngaml", "GAMCNT"),
            Limit::Address { .. } | Limit::Mappings => ("GAPMLIM", "ngapml", "GAPMCNT"),
            Limit::Sessions => ("GSLIM", "ngsl", "GSCNT"),
            Limit::Subscriber { .. } => ("SAPMLIM", "nsapml", "SAPMCNT"),
            Limit::Fragments { .. } => ("FRAG", "nfpkt", "FRAGCNT"),
        };
        let mut line = self.begin(record, "NATLIM", message, name);
        match *limit {
            Limit::Sessions | Limit::Mappings | Limit::Subscribers => {
                parameter(&mut line, parameter_name, most)
            }
            Limit::Pool { pool_id } => parameter(&mut line, "POOLID", pool_id),
            Limit::Address { external, protocol } => {
                parameter(&mut line, "XATYP", "IPv4");
                self.external(&mut line, external);
                parameter(&mut line, "PROTO", number_of(protocol));
            }
            Limit::Subscriber { b4, internal, .. } | Limit::Fragments { b4, internal, .. } => {
                self.host(&mut line, b4, internal);
                parameter(&mut line, parameter_name, most);
            }
        }
        line + "]"
    }

    /// The line that says how good our time is (RFC 5424 section 7.1). `quality` is as in
    /// [`Clock::quality`](super::Clock::quality).
    #[must_use]
    pub fn time_quality(&self, unix_millis: u64, quality: Option<(bool, Option<u64>)>) -> String {
        let mut line = self.header(unix_millis, INFORMATIONAL, "NAT", "TIME");
        line += "[timeQuality";
        parameter(&mut line, "tzKnown", 1);
        if let Some((is_synchronised, accuracy)) = quality {
            parameter(&mut line, "isSynced", u8::from(is_synchronised));
            if let Some(accuracy) = accuracy.filter(|_| is_synchronised) {
                parameter(&mut line, "syncAccuracy", accuracy);
            }
        }
        line + "]"
    }

    fn begin(&self, record: &Record, application: &str, message: &str, name: &str) -> String {
        let severity = match (application, message) {
            ("NAT", _) | (_, "POOLLT") => INFORMATIONAL,
            (_, "GAMLIM" | "GAPMLIM" | "GSLIM") => ERROR,
            (_, "SAPMLIM") => NOTICE,
            _ => WARNING,
        };
        let mut line = self.header(record.at, severity, application, message);
        let _ = write!(line, "[{name}{}", self.suffix);
        parameter(&mut line, "NATINST", self.nat_instance_id);
        line
    }

    fn header(&self, unix_millis: u64, severity: u8, application: &str, message: &str) -> String {
        let mut line = String::with_capacity(320);
        let _ = write!(line, "<{}>1 ", FACILITY * 8 + severity);
        put_time(&mut line, unix_millis);
        let _ = write!(line, " {} {application} - {message} ", self.host_name);
        line
    }

    fn host(&self, line: &mut String, b4: Ipv6Addr, internal: Ipv4Addr) {
        parameter(line, "SV6ENC", b4);
        parameter(line, "IATYP", "IPv4");
        parameter(line, "ISADDR", internal);
    }

    fn external(&self, line: &mut String, external: Ipv4Addr) {
        parameter(line, "XSADDR", external);
    }
}

impl Change {
    fn message(self, begin: &'static str, end: &'static str) -> &'static str {
        match self {
            Change::Begin => begin,
            Change::End => end,
        }
    }
}

/// RFC 5424 section 6.3.3: `"`, `\` and `]` of a value are escaped. Ours have none; a name of a pool could.
fn parameter(line: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = write!(line, " {name}=\"");
    let start = line.len();
    let _ = write!(line, "{value}");
    if line[start..].contains(['"', '\\', ']']) {
        let plain = line.split_off(start);
        for character in plain.chars() {
            if matches!(character, '"' | '\\' | ']') {
                line.push('\\');
            }
            line.push(character);
        }
    }
    line.push('"');
}

/// UTC with milliseconds (RFC 5424 section 6.2.3). Days are cut into years and months as in the proleptic
/// Gregorian calendar, years beginning in March so that the leap day is the last.
pub(super) fn put_time(line: &mut String, unix_millis: u64) {
    let (days, millis) = (unix_millis / 86_400_000, unix_millis % 86_400_000);
    let (seconds, fraction) = (millis / 1000, millis % 1000);
    let since_march_0000 = days + 719_468;
    let (era, day_of_era) = (since_march_0000 / 146_097, since_march_0000 % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let _ = write!(line, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:03}Z");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Protocol;
    use crate::export::record::Host;

    fn lines(enterprise_number: Option<u32>) -> Lines {
        let instance = Instance {
            nat_instance_id: 1,
            host_name: "aftr.example.net".into(),
            pools: Vec::new(),
            most_subscribers: 0,
            most_mappings: 0,
            most_sessions: 0,
        };
        Lines::new(&instance, enterprise_number)
    }

    fn host() -> Host {
        Host { b4: "2001:db8:b4::1".parse().unwrap(), internal: Ipv4Addr::new(10, 0, 0, 2) }
    }

    /// SYS-1, SYS-3, SYS-4, SYS-5
    #[test]
    fn each_record_is_a_line_of_structured_data() {
        let external = Ipv4Addr::new(198, 51, 100, 3);
        let port_set = What::PortSet {
            change: Change::Begin,
            host: host(),
            external,
            first_port: 1024,
            last_port: 1535,
            pool_id: 7,
        };
        let at = 1_793_193_845_067;
        assert_eq!(
            lines(Some(32473)).line(&Record { at, what: port_set }),
            "<142>1 2026-10-28T13:24:05.067Z aftr.example.net NAT - PTADD [nprng@32473 NATINST=\"1\" \
             SV6ENC=\"2001:db8:b4::1\" IATYP=\"IPv4\" ISADDR=\"10.0.0.2\" XATYP=\"IPv4\" XSADDR=\"198.51.100.3\" \
             PORTMN=\"1024\" PORTMX=\"1535\" POOLID=\"7\"]"
        );
        let mapping = What::Mapping {
            change: Change::End,
            host: host(),
            protocol: 17,
            internal_port: 5000,
            external,
            external_port: 1100,
            pool_id: 7,
        };
        assert_eq!(
            lines(None).line(&Record { at, what: mapping }),
            "<142>1 2026-10-28T13:24:05.067Z aftr.example.net NAT - APMDEL [napmap NATINST=\"1\" \
             SV6ENC=\"2001:db8:b4::1\" IATYP=\"IPv4\" ISADDR=\"10.0.0.2\" ISPORT=\"5000\" XATYP=\"IPv4\" \
             XSADDR=\"198.51.100.3\" XSPORT=\"1100\" PROTO=\"17\" POOLID=\"7\"]"
        );
        let threshold = |threshold| What::Threshold { threshold, value: 15, pool_id: 7 };
        let said = |one| lines(None).line(&Record { at, what: threshold(one) });
        assert!(said(Threshold::PoolHigh).starts_with("<140>1 "));
        assert!(
            said(Threshold::PoolHigh)
                .ends_with(" NATTHR - POOLHT [npool NATINST=\"1\" POOLID=\"7\" POOLHW=\"15\"]")
        );
        assert!(said(Threshold::PoolLow).starts_with("<142>1 "));
        assert!(said(Threshold::MappingsHigh).ends_with("GAPMHT [ngapmht NATINST=\"1\" GAPMCNT=\"15\"]"));
        assert!(said(Threshold::AddressMappingsHigh).ends_with("GAMHT [ngamht NATINST=\"1\" GAMCNT=\"15\"]"));
    }

    /// SYS-2
    #[test]
    fn time_is_utc_with_milliseconds() {
        let said = |unix_millis| {
            let mut line = String::new();
            put_time(&mut line, unix_millis);
            line
        };
        assert_eq!(said(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(said(951_782_400_000 - 1), "2000-02-28T23:59:59.999Z");
        assert_eq!(said(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(said(1_709_251_199_999), "2024-02-29T23:59:59.999Z");
        assert_eq!(said(1_735_689_600_000), "2025-01-01T00:00:00.000Z");
        assert_eq!(said(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
    }

    /// SYS-2
    #[test]
    fn the_quality_of_the_time_is_said() {
        let said = |quality| lines(None).time_quality(0, quality).split_once(" TIME ").unwrap().1.to_owned();
        assert_eq!(said(None), "[timeQuality tzKnown=\"1\"]");
        assert_eq!(said(Some((false, Some(5)))), "[timeQuality tzKnown=\"1\" isSynced=\"0\"]");
        assert_eq!(
            said(Some((true, Some(250)))),
            "[timeQuality tzKnown=\"1\" isSynced=\"1\" syncAccuracy=\"250\"]"
        );
    }

    /// SYS-1: RFC 5424 section 6.3.3.
    #[test]
    fn what_would_end_a_value_is_escaped() {
        let mut line = String::new();
        parameter(&mut line, "POOL", "a\"b\\c]d");
        assert_eq!(line, " POOL=\"a\\\"b\\\\c\\]d\"");
    }

    /// SYS-3
    #[test]
    fn a_limit_is_told_with_its_name_and_its_severity() {
        let Host { b4, internal } = host();
        let cases = [
            (Limit::Pool { pool_id: 7 }, 0, 139, "GAMLIM [ngaml NATINST=\"1\" POOLID=\"7\"]"),
            (
                Limit::Address { external: Ipv4Addr::new(198, 51, 100, 3), protocol: Protocol::Udp },
                0,
                139,
                "GAPMLIM [ngapml NATINST=\"1\" XATYP=\"IPv4\" XSADDR=\"198.51.100.3\" PROTO=\"17\"]",
            ),
            (Limit::Sessions, 9, 139, "GSLIM [ngsl NATINST=\"1\" GSCNT=\"9\"]"),
            (Limit::Mappings, 9, 139, "GAPMLIM [ngapml NATINST=\"1\" GAPMCNT=\"9\"]"),
            (Limit::Subscribers, 9, 139, "GAMLIM [ngaml NATINST=\"1\" GAMCNT=\"9\"]"),
            (
                Limit::Subscriber { b4, internal, most: 9 },
                9,
                141,
                "SAPMLIM [nsapml NATINST=\"1\" SV6ENC=\"2001:db8:b4::1\" IATYP=\"IPv4\" ISADDR=\"10.0.0.2\" \
                 SAPMCNT=\"9\"]",
            ),
            (
                Limit::Fragments { b4, internal, most: 9 },
                9,
                140,
                "FRAG [nfpkt NATINST=\"1\" SV6ENC=\"2001:db8:b4::1\" IATYP=\"IPv4\" ISADDR=\"10.0.0.2\" \
                 FRAGCNT=\"9\"]",
            ),
        ];
        for (limit, most, priority, rest) in cases {
            let line = lines(None).line(&Record { at: 0, what: What::Limit { limit, most } });
            let expected = format!("<{priority}>1 1970-01-01T00:00:00.000Z aftr.example.net NATLIM - {rest}");
            assert_eq!(line, expected);
        }
    }
}
