//! AF_PACKET: frames come from, and go to, rings that the kernel and this process share.
//!
//! The kernel keeps its interfaces, addresses and routes, and goes on to answer ARP and ND; the device takes
//! the packets that are the AFTR's before the kernel routes them, and sends to the neighbours that the
//! kernel's routes name. It needs no driver and no privilege beyond its network namespace.

pub mod filter;
mod next_hops;
mod large;
mod proxy;
mod link;
mod device;

pub use device::{PacketDevice, Wanted};
pub use link::Port;
pub use next_hops::{Hop, Mac, Neighbour, NextHops, Published, Routes, Via, Ways};
pub use proxy::Proxy;
