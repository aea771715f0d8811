//! Who is told of grants and mappings: IPFIX (RFC 7011, RFC 8158), NetFlow v9 (RFC 3954) and syslog
//! (RFC 5424). The journal is the evidence; what is sent is a copy.
//!
//! ```text
//!  Event, time ──> ledger ──> Record ──> queue ──┬──────────> session ──> collector
//!                                                └─> spool ──────┘   (one queue, spool and thread for each)
//! ```
//!
//! Who offers events never waits. A record that cannot be kept is counted, and its collector is told.

mod time;
mod element;
mod template;
mod record;
mod instance;
mod ledger;
mod fields;
mod message;
mod decode;
mod syslog;
mod loss;
mod queue;
mod spool;
mod window;
mod pacer;
mod form;
mod tls;
mod link;
mod counters;
mod session;
mod datagrams;
mod exporter;

pub use counters::{ExportCounters, TargetStatus};
pub use decode::records;
pub use element::{Element, VARIABLE};
pub use exporter::Exporter;
pub use instance::{Instance, PoolFacts};
pub use ledger::Stamped;
pub use loss::Loss;
pub use message::Encoder;
pub use record::{Change, Class, Host, Record, Threshold, What};
pub use syslog::Lines;
pub use template::{TEMPLATES, Template};
pub use time::{Clock, Now};
