//! `aftr attribute`: who held an external address and port at a moment.

mod command;
mod asker;
mod batch;
mod text;

pub(in crate::commands) use asker::{asker, now};
pub use command::{Arguments, run};
