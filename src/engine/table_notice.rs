//! Notices about the tables, before they are full (RFC 6333 section 6.3), and about marks that an access
//! network makes wrongly (RFC 6040 section 4.2). Looked at when time passes, never per packet.

use super::aftr::Aftr;
use super::event::{EventKind, Table};
use super::time::Instant;

/// Percent in use that an operator is told of, and those at which all is well again.
const HIGH: [u8; 2] = [80, 95];
const LOW: u8 = 70;
/// Seconds between two notices about one table (RFC 8512 `notify-interval` of a pool).
const TABLE_INTERVAL: u32 = 20;
/// Seconds between two notices about ECN.
const ECN_INTERVAL: u32 = 60;

/// What was told last.
#[derive(Default)]
pub(super) struct TableNotices {
    tables: [Told; Table::ALL.len()],
    anomalies: u64,
    ecn_told: Option<Instant>,
}

#[derive(Default, Clone, Copy)]
struct Told {
    /// How many of [`HIGH`] are passed.
    level: usize,
    at: Option<Instant>,
}

impl Aftr {
    /// Tells of tables that fill up, and of those that have room again.
    pub(super) fn watch_tables(&mut self, now: Instant) {
        for (index, table) in Table::ALL.into_iter().enumerate() {
            let percent = self.percent_of(table);
            let told = self.table_notices.tables[index];
            let level = HIGH.iter().filter(|&&high| percent >= high).count();
            let is_due = told.at.is_none_or(|at| now >= at.plus_secs(TABLE_INTERVAL));
            let kind = if level > told.level {
                EventKind::TableHigh { table, percent }
            } else if told.level > 0 && percent < LOW {
                EventKind::TableLow { table, percent }
            } else {
                continue;
            };
            if is_due {
                self.table_notices.tables[index] = Told { level, at: Some(now) };
                self.events.push(now, kind);
            }
        }
    }

    /// When [`Aftr::watch_tables`] may say that there is room again: nothing else may be due then.
    pub(super) fn next_table_notice(&self) -> Option<Instant> {
        let told = self.table_notices.tables.iter().zip(Table::ALL);
        let has_room = told.filter(|&(told, table)| told.level > 0 && self.percent_of(table) < LOW);
        has_room.filter_map(|(told, _)| told.at.map(|at| at.plus_secs(TABLE_INTERVAL))).min()
    }

    fn percent_of(&self, table: Table) -> u8 {
        let tables = &self.settings.config.nat.tables;
        let percent = |used: usize, limit: u32| (used as u64 * 100 / u64::from(limit)) as u8;
        match table {
            Table::Subscribers => percent(self.subscribers.slab.len(), tables.limit_subscribers),
            Table::Softwires => percent(self.softwires.slab.len(), tables.limit_softwires),
            Table::Mappings => percent(self.mappings.slab.len(), tables.limit_port_mappings),
            Table::Sessions => percent(self.sessions.slab.len(), tables.limit_sessions),
            Table::Reassembly => self.reassembly.percent(),
            Table::Fragments => self.fragments_from_b4.percent().max(self.fragments_from_internet.percent()),
        }
    }

    /// Tells of the pairs of ECN fields that no honest path makes.
    pub(super) fn tell_ecn_anomalies(&mut self, now: Instant) {
        if self.next_ecn_notice().is_some_and(|due| due <= now) {
            let notices = &mut self.table_notices;
            let count = self.counters.ecn_anomalies - notices.anomalies;
            (notices.anomalies, notices.ecn_told) = (self.counters.ecn_anomalies, Some(now));
            self.events.push(now, EventKind::EcnAnomalies { count });
        }
    }

    /// When [`Aftr::tell_ecn_anomalies`] has something to say.
    pub(super) fn next_ecn_notice(&self) -> Option<Instant> {
        let is_new = self.counters.ecn_anomalies > self.table_notices.anomalies;
        let due = self.table_notices.ecn_told.map_or(Instant::ZERO, |told| told.plus_secs(ECN_INTERVAL));
        is_new.then_some(due)
    }
}
