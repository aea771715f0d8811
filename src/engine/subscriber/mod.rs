//! Who a packet belongs to: the household behind one or several B4 addresses (RFC 7785).

mod admission;
mod table;

pub(super) use admission::Admission;
pub(super) use table::Subscribers;
