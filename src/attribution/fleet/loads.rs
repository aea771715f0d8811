//! The ledger of what was shipped: the table `segments`, of which rows are only ever added.

use std::collections::BTreeMap;
use std::io;

use serde_json::{Value, json};

use super::http::{Clickhouse, number};
use super::sum::Sum;
use crate::attribution::digest::Digest;
use crate::attribution::moment::time_text;
use crate::attribution::query::Began;
use crate::attribution::record::Millis;
use crate::attribution::seal::Partition;

/// A load that has not come to its end in this time has none.
const STALE: Millis = 3_600_000;

/// One attempt to ship a partition: milliseconds since 1970, and 20 bits by chance.
pub(super) type Load = u64;

/// A load made at a moment.
pub(super) fn load_at(now: Millis, chance: u64) -> Load {
    now << 20 | chance & 0xf_ffff
}

/// A partition that was shipped, and proved to be.
#[derive(Debug, Clone)]
pub(super) struct Shipped {
    pub(super) partition: Partition,
    pub(super) began: Began,
    pub(super) load: Load,
    /// As the tables write it.
    pub(super) day: String,
    pub(super) sum: Sum,
}

/// Rows that count no more, or never did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leftover {
    pub(super) segment: u64,
    pub(super) load: Load,
    pub(super) day: String,
}

impl Leftover {
    pub(super) fn of(shipped: &Shipped) -> Leftover {
        let Shipped { partition, load, day, .. } = shipped;
        Leftover { segment: partition.number, load: *load, day: day.clone() }
    }
}

/// What the ledger says of one AFTR.
#[derive(Debug, Default)]
pub(super) struct Loads {
    pub(super) shipped: BTreeMap<u64, Shipped>,
    pub(super) leftovers: Vec<Leftover>,
}

/// The states that a load has been in.
#[derive(Default)]
struct Seen {
    day: String,
    is_removed: bool,
    shipped: Option<Shipped>,
}

impl Loads {
    pub(super) fn read(clickhouse: &Clickhouse, aftr: &str, now: Millis) -> io::Result<Loads> {
        let rows = clickhouse.rows(
            "SELECT segment, load, toString(state), toString(day), rows, sum, catalogue, began FROM segments \
             WHERE aftr = {aftr:String} FORMAT JSONCompactEachRow",
            &[("aftr", &aftr)],
        )?;
        let mut seen: BTreeMap<(u64, Load), Seen> = BTreeMap::new();
        for row in &rows {
            let wrong = || clickhouse.strange(&format!("a row of segments, {row}"));
            let (segment, load) = (number(&row[0]).ok_or_else(wrong)?, number(&row[1]).ok_or_else(wrong)?);
            let entry = seen.entry((segment, load)).or_default();
            entry.day = row[3].as_str().ok_or_else(wrong)?.to_owned();
            match row[2].as_str() {
                Some("shipped") => {
                    let shipped = Shipped::of_row(row).filter(|shipped| shipped.partition.number == segment);
                    entry.shipped = Some(shipped.ok_or_else(wrong)?);
                }
                Some("removed") => entry.is_removed = true,
                _ => {}
            }
        }
        Ok(Loads::sort(seen, now))
    }

    /// The highest load counts.
    fn sort(seen: BTreeMap<(u64, Load), Seen>, now: Millis) -> Loads {
        let mut loads = Loads::default();
        for ((segment, load), Seen { day, shipped, .. }) in
            seen.into_iter().filter(|(_, seen)| !seen.is_removed)
        {
            match shipped {
                Some(shipped) => {
                    let before = loads.shipped.insert(segment, shipped);
                    loads.leftovers.extend(before.as_ref().map(Leftover::of));
                }
                None if (load >> 20) + STALE < now => loads.leftovers.push(Leftover { segment, load, day }),
                None => {}
            }
        }
        loads
    }
}

impl Shipped {
    fn of_row(row: &Value) -> Option<Shipped> {
        let json = |at: usize| serde_json::from_str::<Value>(row[at].as_str()?).ok();
        let began = json(7)?;
        Some(Shipped {
            partition: Partition::of_json(&json(6)?)?,
            began: Began {
                doubtful: began["clock-is-doubtful"].as_bool()?,
                incomplete: began["is-incomplete"].as_bool()?,
                configuration: began["configuration"].as_str().and_then(Digest::parse),
            },
            load: number(&row[1])?,
            day: row[3].as_str()?.to_owned(),
            sum: Sum::of_text(number(&row[4])?, row[5].as_str()?)?,
        })
    }
}

