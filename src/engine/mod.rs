//! The AFTR element of RFC 6333 section 6 as a value: no clock, no socket, no thread, no global
//! randomness. Packets and `now` go in; verdicts, events and counters come out.
//!
//! The modules stand in the order that a packet meets them; [`from_b4`] and [`from_internet`] are the
//! two paths, and each of their lines is a file.

mod aftr;
mod warm;
mod owners;
mod team;
mod from_b4;
mod from_internet;
mod softwire;
mod tunnel_error;
mod local;
mod inner;
mod ip_options;
mod fragment;
mod transport;
mod subscriber;
mod mapping;
mod session;
mod toward;
mod hairpin;
mod pass_through;
mod held_syn;
mod translate;
mod identification;
mod icmp_relay;
mod egress;
mod refusal;
mod icmp_error;
mod limiter;
mod bucket;
mod verdict;
mod counters;
mod event;
mod notice;
mod limit_notice;
mod table_notice;
mod view;
mod reconfigure;
mod settings;
mod table;
mod time;
mod seed;

pub use aftr::{Aftr, TtlBy};
pub use aftr_config::{Config, Protocol};
pub use counters::{Counters, Traffic};
pub use event::{Event, EventKind, Grant, Limit, MappingRecord, Table};
pub use mapping::{own_range, own_range_subscriber};
pub use owners::{Owners, Share, WorkerNumber};
pub use seed::Seed;
pub use team::Team;
pub use time::Instant;
pub use verdict::{DropReason, Verdict};
pub use view::{Gauges, MappingView, SubscriberView};
