//! The fleet's tables in ClickHouse's own engine: what is shipped is proved, what is not is told, and the answers are
//! those of the journals. Needs Python with chdb and duckdb (docs/fleet.md); skipped loudly without.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "program/mod.rs"]
mod program;
#[path = "fleet/folder.rs"]
mod folder;
#[path = "fleet/place.rs"]
mod place;
#[path = "fleet/world.rs"]
mod world;
#[path = "fleet/answers.rs"]
mod answers;
#[path = "fleet/shipping.rs"]
mod shipping;
#[path = "fleet/files.rs"]
mod files;
