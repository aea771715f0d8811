//! The IPv4-in-IPv6 tunnel between a B4 and this AFTR (RFC 6333 section 6.2, RFC 2473): what comes out
//! of it, what goes into it, and the table of those that are open.

mod outer;
mod reassembly;
mod decapsulate;
mod encapsulate;
mod fragment;
mod table;

pub(super) use decapsulate::decapsulate;
pub(super) use fragment::Identifications;
pub(super) use outer::{Outer, Tunnel, check_outer};
pub(super) use reassembly::{Reassembly, reassemble};
pub(super) use table::Softwires;
