//! (softwire, internal address and port) to external address and port, and back: the table, the pool
//! that ports come from, and how a mapping is made and ended (RFC 6333 section 6.6, RFC 4787, RFC 6888).

mod layout;
mod ports;
mod pool;
mod pairing;
mod table;
mod create;
mod remove;
mod statics;
mod deterministic;

pub(super) use create::port_limit;
pub(super) use deterministic::nth_address;
pub use deterministic::{own_range, own_range_subscriber};
pub(super) use layout::{Layout, subscriber_index};
pub(super) use pool::{Pool, addresses_of, every_address};
pub(super) use ports::{Place, Ports};
pub(super) use table::Mappings;
