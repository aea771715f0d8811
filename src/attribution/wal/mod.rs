//! The write-ahead log: append-only segments of checksummed, hash-chained batches, a thread that writes
//! them, and how they are read again.
//!
//! ```text
//! segment = header (128)  batch  batch  …          one file, up to 64 MiB
//! batch   = header (64)   record (64)  record …    what one sync made durable
//! ```

mod segment;
mod ahead;
mod replay;
mod log;
mod recovery;
mod writer;
mod producer;

pub use log::Log;
pub use producer::{Producer, Ticket, Unwritten};
pub use recovery::{Block, QUARANTINE, Recovered};
pub use replay::{Fault, Position, Replay, replay};
pub use writer::{Health, WallClock, Writer, WriterOptions};

pub(crate) use recovery::{Sealed, recover};
pub(crate) use replay::{SegmentFile, replay_until, segments};
pub(crate) use segment::SegmentHeader;
