//! `aftr explain`: the path of one packet, step by step, each decision with its rule.
//!
//! The engine is not asked how it decided: it has no hook for that, and its fast path pays nothing. Its
//! order of checks is a contract (the first failure wins, one reason for each drop), so that the verdict
//! says which checks were passed. What depends on state is read from what the engine shows of it before
//! and after the packet, and from the bytes that came and that leave.

mod command;
mod input;
mod player;
mod pieces;
// What is known of the packet and of its circumstances.
mod packet;
mod scene;
// A path is a table of steps; `from_b4` and `from_internet` are the two.
mod step;
mod from_b4;
mod from_internet;
// What the steps say, in the order that a packet meets them.
mod outer;
mod icmpv6;
mod inner;
mod fragments;
mod transport;
mod admission;
mod mapping;
mod sending;
// How it is told.
mod words;
mod counter;
mod explanation;
mod text;
mod json;

pub use command::{Arguments, run};
pub use counter::CounterRow;
pub use explanation::{Explanation, Outcome, StepTaken};
pub use input::InputError;
pub use player::Player;
pub use text::explanation_text;
