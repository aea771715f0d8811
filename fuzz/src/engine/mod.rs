//! A story for the whole engine: packets of every kind from both sides, time that passes, changes of the
//! configuration; and after each step what must hold whatever happened.

mod scenes;
mod story;
mod packet;
mod recipe;
mod view;
mod whole;
mod play;
mod judge;
mod ledger;
mod errors;
mod narrow;
mod paths;

pub use play::engine;
