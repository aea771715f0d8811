//! A B4 in user space (RFC 6333 section 5), for hosts whose kernel has no `ip6tnl`: a tun for the inner
//! side, a raw IPv6 socket of protocol 4 for the outer one.
//!
//! The kernel fragments and reassembles the outer packet on that socket, which is what a B4 must do
//! (RFC 6333 section 5.3) and exactly what an AFTR must not leave to it.

mod tunnel;
mod inner;
mod merged;

pub use tunnel::{B4, Options};
