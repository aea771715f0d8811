//! Evidence: which subscriber held an external address and port at a moment.
//!
//! Every grant is a [`Record`] in a write-ahead log ([`wal`]), durable before a packet uses it. What is older
//! than an hour is sealed into Parquet files ([`seal`]); [`query`] answers from both, and says so where it
//! cannot. A [`fleet`] puts the sealed files of many AFTRs into ClickHouse. Formats: `docs/journal.md`.

mod record;
mod digest;
mod moment;
mod ledger;
mod lines;
mod directory;
pub mod wal;
pub mod seal;
pub mod query;
pub mod fleet;
mod journal;
mod age;
mod clock_watch;
mod audit;
mod verify;
#[cfg(test)]
pub(crate) mod testing;

pub use age::Age;
pub use audit::{Asker, note, note_fleet};
pub use clock_watch::ClockWatch;
pub use digest::Digest;
pub use directory::Directory;
pub use journal::{Journal, Tidied};
pub use ledger::{Interval, Ledger};
pub use lines::{BadLine, Lines, append_lines, read_lines};
pub use moment::{parse_time, time_text};
pub use record::{ClockChange, EndCause, GapCause, Holding, Millis, RECORD_SIZE, Record, number_of};
pub use verify::{Verification, verify};
