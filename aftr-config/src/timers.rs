//! `[nat.timers]`: how long what is idle lives.

use crate::MOST_SECONDS;
use crate::reader::{Table, number};

/// A timer that must not be shorter: key, floor in seconds, source. A lab may say otherwise.
pub(crate) struct Floor {
    pub(crate) key: &'static str,
    pub(crate) seconds: u32,
    pub(crate) source: &'static str,
}

pub(crate) const UDP: Floor = Floor { key: "udp-timeout", seconds: 120, source: "RFC 4787 REQ-5" };
pub(crate) const TCP_IDLE: Floor = Floor { key: "tcp-idle-timeout", seconds: 7440, source: "RFC 5382 REQ-5" };
pub(crate) const TCP_CLOSE: Floor =
    Floor { key: "tcp-trans-close-timeout", seconds: 240, source: "RFC 5382 REQ-5" };
pub(crate) const TCP_SYN: Floor = Floor { key: "tcp-in-syn-timeout", seconds: 6, source: "RFC 5382 REQ-4" };
pub(crate) const FRAGMENT: Floor =
    Floor { key: "fragment-min-timeout", seconds: 2, source: "RFC 6146 section 3.4" };
pub(crate) const ICMP: Floor = Floor { key: "icmp-timeout", seconds: 60, source: "RFC 5508 REQ-2" };

/// `[nat.timers]`, in seconds. The floors are the RFCs'; `relaxed-timers = true` lets a test or a lab go below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timers {
    /// `udp-timeout`: default 300, floor 120 (RFC 4787 REQ-5).
    pub udp_timeout: u32,
    /// `tcp-idle-timeout`: default and floor 7440 (RFC 5382 REQ-5).
    pub tcp_idle_timeout: u32,
    /// `tcp-trans-open-timeout`: default 240; may be lower (RFC 7857 section 2.1).
    pub tcp_trans_open_timeout: u32,
    /// `tcp-trans-close-timeout`: default and floor 240 (RFC 5382 REQ-5); also the life after a RST (RFC 7857 section 2.2).
    pub tcp_trans_close_timeout: u32,
    /// `tcp-in-syn-timeout`: default and floor 6 (RFC 5382 REQ-4).
    pub tcp_in_syn_timeout: u32,
    /// `icmp-timeout`: default and floor 60 (RFC 5508 REQ-2).
    pub icmp_timeout: u32,
    /// `fragment-min-timeout`: default and floor 2; up to 10. How long a fragment waits for the first one of its
    /// datagram (RFC 6146 section 3.4).
    pub fragment_min_timeout: u32,
    /// `hold-down-timeout`: default 120 (RFC 6888 REQ-8).
    pub hold_down_timeout: u32,
    /// `per-port-timeout`: shorter UDP timers for destination ports 0 to 1023 (RFC 4787 REQ-5a).
    pub per_port_timeout: Vec<PerPortTimeout>,
}

/// `[[nat.timers.per-port-timeout]]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerPortTimeout {
    /// `port-number`: UDP destination port, 0 to 1023.
    pub port_number: u16,
    /// `timeout`: seconds.
    pub timeout: u32,
}

impl Timers {
    pub(crate) fn read(mut table: Table<'_>) -> Timers {
        let relaxed = table.value("relaxed-timers", false);
        let timers = Timers {
            udp_timeout: read_floored(&mut table, &UDP, 300, relaxed),
            tcp_idle_timeout: read_floored(&mut table, &TCP_IDLE, 7440, relaxed),
            tcp_trans_open_timeout: table.number("tcp-trans-open-timeout", 1..=MOST_SECONDS, 240),
            tcp_trans_close_timeout: read_floored(&mut table, &TCP_CLOSE, 240, relaxed),
            tcp_in_syn_timeout: read_floored(&mut table, &TCP_SYN, 6, relaxed),
            icmp_timeout: read_floored(&mut table, &ICMP, 60, relaxed),
            fragment_min_timeout: read_fragment_timeout(&mut table, relaxed),
            hold_down_timeout: table.number("hold-down-timeout", 0..=MOST_SECONDS, 120),
            per_port_timeout: table.tables("per-port-timeout", PerPortTimeout::read),
        };
        timers.check_ports(&table);
        table.finish();
        timers
    }

    /// The timers with a floor, and their values.
    pub(crate) fn floored(&self) -> [(Floor, u32); 6] {
        [
            (UDP, self.udp_timeout),
            (TCP_IDLE, self.tcp_idle_timeout),
            (TCP_CLOSE, self.tcp_trans_close_timeout),
            (TCP_SYN, self.tcp_in_syn_timeout),
            (ICMP, self.icmp_timeout),
            (FRAGMENT, self.fragment_min_timeout),
        ]
    }

    fn check_ports(&self, table: &Table<'_>) {
        let (report, list) = (table.report(), table.key("per-port-timeout"));
        for (at, entry) in self.per_port_timeout.iter().enumerate() {
            let element = report.element(&list, at);
            if self.per_port_timeout[..at].iter().any(|other| other.port_number == entry.port_number) {
                let cure = "leave one of the two out";
                report.wrong_value(&format!("{element}.port-number"), "has a timer already", cure);
            }
            if entry.timeout > self.udp_timeout {
                let problem = format!("is above udp-timeout, {} s: it can only be shorter", self.udp_timeout);
                report.wrong_value(&format!("{element}.timeout"), problem, "lower it, or leave it out");
            }
        }
    }
}

impl PerPortTimeout {
    fn read(mut table: Table<'_>) -> Option<PerPortTimeout> {
        table.require("port-number", "name a UDP destination port, 0 to 1023");
        // RFC 4787 REQ-5a allows shorter timers for well-known ports, and for no others.
        let port_number = table.optional_number("port-number", 0..=1023);
        table.require("timeout", "say how many seconds");
        let timeout = table.optional_number("timeout", 1..=MOST_SECONDS);
        table.finish();
        Some(PerPortTimeout { port_number: port_number?, timeout: timeout? })
    }
}

/// A datagram is forgotten after ten seconds: nothing waits longer.
fn read_fragment_timeout(table: &mut Table<'_>, relaxed: bool) -> u32 {
    read_up_to(10, table, &FRAGMENT, 2, relaxed)
}

fn read_floored(table: &mut Table<'_>, floor: &Floor, default: u32, relaxed: bool) -> u32 {
    read_up_to(MOST_SECONDS, table, floor, default, relaxed)
}

fn read_up_to(most: u32, table: &mut Table<'_>, floor: &Floor, default: u32, relaxed: bool) -> u32 {
    let read = table.read_with(floor.key, |value| match number(value, &(1..=most)) {
        Err(_) if !relaxed => number(value, &(floor.seconds..=most))
            .map_err(|wrong| wrong.add("; from 1 with relaxed-timers = true, for a lab")),
        read => read,
    });
    let seconds = read.unwrap_or(default);
    check_floor(table, floor, seconds, relaxed);
    seconds
}

fn check_floor(table: &Table<'_>, floor: &Floor, seconds: u32, relaxed: bool) {
    if seconds < floor.seconds && !relaxed {
        let problem = format!("is below the floor of {} s ({})", floor.seconds, floor.source);
        let cure = "raise it, or set relaxed-timers = true for a lab";
        table.report().wrong_value(&table.key(floor.key), problem, cure);
    }
}
