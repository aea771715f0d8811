//! One AFTR of a fleet, as the tables know it: a verdict's source just as its journal is.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::RangeInclusive;
use std::rc::Rc;

use aftr_config::Config;

use super::check::count_load;
use super::http::Clickhouse;
use super::loads::{Loads, Shipped};
use super::schema::numbers;
use crate::attribution::digest::Digest;
use crate::attribution::ledger::Interval;
use crate::attribution::query::{
    Began, Evidence, Found, Hole, LogGap, Marks, Place, Shelved, Source, Spans, gather, latest_of_each,
    time_around,
};
use crate::attribution::record::Millis;
use crate::attribution::seal::{COLUMN_COUNT, Partition, decode_marks, interval_of, touches};

/// An AFTR to ask.
pub(super) struct Member {
    clickhouse: Rc<Clickhouse>,
    aftr: String,
    /// In the order of their records.
    shipped: Vec<Shipped>,
    /// Texts of configurations, by their SHA-256.
    texts: BTreeMap<Digest, String>,
    /// Marks of partitions that were proved to be whole.
    proved: RefCell<BTreeMap<u64, Rc<Marks>>>,
}

impl Member {
    pub(super) fn open(clickhouse: &Rc<Clickhouse>, aftr: &str) -> io::Result<Member> {
        let loads = Loads::read(clickhouse, aftr, 0)?;
        let sql =
            "SELECT sha256, text FROM configurations WHERE aftr = {aftr:String} FORMAT JSONCompactEachRow";
        let texts = clickhouse.rows(sql, &[("aftr", &aftr)])?;
        let text =
            |row: &serde_json::Value| Some((Digest::parse(row[0].as_str()?)?, row[1].as_str()?.to_owned()));
        Ok(Member {
            clickhouse: Rc::clone(clickhouse),
            aftr: aftr.to_owned(),
            shipped: loads.shipped.into_values().collect(),
            texts: texts.iter().filter_map(text).collect(),
            proved: RefCell::default(),
        })
    }

    /// Every configuration that is shipped, and whether they say of all its time which addresses it has.
    pub(super) fn configurations(&self) -> (Vec<Config>, bool) {
        let named: BTreeSet<Option<Digest>> =
            self.shipped.iter().map(|shipped| shipped.partition.configuration).collect();
        let is_whole =
            named.iter().all(|digest| digest.is_some_and(|digest| self.configuration(digest).is_some()));
        (self.texts.keys().filter_map(|&digest| self.configuration(digest)).collect(), is_whole)
    }

    fn shelf(&self) -> impl Iterator<Item = Shelved<'_>> {
        self.shipped.iter().enumerate().map(|(at, shipped)| Shelved {
            partition: &shipped.partition,
            began: shipped.began,
            successor_is_gone: self.shipped.get(at + 1).is_some_and(|next| !is_next(shipped, next)),
        })
    }

    /// The intervals of a partition that touch the ports, and all its marks. What is there is compared with what was
    /// shipped, once.
    fn content(
        &self,
        partition: &Partition,
        external: u32,
        ports: &RangeInclusive<u16>,
    ) -> io::Result<(Vec<Interval>, Marks)> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let at = self.shipped.binary_search_by_key(&partition.number, |shipped| shipped.partition.number);
        let shipped = &self.shipped[at.map_err(|_| missing())?];
        let known = self.proved.borrow().get(&partition.number).cloned();
        let marks = match known {
            Some(marks) => marks,
            None => {
                let marks = Rc::new(self.prove(shipped)?);
                self.proved.borrow_mut().insert(partition.number, Rc::clone(&marks));
                marks
            }
        };
        Ok((self.intervals(shipped, external, ports)?, marks.to_vec()))
    }

    /// What lasts at the end of the last partition.
    fn open_at_the_end(
        &self,
        partition: &Partition,
        external: u32,
        ports: &RangeInclusive<u16>,
        spans: &mut Spans,
    ) -> io::Result<Vec<Interval>> {
        let mut rows = match self.content(partition, external, ports) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                spans.holes.push((partition.from..=Millis::MAX, Hole::Differs));
                Vec::new()
            }
            content => content?.0,
        };
        rows.retain(|row| row.end.is_none());
        Ok(rows)
    }

    fn prove(&self, shipped: &Shipped) -> io::Result<Marks> {
        let changed = || {
            let why = format!("{} of {} is not what was shipped", shipped.partition.name, self.aftr);
            io::Error::new(io::ErrorKind::InvalidData, why)
        };
        if count_load(&self.clickhouse, &self.aftr, shipped)? != shipped.sum {
            return Err(changed());
        }
        let octets = self.clickhouse.query(
            "SELECT unhex(marks) FROM segments WHERE aftr = {aftr:String} AND segment = {segment:UInt64} \
             AND load = {load:UInt64} AND state = 'shipped' LIMIT 1 FORMAT RowBinary",
            &[("aftr", &self.aftr), ("segment", &shipped.partition.number), ("load", &shipped.load)],
        )?;
        let marks = behind_length(&octets).ok_or_else(|| self.clickhouse.strange(&"no marks"))?;
        if Digest::of(&[marks]) != shipped.partition.marks_hash {
            return Err(changed());
        }
        decode_marks(marks).ok_or_else(changed)
    }

    fn intervals(
        &self,
        shipped: &Shipped,
        external: u32,
        ports: &RangeInclusive<u16>,
    ) -> io::Result<Vec<Interval>> {
        let sql = format!(
            "SELECT {} FROM intervals WHERE day = {{day:Date}} AND aftr = {{aftr:String}} \
             AND segment = {{segment:UInt64}} AND load = {{load:UInt64}} AND external_address = {{address:IPv4}} \
             AND first_port <= {{last:UInt16}} AND last_port >= {{first:UInt16}} ORDER BY row FORMAT RowBinary",
            numbers().join(", ")
        );
        let octets = self.clickhouse.query(
            &sql,
            &[
                ("day", &shipped.day),
                ("aftr", &self.aftr),
                ("segment", &shipped.partition.number),
                ("load", &shipped.load),
                ("address", &std::net::Ipv4Addr::from_bits(external)),
                ("first", ports.start()),
                ("last", ports.end()),
            ],
        )?;
        let (rows, rest) = octets.as_chunks::<{ 8 * COLUMN_COUNT }>();
        if !rest.is_empty() {
            return Err(self.clickhouse.strange(&"no whole rows"));
        }
        let row = |row: &[u8; 8 * COLUMN_COUNT]| {
            let mut values = [0; COLUMN_COUNT];
            for (value, octets) in values.iter_mut().zip(row.as_chunks::<8>().0) {
                *value = i64::from_le_bytes(*octets);
            }
            interval_of(values)
        };
        rows.iter().map(row).collect()
    }
}

