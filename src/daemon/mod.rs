//! The daemon.
mod netlink;
pub use netlink::Netlink;
