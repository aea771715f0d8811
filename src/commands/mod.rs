//! The command line: one file per subcommand, each with its `Arguments` and a `run` that gives the exit
//! status.

pub mod run;
pub mod check;
pub mod b4;
pub mod lab;
pub mod bench;
pub mod replay;
pub mod explain;
pub mod attribute;
pub mod journal;
mod configuration;
mod describe;
mod outcome;
mod refusal;
mod ship;

pub use describe::describe;
pub use outcome::exit_code;