impl Source for Member {
    fn find(
        &self,
        external: u32,
        ports: &RangeInclusive<u16>,
        window: &RangeInclusive<Millis>,
    ) -> io::Result<Found> {
        let place = |partition: &Partition| Place::Partition {
            name: partition.name.clone(),
            hash: partition.intervals_hash,
            aftr: Some(self.aftr.clone()),
        };
        let mut found = gather(
            self.shelf(),
            window,
            Hole::Differs,
            |partition, time| {
                let (mut rows, marks) = self.content(partition, external, ports)?;
                rows.retain(|row| touches(row, time));
                Ok((rows, marks))
            },
            place,
        )?;
        for pair in self.shipped.windows(2).filter(|pair| !is_next(&pair[0], &pair[1])) {
            let (before, behind) = (pair[0].partition.last_known, pair[1].partition.from);
            found.spans.holes.push((before.min(behind)..=before.max(behind), Hole::NotShipped));
        }
        if let Some(Shipped { partition, .. }) = self.shipped.last()
            && partition.last_known <= *time_around(window).end()
        {
            // For the second behind the last sign of life holds what held then. A window that begins before that has found
            // it already.
            if partition.to < *window.start() {
                let rows = self.open_at_the_end(partition, external, ports, &mut found.spans)?;
                let place = place(partition);
                let evidence = rows.into_iter().map(|interval| Evidence { interval, place: place.clone() });
                found.evidence.extend(evidence);
            }
            let last = partition.last_known;
            found.spans.add(&[], (last, last), Began::behind(partition));
        }
        found.evidence = latest_of_each(found.evidence);
        Ok(found)
    }

    fn known_until(&self) -> Option<Millis> {
        self.shipped.last().map(|shipped| shipped.partition.last_known)
    }

    fn known_from(&self) -> Millis {
        self.shipped.iter().map(|shipped| shipped.partition.from).fold(Millis::MAX, Millis::min)
    }

    fn missing_behind(&self) -> LogGap {
        LogGap::NotShipped
    }

    fn configuration(&self, digest: Digest) -> Option<Config> {
        let text = self.texts.get(&digest)?;
        if Digest::of(&[text.as_bytes()]) == digest { Config::parse(text).ok() } else { None }
    }
}

/// Whether no record is between the two.
fn is_next(one: &Shipped, next: &Shipped) -> bool {
    one.partition.next.sequence == next.partition.first
}

/// A string of `RowBinary`: its length in groups of 7 bits, then its octets.
fn behind_length(octets: &[u8]) -> Option<&[u8]> {
    let end = octets.iter().position(|octet| octet & 0x80 == 0)?;
    let length = octets[..=end].iter().rev().try_fold(0_usize, |length, octet| {
        length.checked_shl(7).map(|length| length | usize::from(octet & 0x7f))
    })?;
    let text = &octets[end + 1..];
    (text.len() == length).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_read_behind_its_length() {
        assert_eq!(behind_length(b"\x03abc"), Some(&b"abc"[..]));
        let long = [&[0xac, 0x02][..], &[7; 300]].concat();
        assert_eq!(behind_length(&long), Some(&[7; 300][..]));
        assert_eq!(
            (behind_length(b"\x04abc"), behind_length(b""), behind_length(b"\x80")),
            (None, None, None)
        );
    }
}
