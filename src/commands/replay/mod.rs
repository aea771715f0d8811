//! `aftr replay`: captures through the engine, with the time of their records instead of a clock.
//!
//! The same captures, configuration and seed give the same output, byte for byte: the golden cases of
//! `tests/packets/` and this command are one code path.

mod command;
mod captures;
mod driver;
mod text;
mod json;

pub(super) use captures::Capture;
pub use captures::{CaptureError, merged};
pub use command::{Arguments, run};
pub(super) use command::{Ttl, parse_seconds};
pub use driver::{Cause, Entry, Replay, side_of};
pub(super) use json::side_name;
pub use text::{counter_lines, entry_lines, event_line};
pub(super) use text::{seconds, verdict_words};
