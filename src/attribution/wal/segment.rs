//! The octets of a segment: its header, its batches, and what of them can be believed.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::attribution::digest::Digest;
use crate::attribution::record::{Millis, RECORD_SIZE, Record};

/// Version of segments, batches and records; a reader takes no other.
pub(crate) const VERSION: u16 = 1;
pub(crate) const SEGMENT_HEADER: usize = 128;
pub(crate) const BATCH_HEADER: usize = 64;
/// Most records of a batch: 1 MiB.
pub(crate) const MOST_RECORDS: usize = 16384;

const SEGMENT_MAGIC: [u8; 8] = *b"AFTRWAL\0";
const BATCH_MAGIC: [u8; 4] = *b"btch";

/// What a segment is the continuation of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Number of its first record.
    pub(crate) first: u64,
    /// Hash of the batch before.
    pub(crate) chain: Digest,
    /// When it was made.
    pub(crate) made: Millis,
    /// Segments with one number are sealed together.
    pub(crate) partition: u64,
}

/// Where a batch stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    /// Number of its first record.
    pub(crate) first: u64,
    pub(crate) count: usize,
    /// SHA-256 of the hash before, `first`, the count, the time and the records.
    pub(crate) chain: Digest,
    /// When it was made.
    pub(crate) made: Millis,
}

impl BatchHeader {
    /// Octets of the batch, this header's among them.
    pub(crate) fn octets(&self) -> usize {
        BATCH_HEADER + self.count * RECORD_SIZE
    }
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawSegment {
    magic: [u8; 8],
    version: U16,
    record_size: U16,
    spare: U32,
    first: U64,
    made: U64,
    partition: U64,
    chain: [u8; 32],
    spare_too: [u8; 52],
    /// CRC-32C of all before.
    sum: U32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawBatch {
    magic: [u8; 4],
    count: U32,
    first: U64,
    made: U64,
    chain: [u8; 32],
    spare: U32,
    /// CRC-32C of all before, then of the records.
    sum: U32,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut raw = RawSegment::new_zeroed();
        raw.magic = SEGMENT_MAGIC;
        raw.version = U16::new(VERSION);
        raw.record_size = U16::new(RECORD_SIZE as u16);
        raw.first = U64::new(self.first);
        raw.made = U64::new(self.made);
        raw.partition = U64::new(self.partition);
        raw.chain = self.chain.0;
        let sum = crc32c::crc32c(&raw.as_bytes()[..SEGMENT_HEADER - 4]);
        raw.sum = U32::new(sum);
        zerocopy::transmute!(raw)
    }

    pub(crate) fn decode(octets: &[u8]) -> Option<SegmentHeader> {
        let (raw, _) = RawSegment::ref_from_prefix(octets).ok()?;
        let is_ours = raw.magic == SEGMENT_MAGIC
            && raw.version.get() == VERSION
            && usize::from(raw.record_size.get()) == RECORD_SIZE
            && raw.sum.get() == crc32c::crc32c(&octets[..SEGMENT_HEADER - 4]);
        is_ours.then(|| SegmentHeader {
            first: raw.first.get(),
            chain: Digest(raw.chain),
            made: raw.made.get(),
            partition: raw.partition.get(),
        })
    }
}

/// Appends a batch to `octets`; gives its hash. At most [`MOST_RECORDS`].
pub(crate) fn encode_batch(
    octets: &mut Vec<u8>,
    before: Digest,
    first: u64,
    made: Millis,
    records: &[Record],
) -> Digest {
    let start = octets.len();
    octets.resize(start + BATCH_HEADER, 0);
    records.iter().for_each(|record| octets.extend_from_slice(&record.encode()));
    let (first, made, count) = (U64::new(first), U64::new(made), U32::new(records.len() as u32));
    let (header, body) = octets[start..].split_at_mut(BATCH_HEADER);
    let chain = chain_of(before, first, made, count, body);
    let mut raw = RawBatch::new_zeroed();
    (raw.magic, raw.count, raw.first, raw.made, raw.chain) = (BATCH_MAGIC, count, first, made, chain.0);
    raw.sum = U32::new(batch_sum(raw.as_bytes(), body));
    header.copy_from_slice(raw.as_bytes());
    chain
}

/// The batch that begins at the start of `octets`, and its records' octets; nothing where there is no whole
/// one.
pub(crate) fn decode_batch(octets: &[u8]) -> Option<(BatchHeader, &[u8])> {
    let (raw, rest) = RawBatch::ref_from_prefix(octets).ok()?;
    let count = raw.count.get() as usize;
    if raw.magic != BATCH_MAGIC || count == 0 || count > MOST_RECORDS {
        return None;
    }
    let body = rest.get(..count * RECORD_SIZE)?;
    if raw.sum.get() != batch_sum(&octets[..BATCH_HEADER], body) {
        return None;
    }
    let (first, made) = (raw.first.get(), raw.made.get());
    // The numbers of its records, and of the next one, can be counted.
    first.checked_add(count as u64)?;
    Some((BatchHeader { first, count, chain: Digest(raw.chain), made }, body))
}

/// Whether a batch follows the one with the hash `before`.
pub(crate) fn follows(batch: &BatchHeader, before: Digest, body: &[u8]) -> bool {
    let (first, made, count) = (U64::new(batch.first), U64::new(batch.made), U32::new(batch.count as u32));
    chain_of(before, first, made, count, body) == batch.chain
}

/// Where the next whole batch begins, behind what is none.
pub(crate) fn next_batch(octets: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = octets[at..].windows(4).position(|four| four == BATCH_MAGIC) {
        at += found;
        if decode_batch(&octets[at..]).is_some() {
            return Some(at);
        }
        at += 1;
    }
    None
}

fn chain_of(before: Digest, first: U64, made: U64, count: U32, body: &[u8]) -> Digest {
    Digest::of(&[&before.0, first.as_bytes(), made.as_bytes(), count.as_bytes(), body])
}

fn batch_sum(header: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[..BATCH_HEADER - 4]), body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_has_changed_is_none() {
        let header = SegmentHeader { first: 9, chain: Digest([7; 32]), made: 1, partition: 3 };
        let octets = header.encode();
        assert_eq!(SegmentHeader::decode(&octets), Some(header));
        for at in 0..octets.len() {
            let mut changed = octets;
            changed[at] ^= 1;
            assert_eq!(SegmentHeader::decode(&changed), None, "octet {at}");
        }
    }

