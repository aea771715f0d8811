//! The reader of captures on any bytes: it ends, it does not care in which portions the bytes come, and
//! what was read and written again reads the same.

use std::io::{self, Read};
use std::time::Duration;

use aftr::io::pcap::{Reader, Record, Writer};

/// A file that may be a capture.
pub fn pcap(data: &[u8]) {
    let read = records(data);
    assert_eq!(outline(&read), outline(&records(Trickle(data))));
    let Ok((records, _)) = read else { return };
    // Each record, read or refused, takes its header at least.
    assert!(records.len() <= data.len() / 16 + 1);
    let good: Vec<&Record> = records.iter().flatten().collect();
    assert!(good.iter().map(|record| record.bytes.len()).sum::<usize>() <= data.len());
    let written: Vec<Record> = good.iter().filter_map(|record| writable(record)).collect();
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes).expect("a vector takes all");
    for record in &written {
        writer.write(record.at, &record.bytes).expect("a vector takes all");
    }
    writer.flush().expect("a vector takes all");
    let again = Reader::new(&*bytes).expect("what we wrote");
    let again: Vec<Record> = again.map(|record| record.expect("what we wrote")).collect();
    assert_eq!(again, written);
}

/// Records, and how many were no IP; an error ends nothing but its own record.
type Reading = io::Result<(Vec<io::Result<Record>>, u64)>;

fn records(from: impl Read) -> Reading {
    let mut reader = Reader::new(from)?;
    let records = reader.by_ref().collect();
    Ok((records, reader.not_ip))
}

fn outline(read: &Reading) -> String {
    format!("{read:?}")
}

/// What the format that we write can say: whole microseconds until 2106, nothing of what was cut off.
fn writable(record: &Record) -> Option<Record> {
    let seconds = u32::try_from(record.at.as_secs()).ok()?;
    let at = Duration::new(seconds.into(), record.at.subsec_micros() * 1000);
    Some(Record { at, bytes: record.bytes.clone(), cut_off: 0 })
}

/// Gives one byte at a time.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(1);
        self.0.read(&mut buffer[..most])
    }
}
