//! The only place that knows the `parquet` crate, whose interface changes with each major version.
//!
//! Rows are intervals, sorted by address, first port and start; pages of 2048 rows, zstd, no dictionary (look-ups
//! are three times as slow with one). Columns: `docs/journal.md`.

use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::column::reader::get_typed_column_reader;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::file::serialized_reader::ReadOptionsBuilder;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::super::ledger::Interval;
use super::super::record::{Holding, Millis, end_cause};

const SCHEMA: &str = "message interval {
    required int32 external_address (INTEGER(32,false));
    required int32 first_port (INTEGER(16,false));
    required int32 last_port (INTEGER(16,false));
    required int64 start_time (TIMESTAMP(MILLIS,true));
    optional int64 end_time (TIMESTAMP(MILLIS,true));
    optional int64 confirmed_until (TIMESTAMP(MILLIS,true));
    required int32 end_cause (INTEGER(8,false));
    required int32 protocol (INTEGER(8,false));
    required int64 b4_high (INTEGER(64,false));
    required int64 b4_low (INTEGER(64,false));
    required int32 prefix_length (INTEGER(8,false));
    required int32 pool_id (INTEGER(32,false));
    required int32 instance (INTEGER(16,false));
    required int32 internal_address (INTEGER(32,false));
    required int32 internal_port (INTEGER(16,false));
    required int32 flags (INTEGER(8,false));
    required int64 start_record (INTEGER(64,false));
    required int64 end_record (INTEGER(64,false));
    required int64 held_since (TIMESTAMP(MILLIS,true));
}";
const EXTERNAL: usize = 0;
const FIRST_PORT: usize = 1;
const LAST_PORT: usize = 2;
const END_TIME: usize = 4;

const ROWS_OF_A_PAGE: usize = 2048;
const ROWS_OF_A_GROUP: usize = 1 << 20;

/// Bits of `flags`.
const START_DOUBTFUL: i32 = 1;
const END_DOUBTFUL: i32 = 2;
const HAS_INTERNAL: i32 = 4;

/// Writes sorted rows to an empty file, which is durable then.
pub(crate) fn write(file: &File, rows: &[Interval]) -> io::Result<()> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).map_err(wrong)?))
        .set_dictionary_enabled(false)
        .set_data_page_row_count_limit(ROWS_OF_A_PAGE)
        .set_write_batch_size(ROWS_OF_A_PAGE)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_created_by(concat!("aftr ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    let schema = Arc::new(parse_message_type(SCHEMA).map_err(wrong)?);
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).map_err(wrong)?;
    for rows in rows.chunks(ROWS_OF_A_GROUP) {
        let mut group = writer.next_row_group().map_err(wrong)?;
        write_group(&mut group, rows).map_err(wrong)?;
        group.close().map_err(wrong)?;
    }
    writer.close().map_err(wrong)?;
    file.sync_all()
}

type Column = fn(&Interval) -> i64;

/// How many columns an interval has.
pub(crate) const COLUMN_COUNT: usize = 19;

/// A column's values, in the order of the schema; of optional ones -1 for none.
const COLUMNS: [Column; COLUMN_COUNT] = [
    |row| i64::from(row.holding.external.to_bits()),
    |row| i64::from(row.holding.first_port),
    |row| i64::from(row.holding.last_port),
    |row| row.start as i64,
    |row| row.end.map_or(-1, |(end, _)| end as i64),
    |row| row.confirmed_until.map_or(-1, |until| until as i64),
    |row| row.end.map_or(0, |(_, cause)| cause as i64),
    |row| i64::from(row.holding.protocol),
    |row| (row.holding.b4.to_bits() >> 64) as i64,
    |row| row.holding.b4.to_bits() as i64,
    |row| i64::from(row.holding.prefix_len),
    |row| i64::from(row.holding.pool_id),
    |row| i64::from(row.holding.instance),
    |row| row.holding.internal.map_or(0, |internal| i64::from(internal.ip().to_bits())),
    |row| row.holding.internal.map_or(0, |internal| i64::from(internal.port())),
    |row| {
        let flag = |is_set: bool, flag: i32| if is_set { i64::from(flag) } else { 0 };
        flag(row.start_doubtful, START_DOUBTFUL)
            | flag(row.end_doubtful, END_DOUBTFUL)
            | flag(row.holding.internal.is_some(), HAS_INTERNAL)
    },
    |row| row.start_record as i64,
    |row| row.end_record as i64,
    |row| row.since as i64,
];

/// An interval as the numbers of its columns.
pub(crate) fn numbers(row: &Interval) -> [i64; COLUMN_COUNT] {
    COLUMNS.map(|column| column(row))
}

