//! Devices: batches of packets in and out. This layer knows bytes only.

mod device;
mod memory;
pub mod pcap;
mod tun;
#[allow(unsafe_code, reason = "the one place for calls that the compiler cannot check")]
pub mod sys;

pub use device::{Device, DeviceCounters};
pub use memory::Memory;
pub use tun::Tun;
