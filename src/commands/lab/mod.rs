//! `aftr lab`: a small Internet in network namespaces, with the AFTR of `aftr run` in the middle, that
//! shows the whole thing working. No root, no configuration, no other program.

mod collector;
mod command;
mod evidence;
pub(crate) mod gateway;
pub mod hosts;
mod live;
mod report;
mod scenes;
pub mod topology;

pub use command::{Arguments, run};
