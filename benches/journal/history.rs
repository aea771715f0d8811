//! Grants of a carrier, made from their number alone, so that a hundred million need no memory.

use std::net::{Ipv4Addr, Ipv6Addr};

use aftr::attribution::{EndCause, Holding, Millis, Record};

/// 2026-11-21T12:00:00Z
const START: Millis = 1_795_262_400_000;
const HOUR: Millis = 3_600_000;
/// Sets of 512 ports of an address.
const SETS: u64 = 126;
/// Grants of an hour: 100,000 subscribers with 30 a day.
const PER_HOUR: u64 = 125_000;

/// Grants, one after the other; each lasts up to two hours.
pub(crate) struct History {
    pub(crate) grants: u64,
    pub(crate) hours: u64,
    per_hour: u64,
}

/// One of them.
#[derive(Clone, Copy)]
pub(crate) struct Grant {
    pub(crate) start: Millis,
    pub(crate) end: Millis,
    pub(crate) holding: Holding,
}

impl History {
    pub(crate) fn new(grants: u64) -> History {
        let hours = grants.div_ceil(PER_HOUR).min(24 * 90);
        History { grants, hours, per_hour: grants.div_ceil(hours) }
    }

    pub(crate) fn grant(&self, number: u64) -> Grant {
        let spacing = HOUR as f64 / self.per_hour as f64;
        let start = START + (number as f64 * spacing) as Millis;
        let end = start + 60_000 + mixed(number) % (2 * HOUR - 60_000);
        // Blocks are given in turn, so that none is given again before its holder is gone for two hours.
        let block = number % (4 * self.per_hour + 1);
        let block = block * 48_271 % (4 * self.per_hour + 1);
        let first_port = 1024 + (block % SETS) as u16 * 512;
        let subscriber = mixed(number ^ 0x5555) % 100_000;
        let holding = Holding {
            external: Ipv4Addr::from_bits(0x0b00_0000 + (block / SETS) as u32),
            first_port,
            last_port: first_port + 511,
            protocol: 0,
            b4: Ipv6Addr::from_bits(
                0x2001_0db8_u128 << 96 | u128::from(subscriber) << 72 | u128::from(mixed(subscriber)),
            ),
            prefix_len: 56,
            pool_id: 1,
            instance: 0,
            internal: None,
        };
        Grant { start, end, holding }
    }

    /// The records of an hour, in order. `ending` keeps those grants that end later.
    pub(crate) fn hour(&self, hour: u64, ending: &mut Vec<Grant>) -> Vec<Record> {
        let end = START + (hour + 1) * HOUR;
        let numbers = hour * self.per_hour..((hour + 1) * self.per_hour).min(self.grants);
        let mut records = Vec::new();
        for grant in numbers.map(|number| self.grant(number)) {
            let (at, holding) = (grant.start, grant.holding);
            records.push(Record::Started { at, since: at, holding });
            ending.push(grant);
        }
        ending.retain(|grant| {
            let Grant { start: since, end: at, holding } = *grant;
            if at < end {
                records.push(Record::Ended { at, since, holding, cause: EndCause::Idle });
            }
            at >= end
        });
        records.sort_by_key(Record::at);
        records.push(Record::Alive { at: end - 1 });
        records
    }
}

/// Numbers that look like chance.
pub(crate) fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}
