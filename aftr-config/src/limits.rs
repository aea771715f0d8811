//! `[nat.session-limits]` and `[nat.mapping-limits]`: how much may exist at a time.

use std::ops::RangeInclusive;

use crate::MOST_ENTRIES;
use crate::reader::Table;
use crate::softwire::Softwire;

const ENTRIES: RangeInclusive<u32> = 1..=MOST_ENTRIES;

/// `[nat.session-limits]` (RFC 6888 REQ-5)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// `limit-per-subscriber`: sessions of one subscriber; default 8192.
    pub limit_per_subscriber: u32,
    /// `limit-per-mapping`: sessions of one mapping; default 1024.
    pub limit_per_mapping: u32,
    /// `inbound-half-open-per-mapping`: opened from the Internet and unanswered; default 256.
    pub inbound_half_open_per_mapping: u32,
    /// `inbound-half-open-per-subscriber`: default 1024.
    pub inbound_half_open_per_subscriber: u32,
}

/// `[nat.mapping-limits]`: what the tables are sized for; exhaustion refuses the new (RFC 6888 REQ-11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tables {
    /// `limit-subscribers`: default 65536.
    pub limit_subscribers: u32,
    /// `limit-softwires`: default as many as subscribers.
    pub limit_softwires: u32,
    /// `limit-port-mappings`: mappings of all subscribers; default 1048576.
    pub limit_port_mappings: u32,
    /// `limit-sessions`: sessions of all subscribers; default 1048576.
    pub limit_sessions: u32,
    /// `limit-pass-through-sessions`: untranslated sessions; default 65536 when a rule exists, otherwise 0.
    pub limit_pass_through_sessions: u32,
}

impl SessionLimits {
    pub(crate) fn read(mut table: Table<'_>) -> SessionLimits {
        let limits = SessionLimits {
            limit_per_subscriber: table.number("limit-per-subscriber", ENTRIES, 8192),
            limit_per_mapping: table.number("limit-per-mapping", ENTRIES, 1024),
            inbound_half_open_per_mapping: table.number("inbound-half-open-per-mapping", ENTRIES, 256),
            inbound_half_open_per_subscriber: table.number("inbound-half-open-per-subscriber", ENTRIES, 1024),
        };
        table.finish();
        limits
    }
}

impl Tables {
    pub(crate) fn read(mut table: Table<'_>, softwire: &Softwire, passes_through: bool) -> Tables {
        let limit_subscribers: u32 = table.number("limit-subscribers", ENTRIES, 65536);
        let softwires = limit_subscribers.saturating_mul(u32::from(softwire.max_softwires_per_subscriber));
        // Without a rule the table is never used, and takes no memory.
        let (least_passed, passed) = if passes_through { (1, 65536) } else { (0, 0) };
        let tables = Tables {
            limit_subscribers,
            limit_softwires: table.number("limit-softwires", ENTRIES, softwires.min(MOST_ENTRIES)),
            limit_port_mappings: table.number("limit-port-mappings", ENTRIES, 1 << 20),
            limit_sessions: table.number("limit-sessions", ENTRIES, 1 << 20),
            limit_pass_through_sessions: table.number(
                "limit-pass-through-sessions",
                least_passed..=MOST_ENTRIES,
                passed,
            ),
        };
        table.finish();
        tables
    }
}