/// The interval that these numbers are.
///
/// # Errors
/// They are none.
pub(crate) fn interval_of(numbers: [i64; COLUMN_COUNT]) -> io::Result<Interval> {
    interval(numbers).map_err(wrong)
}

fn write_group<W: io::Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    rows: &[Interval],
) -> Result<(), ParquetError> {
    for (number, column) in COLUMNS.iter().enumerate() {
        let Some(mut writer) = group.next_column()? else { break };
        let is_optional = (END_TIME..=END_TIME + 1).contains(&number);
        let (mut shorts, mut longs, mut levels) = (Vec::new(), Vec::new(), Vec::new());
        for rows in rows.chunks(ROWS_OF_A_PAGE) {
            let values = rows.iter().map(column);
            match writer.untyped() {
                ColumnWriter::Int32ColumnWriter(writer) => {
                    shorts.clear();
                    shorts.extend(values.map(|value| value as i32));
                    writer.write_batch(&shorts, None, None)?;
                }
                ColumnWriter::Int64ColumnWriter(writer) if is_optional => {
                    levels.clear();
                    levels.extend(values.clone().map(|value| i16::from(value >= 0)));
                    longs.clear();
                    longs.extend(values.filter(|&value| value >= 0));
                    writer.write_batch(&longs, Some(&levels), None)?;
                }
                ColumnWriter::Int64ColumnWriter(writer) => {
                    longs.clear();
                    longs.extend(values);
                    writer.write_batch(&longs, None, None)?;
                }
                ColumnWriter::BoolColumnWriter(_)
                | ColumnWriter::Int96ColumnWriter(_)
                | ColumnWriter::FloatColumnWriter(_)
                | ColumnWriter::DoubleColumnWriter(_)
                | ColumnWriter::ByteArrayColumnWriter(_)
                | ColumnWriter::FixedLenByteArrayColumnWriter(_) => {
                    return Err(ParquetError::General("a column of another type".to_owned()));
                }
            }
        }
        writer.close()?;
    }
    Ok(())
}

/// An open partition.
pub(crate) struct Table {
    reader: SerializedFileReader<File>,
}

impl Table {
    pub(crate) fn open(path: &Path) -> io::Result<Table> {
        let options = ReadOptionsBuilder::new().with_page_index().build();
        let reader = SerializedFileReader::new_with_options(File::open(path)?, options).map_err(wrong)?;
        let columns = reader.metadata().file_metadata().schema_descr().num_columns();
        if columns != COLUMNS.len() {
            return Err(io::Error::other(format!("{} has {columns} columns", path.display())));
        }
        Ok(Table { reader })
    }

    /// Every interval that touches the ports of the address and the time.
    pub(crate) fn find(
        &self,
        external: u32,
        ports: &RangeInclusive<u16>,
        time: &RangeInclusive<Millis>,
    ) -> io::Result<Vec<Interval>> {
        let mut found = Vec::new();
        for group in 0..self.reader.metadata().num_row_groups() {
            for rows in self.pages(group, external, ports) {
                self.find_in(group, rows, external, ports, time, &mut found).map_err(wrong)?;
            }
        }
        Ok(found)
    }

    /// Every interval, in order.
    pub(crate) fn all(&self) -> io::Result<Vec<Interval>> {
        let mut found = Vec::new();
        for group in 0..self.reader.metadata().num_row_groups() {
            let rows = self.reader.metadata().row_group(group).num_rows() as usize;
            let reader = self.reader.get_row_group(group).map_err(wrong)?;
            found.extend(intervals(&*reader, 0, rows).map_err(wrong)?);
        }
        Ok(found)
    }

    /// Runs of rows, whole pages, whose bounds do not exclude the address and the ports.
    fn pages(&self, group: usize, external: u32, ports: &RangeInclusive<u16>) -> Vec<(usize, usize)> {
        let rows = self.reader.metadata().row_group(group).num_rows() as usize;
        let Some(bounds) = self.bounds(group) else { return vec![(0, rows)] };
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for (at, page) in bounds.iter().enumerate() {
            let end = bounds.get(at + 1).map_or(rows, |next| next.first_row);
            let may_hold = page.external.contains(&external)
                && page.ports.start() <= ports.end()
                && page.ports.end() >= ports.start();
            match runs.last_mut() {
                _ if !may_hold => {}
                Some((_, last)) if *last == page.first_row => *last = end,
                _ => runs.push((page.first_row, end)),
            }
        }
        runs
    }