/// The day that a partition's rows are kept under.
pub(super) fn day_of(partition: &Partition) -> String {
    time_text(partition.last_known).chars().take(10).collect()
}

/// Says that rows of a load may come, or that they are gone.
pub(super) fn note_state(
    clickhouse: &Clickhouse,
    aftr: &str,
    Leftover { segment, load, day }: &Leftover,
    state: &str,
    now: Millis,
) -> io::Result<()> {
    let row = json!({
        "aftr": aftr, "segment": segment, "load": load, "state": state, "day": day, "at": at(now),
    });
    insert(clickhouse, "INSERT INTO segments FORMAT JSONEachRow", &row)
}

/// Says that a load has all rows of its partition: they count from now on.
pub(super) fn note_shipped(
    clickhouse: &Clickhouse,
    aftr: &str,
    shipped: &Shipped,
    marks: &[u8],
    now: Millis,
) -> io::Result<()> {
    let Shipped { partition, began, load, day, sum } = shipped;
    let marks: String = marks.iter().map(|octet| format!("{octet:02x}")).collect();
    let began = json!({
        "clock-is-doubtful": began.doubtful,
        "is-incomplete": began.incomplete,
        "configuration": began.configuration.map(|digest| digest.to_string()),
    });
    let row = json!({
        "aftr": aftr, "segment": partition.number, "load": load, "state": "shipped", "day": day,
        "name": partition.name, "rows": sum.rows, "sum": sum.to_string(),
        "sha256": partition.intervals_hash.to_string(), "catalogue": partition.to_json().to_string(),
        "began": began.to_string(), "marks": marks, "at": at(now),
    });
    insert(clickhouse, "INSERT INTO segments FORMAT JSONEachRow", &row)
}

/// One row, as JSON.
pub(super) fn insert(clickhouse: &Clickhouse, sql: &str, row: &Value) -> io::Result<()> {
    clickhouse.insert(sql, &[], format!("{row}\n").as_bytes())
}

/// A time as ClickHouse reads it without being told how.
pub(super) fn at(now: Millis) -> String {
    time_text(now).replace('T', " ").replace('Z', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition() -> Partition {
        let line = json!({
            "partition": 7, "name": "2026-11-21T12Z-000007", "first": 1, "next": 9,
            "chain": Digest::default().to_string(), "from": 1000, "to": 2000, "last-known": 2000,
            "clock-is-doubtful": false, "is-incomplete": true, "was-closed": false, "configuration": null,
            "rows": 3, "open": 1, "intervals": Digest::default().to_string(),
            "marks": Digest::default().to_string(),
        });
        Partition::of_json(&line).unwrap()
    }

    fn shipped(load: Load) -> Seen {
        let (partition, began, sum) = (partition(), Began::default(), Sum::default());
        let day = "1970-01-01".to_owned();
        Seen {
            shipped: Some(Shipped { partition, began, load, day: day.clone(), sum }),
            day,
            is_removed: false,
        }
    }

    #[test]
    fn the_latest_load_counts_and_what_does_not_is_left_over() {
        let now = 10 * STALE;
        let begun = || Seen { day: "1970-01-01".to_owned(), ..Seen::default() };
        let [old, young] = [load_at(now - STALE - 1, 5), load_at(now - 1000, 9)];
        let seen = [
            ((7, 100), shipped(100)),
            ((7, 200), shipped(200)),
            ((7, 300), Seen { is_removed: true, ..shipped(300) }),
            ((8, old), begun()),
            ((8, young), begun()),
        ];
        let loads = Loads::sort(seen.into_iter().collect(), now);
        assert_eq!(loads.shipped[&7].load, 200);
        assert_eq!(loads.shipped.len(), 1);
        let left: Vec<(u64, Load)> = loads.leftovers.iter().map(|left| (left.segment, left.load)).collect();
        assert_eq!(left, [(7, 100), (8, old)]);
        assert_eq!(day_of(&partition()), "1970-01-01");
    }
}
