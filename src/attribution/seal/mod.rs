//! What is older than an hour: sealed partitions, each a Parquet file of intervals and a file of marks.
//!
//! A partition stands for itself: it has every interval that touches its time, those that go on behind it as
//! well (without an end). So a question needs the partitions of its moment and no other, and the end of the
//! retention time is the removal of files.

mod parquet;
mod marks;
mod catalogue;
mod sealing;
mod retention;

pub use catalogue::{Catalogue, Partition};
pub use retention::expire;
pub use sealing::{Extent, Sealing, seal};

pub(crate) use marks::{decode_marks, is_mark, read_marks};
pub(crate) use parquet::{COLUMN_COUNT, Table, interval_of, numbers, touches};
pub(crate) use sealing::{check_file, ended_lately, sealed_state};