    fn bounds(&self, group: usize) -> Option<Vec<PageBounds>> {
        let index = self.reader.metadata().page_index()?;
        let of = |column| match index.column_index(group, column) {
            Some(ColumnIndexMetaData::INT32(index)) => Some(index),
            _ => None,
        };
        let (external, first, last) = (of(EXTERNAL)?, of(FIRST_PORT)?, of(LAST_PORT)?);
        let locations = index.offset_index(group, EXTERNAL)?.page_locations();
        let page = |at: usize| {
            let first_row = locations[at].first_row_index as usize;
            // Pages of all columns begin at the same rows, for all have the same limit of rows.
            Some(PageBounds {
                first_row,
                external: *external.min_value(at)? as u32..=*external.max_value(at)? as u32,
                ports: *first.min_value(at)? as u16..=*last.max_value(at)? as u16,
            })
        };
        (0..locations.len()).map(page).collect()
    }

    fn find_in(
        &self,
        group: usize,
        (start, end): (usize, usize),
        external: u32,
        ports: &RangeInclusive<u16>,
        time: &RangeInclusive<Millis>,
        found: &mut Vec<Interval>,
    ) -> Result<(), ParquetError> {
        let reader = self.reader.get_row_group(group)?;
        let key = |column| column_values::<Int32Type>(&*reader, column, start, end - start);
        let (addresses, first, last) = (key(EXTERNAL)?, key(FIRST_PORT)?, key(LAST_PORT)?);
        // Times are looked at in whole rows only: where the clock was set back, an end is before its start.
        let matches = |row: &usize| {
            addresses[*row] as u32 == external
                && first[*row] <= i32::from(*ports.end())
                && last[*row] >= i32::from(*ports.start())
        };
        let (Some(from), Some(to)) = ((0..end - start).find(matches), (0..end - start).rfind(matches)) else {
            return Ok(());
        };
        let rows = intervals(&*reader, start + from, to + 1 - from)?;
        found.extend(
            (from..).zip(rows).filter(|(at, row)| matches(at) && touches(row, time)).map(|(_, row)| row),
        );
        Ok(())
    }
}

struct PageBounds {
    first_row: usize,
    external: RangeInclusive<u32>,
    ports: RangeInclusive<u16>,
}

/// Whether an interval and a time have a moment in common; the clock may have gone back meanwhile.
pub(crate) fn touches(interval: &Interval, time: &RangeInclusive<Millis>) -> bool {
    let end = interval.end.map_or(Millis::MAX, |(end, _)| end);
    interval.start.min(end) <= *time.end() && interval.start.max(end) >= *time.start()
}

fn intervals(reader: &dyn RowGroupReader, start: usize, count: usize) -> Result<Vec<Interval>, ParquetError> {
    let mut columns: [Vec<i64>; COLUMNS.len()] = std::array::from_fn(|_| Vec::new());
    for (number, values) in columns.iter_mut().enumerate() {
        *values = if reader.metadata().column(number).column_type() == parquet::basic::Type::INT32 {
            let shorts = column_values::<Int32Type>(reader, number, start, count)?;
            shorts.into_iter().map(|short| i64::from(short as u32)).collect()
        } else {
            column_values::<Int64Type>(reader, number, start, count)?
        };
        if values.len() != count {
            return Err(ParquetError::General(format!("column {number} is too short")));
        }
    }
    (0..count).map(|row| interval(columns.each_ref().map(|column| column[row]))).collect()
}

fn interval(row: [i64; COLUMNS.len()]) -> Result<Interval, ParquetError> {
    let [external, first, last, start, end, confirmed, cause, protocol, high, low, rest @ ..] = row;
    let [prefix_len, pool_id, instance, internal, internal_port, flags, start_record, end_record, since] =
        rest;
    let cause = end_cause(cause as u8);
    if (end >= 0) != cause.is_some() {
        return Err(ParquetError::General("an end without a cause".to_owned()));
    }
    let is_set = |flag: i32| flags & i64::from(flag) != 0;
    let internal = std::net::SocketAddrV4::new((internal as u32).into(), internal_port as u16);
    Ok(Interval {
        holding: Holding {
            external: (external as u32).into(),
            first_port: first as u16,
            last_port: last as u16,
            protocol: protocol as u8,
            b4: (u128::from(high as u64) << 64 | u128::from(low as u64)).into(),
            prefix_len: prefix_len as u8,
            pool_id: pool_id as u32,
            instance: instance as u16,
            internal: is_set(HAS_INTERNAL).then_some(internal),
        },
        start: start as u64,
        since: since as u64,
        end: cause.map(|cause| (end as u64, cause)),
        confirmed_until: (confirmed >= 0).then_some(confirmed as u64),
        start_record: start_record as u64,
        end_record: end_record as u64,
        start_doubtful: is_set(START_DOUBTFUL),
        end_doubtful: is_set(END_DOUBTFUL),
    })
}

