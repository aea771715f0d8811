//! The AFTR element of RFC 6333 section 6 as a value: no clock, no socket, no thread, no global
//! randomness. Packets and `now` go in; verdicts, events and counters come out.

mod aftr;
mod verdict;
mod event;
mod counters;
mod view;
mod time;
mod seed;

pub use aftr::{Aftr, TtlBy};
pub use aftr_config::{Config, Protocol};
pub use counters::{Counters, Traffic};
pub use event::{Event, EventKind, Grant, MappingRecord};
pub use seed::Seed;
pub use time::Instant;
pub use verdict::{DropReason, Verdict};
pub use view::{MappingView, SubscriberView};
