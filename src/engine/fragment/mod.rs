//! Packets that come in pieces: which pieces of a datagram have come, what each sender may have waiting,
//! the datagrams inside softwires and from the Internet that cross piece by piece, and what is cut here.

mod ranges;
mod datagrams;
mod arrive;
mod follow;
mod cut;

pub(super) use arrive::Fragments;
pub(super) use datagrams::{DatagramKey, Datagrams};
pub(super) use follow::{fragment_from_b4, fragment_from_internet};
pub(super) use ranges::{Fit, Ranges};
