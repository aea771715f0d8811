//! Bytes to fields and back: no state, no clock, no configuration.

mod packet;
pub mod checksum;
pub mod ipv6;
pub mod extension;
pub mod fragment;
pub mod icmpv6;
pub mod ipv4;
pub mod icmpv4;
pub mod tcp;
pub mod udp;

pub use packet::{HEAD_ROOM, Packet, Side};