/// `count` values of a column from row `start` on; of an optional one, -1 for none.
fn column_values<T: DataType>(
    reader: &dyn RowGroupReader,
    column: usize,
    start: usize,
    count: usize,
) -> Result<Vec<T::T>, ParquetError>
where
    T::T: From<i8> + Copy,
{
    let mut column_reader = get_typed_column_reader::<T>(reader.get_column_reader(column)?);
    column_reader.skip_records(start)?;
    let is_optional = reader.metadata().column(column).column_descr().max_def_level() > 0;
    let (mut values, mut levels) = (Vec::with_capacity(count), Vec::new());
    while values.len().max(levels.len()) < count {
        let before = values.len().max(levels.len());
        let wanted = count - before;
        let (read, _, _) =
            column_reader.read_records(wanted, is_optional.then_some(&mut levels), None, &mut values)?;
        if read == 0 {
            break;
        }
    }
    if !is_optional {
        return Ok(values);
    }
    let mut present = values.into_iter();
    let of = |&level: &i16| if level > 0 { present.next() } else { None }.unwrap_or(T::T::from(-1));
    Ok(levels.iter().map(of).collect())
}

fn wrong(error: ParquetError) -> io::Error {
    io::Error::other(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::record::EndCause;
    use crate::attribution::testing::{Folder, holding};

    fn row(external: u32, number: u16, start: Millis) -> Interval {
        let mut holding = Holding { external: external.into(), ..holding(number) };
        if number.is_multiple_of(3) {
            holding.internal = Some("192.168.1.77:80".parse().unwrap());
        }
        Interval {
            holding,
            start,
            since: start / 2,
            // Of some the clock was set back before they ended.
            end: match start {
                start if start.is_multiple_of(350) => Some((start.saturating_sub(90), EndCause::Idle)),
                start => (!start.is_multiple_of(20)).then_some((start + 40, EndCause::Idle)),
            },
            confirmed_until: start.is_multiple_of(7).then_some(start + 3),
            start_record: start * 2,
            end_record: u64::from(number),
            start_doubtful: number.is_multiple_of(2),
            end_doubtful: number.is_multiple_of(5),
        }
    }

    /// 60,000 rows: several pages of one address, and addresses above 2^31.
    fn rows() -> Vec<Interval> {
        let mut rows = Vec::new();
        for external in [0xc633_6401, 0xc633_6402, 0x0a00_0001, 0xc633_64ff] {
            for start in 0..120 {
                rows.extend((0..125).map(|number| row(external, number, start * 50)));
            }
        }
        rows.sort_by_key(|row| (row.holding.external, row.holding.first_port, row.start));
        rows
    }

    #[test]
    fn what_was_written_is_read_again() {
        let folder = Folder::new("parquet");
        let (path, rows) = (folder.join("rows.parquet"), rows());
        write(&File::create(&path).unwrap(), &rows).unwrap();
        assert_eq!(Table::open(&path).unwrap().all().unwrap(), rows);
    }

    #[test]
    fn a_look_up_finds_what_a_search_of_all_rows_finds() {
        let folder = Folder::new("parquet-find");
        let (path, rows) = (folder.join("rows.parquet"), rows());
        write(&File::create(&path).unwrap(), &rows).unwrap();
        let table = Table::open(&path).unwrap();
        for (external, ports, time) in [
            (0xc633_6401, 1024..=1024, 100..=100),
            (0xc633_64ff, 30_000..=30_000, 2990..=3010),
            (0x0a00_0001, 0..=65535, 5000..=5000),
            (0xc633_6402, 1023..=1023, 0..=9000),
            (0xc633_6403, 2000..=2000, 0..=9000),
        ] {
            let wanted: Vec<Interval> = rows
                .iter()
                .filter(|row| row.holding.external.to_bits() == external && touches(row, &time))
                .filter(|row| {
                    row.holding.first_port <= *ports.end() && row.holding.last_port >= *ports.start()
                })
                .copied()
                .collect();
            assert_eq!(
                table.find(external, &ports, &time).unwrap(),
                wanted,
                "{external:x} {ports:?} {time:?}"
            );
        }
    }

    #[test]
    fn a_partition_without_rows_is_a_file_too() {
        let folder = Folder::new("parquet-none");
        let path = folder.join("rows.parquet");
        write(&File::create(&path).unwrap(), &[]).unwrap();
        let table = Table::open(&path).unwrap();
        assert_eq!((table.all().unwrap().len(), table.find(1, &(1..=2), &(0..=9)).unwrap().len()), (0, 0));
    }
}
