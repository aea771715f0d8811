//! Many AFTRs in one ClickHouse: their sealed partitions are shipped there, proved to be there, and asked.
//!
//! Each attempt to ship a partition writes its rows under a number of its own, the load. They count once the ledger (the
//! table `segments`) says that this load is shipped, which it says after the proof. So whatever a crash, or two
//! ships at once, leave behind is not seen by anybody. Tables: `docs/clickhouse/schema.sql`; use: `docs/fleet.md`.

mod address;
mod http;
mod schema;
mod sum;
mod loads;
mod ship;
mod check;
mod member;
mod ask;

pub use address::Address;
pub use ask::Fleet;
pub use check::{Check, Finding, check};
pub use http::Clickhouse;
pub use schema::create;
pub use ship::{Shipment, Shipper};
