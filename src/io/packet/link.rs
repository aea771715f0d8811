//! Rings at one interface: those of one worker, or of all.
//!
//! The receive rings of several workers are a fanout group (packet(7)): the kernel runs one program for each
//! frame, which says whose ring it comes to.

use std::io;
use std::os::fd::AsFd;

use super::filter::{self, Ours, Purpose};
use super::next_hops::Mac;
use crate::io::steering::Steering;
use crate::io::sys::packet_ring::{ReceiveRing, RingSize, TransmitRing};
use crate::io::sys::packet_socket::{self, Instruction, instruction};

/// Octets of an Ethernet header.
pub(super) const ETHERNET: usize = 14;
/// Frames that a ring takes before the worker comes.
const SLOTS: usize = 2048;
/// How often a busy interface is tried.
const TRIES: usize = 3;
/// All frames, of which a filter takes ours: only so they come before a filter at the ingress drops them.
const PROTOCOL: u16 = libc::ETH_P_ALL as u16;

/// An interface of the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its number.
    pub interface: u32,
    /// The largest packet that it takes, in bytes.
    pub mtu: u32,
    /// What is taken from it.
    pub ours: Ours,
}

/// The rings of one worker at an interface.
pub(super) struct Link {
    pub(super) interface: u32,
    pub(super) own: Mac,
    pub(super) receive: ReceiveRing,
    pub(super) transmit: TransmitRing,
    pub(super) room: usize,
    pub(super) is_unsent: bool,
    /// Why the ring receives nothing although its worker owns something.
    pub(super) not_steered: Option<io::Error>,
}

impl Link {
    pub(super) fn open(port: &Port) -> io::Result<Link> {
        let link = Link::open_unbound(port, &take(port)?)?;
        link.bind()?;
        Ok(link)
    }

    /// One for each worker, in their order.
    ///
    /// A socket must be bound before it joins the group, and takes every frame until it has. So until all have
    /// joined, none takes anything: no frame comes twice, or to another ring than later ones of its flow.
    pub(super) fn open_all(port: &Port, steering: Steering) -> io::Result<Vec<Link>> {
        let nothing = [instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0)];
        let program = take(port)?;
        let mut links = (0..steering.workers)
            .map(|_| Link::open_unbound(port, &nothing))
            .collect::<io::Result<Vec<Link>>>()?;
        let Some((first, others)) = links.split_first_mut() else { return Ok(links) };
        first.bind()?;
        match packet_socket::found_fanout(first.receive.as_fd(), &steering.classic()) {
            Ok(group) => {
                for link in others {
                    link.bind()?;
                    packet_socket::join_fanout(link.receive.as_fd(), group)?;
                }
            }
            // The others stay unbound, and so receive nothing whatever their filters take.
            Err(error) => {
                for link in others {
                    link.not_steered = Some(io::Error::new(error.kind(), error.to_string()));
                }
            }
        }
        for link in &links {
            packet_socket::set_filter(link.receive.as_fd(), &program)?;
        }
        Ok(links)
    }

    fn open_unbound(port: &Port, filter: &[Instruction]) -> io::Result<Link> {
        let room = port.mtu as usize;
        let size = RingSize { frame: ETHERNET + room, slots: SLOTS };
        Ok(Link {
            interface: port.interface,
            own: [0; 6],
            receive: ReceiveRing::open_unbound(size, filter)?,
            transmit: TransmitRing::open(port.interface, size)?,
            room,
            is_unsent: false,
            not_steered: None,
        })
    }

    fn bind(&self) -> io::Result<()> {
        packet_socket::bind(self.receive.as_fd(), self.interface, PROTOCOL)
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        for _ in 0..TRIES {
            match self.transmit.kick() {
                Ok(()) => {
                    self.is_unsent = false;
                    return Ok(());
                }
                // What the interface cannot take now stays in the ring for the next time.
                Err(error) => match error.raw_os_error() {
                    Some(libc::ENOBUFS | libc::EAGAIN | libc::EINTR) => {}
                    Some(libc::ENETDOWN) => return Ok(()),
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }
}

/// The program that takes what is ours.
fn take(port: &Port) -> io::Result<Vec<Instruction>> {
    filter::program(&port.ours, Purpose::Take).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "more prefixes than a filter of the kernel takes")
    })
}
