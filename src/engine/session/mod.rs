//! What is known of the remote side of a mapping: the TCP state machine of RFC 7857 section 2, and the
//! peers that address-dependent filtering admits (RFC 4787 REQ-8).

mod table;
mod tcp;
mod plan;
mod expire;

pub(super) use plan::Use;
pub(super) use table::Sessions;
