//! The cheapest thing that can be done with softwires on AF_PACKET rings: take a frame from one interface's
//! ring, write it into the other's with another Ethernet header and without the outer IPv6 header, or with
//! one, and send what is there. Every packet is taken for right, and all that comes down goes to the first
//! B4.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags};
use zerocopy::IntoBytes as _;

use super::bare::{Bare, wait};
use super::bed::NOBODY;
use super::forwarders::{AFTR, first_b4};
use super::links::{Link, Links};
use super::probe::{ETHERNET, ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use crate::commands::lab::topology::Node;
use crate::io::packet::Mac;
use crate::io::sys::packet_ring::{Extent, ReceiveRing, RingSize, TransmitRing};
use crate::io::sys::packet_socket::instruction;
use crate::wire::ipv6::{self, Ipv6, next_header};

/// Frames that one side may move before the other has its turn.
const BATCH: usize = 64;
/// A frame of the access network, and as many as the daemon has room for.
const SIZE: RingSize = RingSize { frame: ETHERNET + 1540, slots: 2048 };

/// One interface: what comes there, what goes there, and the header of what goes.
struct Side {
    receive: ReceiveRing,
    transmit: TransmitRing,
    ethernet: [u8; ETHERNET],
}

/// Opens rings at the interfaces `access` and `internet` of `node` and starts the loop.
pub(super) fn start(node: Node) -> anyhow::Result<Bare> {
    let (access, internet) = node.run(|| {
        let links = Links::open()?;
        let access = Side::open(&links.find("access")?, ETHERTYPE_IPV6).context("rings at access")?;
        let internet = Side::open(&links.find("internet")?, ETHERTYPE_IPV4).context("rings at internet")?;
        anyhow::Ok((access, internet))
    })??;
    let outer = Ipv6::new(AFTR, first_b4()?, next_header::IPV4, 0, 64, 0, 0);
    Ok(Bare::start(node, "bare-ring", move |stop| run(access, internet, &outer, stop))?)
}

impl Side {
    fn open(link: &Link, ether_type: u16) -> io::Result<Side> {
        let everything = instruction(libc::BPF_RET, u32::MAX, 0, 0);
        let receive = ReceiveRing::open(link.index, ether_type, SIZE, &[everything])?;
        let transmit = TransmitRing::open(link.index, SIZE)?;
        Ok(Side { receive, transmit, ethernet: ethernet(NOBODY, link.mac, ether_type) })
    }

    /// Sends what was written; what the interface does not take is lost.
    fn kick(&self) -> io::Result<()> {
        match self.transmit.kick() {
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            result => result,
        }
    }
}

fn ethernet(to: Mac, from: Mac, ether_type: u16) -> [u8; ETHERNET] {
    let mut header = [0; ETHERNET];
    header[..6].copy_from_slice(&to);
    header[6..12].copy_from_slice(&from);
    header[12..].copy_from_slice(&ether_type.to_be_bytes());
    header
}

fn run(mut access: Side, mut internet: Side, outer: &Ipv6, stop: &AtomicBool) -> io::Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let up = forward(&mut access.receive, &mut internet, |packet, slot| {
            let inner = packet.get(ipv6::HEADER..)?;
            slot.get_mut(..inner.len())?.copy_from_slice(inner);
            Some(inner.len())
        });
        if up > 0 {
            internet.kick()?;
        }
        let down = forward(&mut internet.receive, &mut access, |packet, slot| {
            let header = outer.with_payload(next_header::IPV4, packet.len() as u16);
            let (front, rest) = slot.split_at_mut_checked(ipv6::HEADER)?;
            front.copy_from_slice(header.as_bytes());
            rest.get_mut(..packet.len())?.copy_from_slice(packet);
            Some(ipv6::HEADER + packet.len())
        });
        if down > 0 {
            access.kick()?;
        }
        if up + down == 0 {
            let descriptors = [access.receive.as_fd(), internet.receive.as_fd()];
            wait(&mut descriptors.map(|side| PollFd::from_borrowed_fd(side, PollFlags::IN)));
        }
    }
    Ok(())
}

/// Moves a batch: `write` makes the packet that leaves from the one that came, and says how long it is.
/// Says how many came.
fn forward(
    from: &mut ReceiveRing,
    to: &mut Side,
    write: impl Fn(&[u8], &mut [u8]) -> Option<usize>,
) -> usize {
    for count in 0..BATCH {
        let Some(frame) = from.next_frame() else { return count };
        // Without a free slot the frame is lost, as in the daemon.
        if let (Extent::Whole, Some(slot)) = (frame.extent, to.transmit.reserve()) {
            let (header, room) = slot.split_at_mut(ETHERNET);
            header.copy_from_slice(&to.ethernet);
            if let Some(length) = frame.bytes.get(ETHERNET..).and_then(|packet| write(packet, room)) {
                to.transmit.commit(ETHERNET + length);
            }
        }
        from.release();
    }
    BATCH
}
