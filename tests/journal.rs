//! The journal as a whole: what a killed writer, a full disk and a changed octet leave of it, and what the
//! commands say.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "program/mod.rs"]
mod program;
#[path = "journal/bed.rs"]
mod bed;
#[path = "journal/killed.rs"]
mod killed;
#[path = "journal/full_disk.rs"]
mod full_disk;
#[path = "journal/changed.rs"]
mod changed;
#[path = "journal/commands.rs"]
mod commands;
#[path = "journal/sealed.rs"]
mod sealed;