    #[test]
    fn a_batch_that_has_changed_is_none_and_the_next_is_found_behind_it() {
        let mut octets = Vec::new();
        let records = [Record::Alive { at: 1 }, Record::Closed { at: 2 }];
        let chain = encode_batch(&mut octets, Digest::default(), 1, 5, &records);
        let second = octets.len();
        encode_batch(&mut octets, chain, 3, 6, &records[..1]);
        for at in 0..second {
            let mut changed = octets.clone();
            changed[at] ^= 0x10;
            assert!(decode_batch(&changed).is_none(), "octet {at}");
            assert_eq!(next_batch(&changed), Some(second));
        }
        let (batch, body) = decode_batch(&octets[second..]).unwrap();
        assert!(follows(&batch, chain, body) && !follows(&batch, Digest::default(), body));
    }

    #[test]
    fn a_batch_whose_numbers_cannot_be_counted_is_none() {
        let mut octets = Vec::new();
        encode_batch(&mut octets, Digest::default(), u64::MAX, 5, &[Record::Alive { at: 1 }]);
        assert!(decode_batch(&octets).is_none() && next_batch(&octets).is_none());
        octets.clear();
        encode_batch(&mut octets, Digest::default(), u64::MAX - 1, 5, &[Record::Alive { at: 1 }]);
        assert!(decode_batch(&octets).is_some());
    }
}
