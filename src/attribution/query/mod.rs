//! Who held an external address and port at a moment: exactly one subscriber, or an honest word why not.

mod question;
mod recent;
mod marks;
mod source;
mod archive;
mod answer;
mod judge;
#[cfg(test)]
mod model;

pub use answer::{Answer, BROAD, Evidence, LogGap, Place, Reason, Verdict};
pub use archive::{Archive, OwnRange};
pub use question::Question;

pub(super) use judge::{judge, verdict};
pub(super) use marks::{Began, Hole, Spans};
pub(super) use source::{Found, Marks, Shelved, Source, gather, latest_of_each, time_around};
