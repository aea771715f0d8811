//! What stands in the tables, and how an interval of the sealed file becomes a row and is read again.

use std::io;

use super::http::Clickhouse;
use crate::attribution::seal::COLUMN_COUNT;

const SCHEMA: &str = include_str!("../../../docs/clickhouse/schema.sql");

/// Of the schema, for a retention time of 180 days.
const TTL: &str = "INTERVAL 181 DAY";

/// Columns of the sealed file, as ClickHouse reads them there.
const SEALED: [(&str, &str); COLUMN_COUNT] = [
    ("external_address", "UInt32"),
    ("first_port", "UInt16"),
    ("last_port", "UInt16"),
    ("start_time", "DateTime64(3)"),
    ("end_time", "Nullable(DateTime64(3))"),
    ("confirmed_until", "Nullable(DateTime64(3))"),
    ("end_cause", "UInt8"),
    ("protocol", "UInt8"),
    ("b4_high", "UInt64"),
    ("b4_low", "UInt64"),
    ("prefix_length", "UInt8"),
    ("pool_id", "UInt32"),
    ("instance", "UInt16"),
    ("internal_address", "UInt32"),
    ("internal_port", "UInt16"),
    ("flags", "UInt8"),
    ("start_record", "UInt64"),
    ("end_record", "UInt64"),
    ("held_since", "DateTime64(3)"),
];

/// Makes the database and its tables where they are not there. What is older than `retention_days` and a day is removed
/// by ClickHouse.
///
/// # Errors
/// ClickHouse refuses.
pub fn create(clickhouse: &Clickhouse, retention_days: u16) -> io::Result<()> {
    let database = &clickhouse.address().database;
    clickhouse.query_without_database(
        "CREATE DATABASE IF NOT EXISTS {database:Identifier}",
        &[("database", database)],
    )?;
    let ttl = format!("INTERVAL {} DAY", u32::from(retention_days) + 1);
    let schema = SCHEMA.replace(TTL, &ttl);
    for statement in schema.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()) {
        clickhouse.query(statement, &[])?;
    }
    Ok(())
}

/// Takes a sealed file as it is.
pub(super) fn insert_intervals() -> String {
    let structure: Vec<String> = SEALED.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
    let names = SEALED.map(|(name, _)| name);
    let values = SEALED.map(|(name, kind)| match (name, kind) {
        ("external_address" | "internal_address", _) => format!("CAST({name}, 'IPv4')"),
        _ => name.to_owned(),
    });
    format!(
        "INSERT INTO intervals (aftr, segment, load, day, row, {}) \
         SELECT {{aftr:String}}, {{segment:UInt64}}, {{load:UInt64}}, {{day:Date}}, rowNumberInAllBlocks(), {} \
         FROM input('{}') FORMAT Parquet",
        names.join(", "),
        values.join(", "),
        structure.join(", "),
    )
}

/// The columns of a row as the numbers that the sealed file has: signed, 8 octets each; of what is null -1.
pub(super) fn numbers() -> [String; COLUMN_COUNT] {
    SEALED.map(|(name, kind)| match kind {
        "DateTime64(3)" => format!("toUnixTimestamp64Milli({name})"),
        "Nullable(DateTime64(3))" => format!("toInt64(ifNull(toUnixTimestamp64Milli({name}), -1))"),
        "UInt64" => format!("reinterpretAsInt64({name})"),
        _ if name.ends_with("_address") => format!("toInt64(toUInt32({name}))"),
        _ => format!("toInt64({name})"),
    })
}

/// How many rows, and the sum of their hashes: 8 and 32 octets of `FORMAT RowBinary`.
pub(super) fn count_and_sum() -> String {
    let octets: Vec<String> = ["toInt64(row)".to_owned()]
        .iter()
        .chain(&numbers())
        .map(|number| format!("reinterpretAsFixedString({number})"))
        .collect();
    format!("count(), sum(reinterpretAsUInt256(SHA256(concat({}))))", octets.join(", "))
}
