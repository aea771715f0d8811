//! `aftr`: a DS-Lite AFTR (RFC 6333). Modules stand in the order of the layers; `engine/from_b4.rs` is
//! the place to start reading.

pub mod wire;
pub mod engine;
pub mod attribution;
pub mod io;
pub mod export;
pub mod daemon;
pub mod b4;
pub mod commands;
