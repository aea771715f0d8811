//! The requirement catalogue as tests: one row, one test, with the row's id. Black box: packets go into
//! the public face of the engine, on a clock that the test turns, and what comes out is read by
//! `pnet_packet`, not by ourselves.
//!
//! Notation: `bed.up(A, packet)` is a packet out of A's softwire, `bed.down(packet)` one from the
//! Internet.

mod again;
#[path = "rfc/bed.rs"]
mod bed;
#[path = "rfc/order.rs"]
mod order;
#[path = "rfc/softwire.rs"]
mod softwire;
#[path = "rfc/fragments.rs"]
mod fragments;
#[path = "rfc/reassembly.rs"]
mod reassembly;
#[path = "rfc/inner_fragments.rs"]
mod inner_fragments;
#[path = "rfc/path_mtu.rs"]
mod path_mtu;
#[path = "rfc/ip_header.rs"]
mod ip_header;
#[path = "rfc/subscribers.rs"]
mod subscribers;
#[path = "rfc/udp.rs"]
mod udp;
#[path = "rfc/tcp.rs"]
mod tcp;
#[path = "rfc/icmp.rs"]
mod icmp;
#[path = "rfc/cgn.rs"]
mod cgn;
#[path = "rfc/limits.rs"]
mod limits;
#[path = "rfc/ports.rs"]
mod ports;
#[path = "rfc/hostile_home.rs"]
mod hostile_home;
#[path = "rfc/hostile_internet.rs"]
mod hostile_internet;
#[path = "rfc/hostile_access.rs"]
mod hostile_access;
#[path = "rfc/malformed.rs"]
mod malformed;
#[path = "rfc/workers.rs"]
mod workers;

/// Whatever one worker does, two and four do together.
#[test]
fn all_of_it_holds_with_several_workers() {
    again::with_workers("");
}
