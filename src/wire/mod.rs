//! Bytes to fields and back: no state, no clock, no configuration.

mod packet;

pub use packet::{HEAD_ROOM, Packet, Side};
