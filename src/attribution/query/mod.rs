//! Who held an external address and port at a moment: exactly one subscriber, or an honest word why not.

mod question;
mod recent;
mod marks;
mod archive;
mod answer;
mod judge;
#[cfg(test)]
mod model;

pub use answer::{Answer, BROAD, Evidence, LogGap, Place, Reason, Verdict};
pub use archive::{Archive, OwnRange};
pub use question::Question;
