//! System calls that the compiler cannot check: nothing else in this crate is `unsafe`.

pub mod namespace;
pub mod tun;
pub mod tap;
pub mod injector;
