//! System calls that the compiler cannot check: nothing else in this crate is `unsafe`.

pub mod bpf;
pub mod namespace;
pub mod path_mtu;
pub mod packet_ring;
pub mod packet_socket;
pub mod tun;
