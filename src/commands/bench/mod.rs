//! `aftr bench`: a load generator for DS-Lite, and the forwarders that an AFTR is measured beside.
//!
//! It sends the packets of many B4s and of the Internet, and counts what arrives; who forwards in between
//! does not matter to it. By itself it builds network namespaces, puts the AFTR of `aftr run` into one and
//! the cheapest conceivable forwarders and the kernel's own into others, and measures them in turns.

mod plan;
mod probe;
mod frames;
mod generator;
mod sink;
mod stand;
mod figures;
mod meters;
mod clock;
mod links;
mod bed;
mod forwarders;
mod bare;
mod bare_tun;
mod bare_ring;
mod tcp;
mod rounds;
mod scenes;
mod drive;
mod results;
mod table;
mod about;
mod report;
mod command;

pub use command::{Arguments, run};
