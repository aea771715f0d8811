//! Devices: batches of packets in and out. This layer knows bytes only.

mod device;
mod steering;
mod tun;
mod vnet_header;
mod segment;
mod coalesce;
mod napi;
pub mod packet;
mod any;
#[cfg(test)]
mod traffic;
#[cfg(test)]
mod bpf_machine;
mod memory;
mod playback;
mod capture;
mod fault;
pub mod pcap;
#[allow(unsafe_code, reason = "the one place for calls that the compiler cannot check")]
pub mod sys;

pub use any::AnyDevice;
pub use capture::Capture;
pub use device::{Device, DeviceCounters};
pub use fault::{Fault, FaultCounters, Faults};
pub use memory::Memory;
pub use playback::Playback;
pub use segment::tcp_pieces;
pub use steering::Steering;
pub use sys::tun::Granted;
pub use tun::{Queues, Tun};
