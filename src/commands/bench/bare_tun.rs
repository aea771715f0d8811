//! The cheapest thing that can be done with softwires on a tun: read, take the outer header off or put one
//! on, write. Every packet is taken for right, and all that comes down goes to the first B4.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags};
use zerocopy::IntoBytes as _;

use super::bare::{Bare, wait};
use super::forwarders::{AFTR, first_b4};
use crate::commands::lab::topology::Node;
use crate::daemon::Netlink;
use crate::io::sys;
use crate::io::sys::tun::Granted;
use crate::wire::ipv6::{self, Ipv6, next_header};

const INTERFACE: &str = "bare0";
/// As the daemon sets it.
const QUEUE_LENGTH: u32 = 2048;

/// Makes the tun on `node`, routes to it what an AFTR would get, and starts the loop.
pub(super) fn start(node: Node) -> anyhow::Result<Bare> {
    let queue = node.run(open)??;
    let header = Ipv6::new(AFTR, first_b4()?, next_header::IPV4, 0, 64, 0, 0);
    Ok(Bare::start(node, "bare-tun", move |stop| run(&queue, &header, stop))?)
}

fn open() -> anyhow::Result<OwnedFd> {
    let queue = sys::tun::open(INTERFACE, false, Granted::SinglePackets).context("cannot make a tun")?;
    let netlink = Netlink::open()?;
    netlink.set_mtu(INTERFACE, 1540)?;
    netlink.set_queue_length(INTERFACE, QUEUE_LENGTH)?;
    netlink.set_up(INTERFACE)?;
    netlink.add_route(format!("{AFTR}/128").parse()?, INTERFACE, None)?;
    netlink.add_route("192.168.0.0/16".parse()?, INTERFACE, None)?;
    Ok(queue)
}

fn run(queue: &OwnedFd, header: &Ipv6, stop: &AtomicBool) -> io::Result<()> {
    const FRONT: usize = ipv6::HEADER;
    let mut buffer = vec![0; FRONT + 65_536];
    while !stop.load(Ordering::Relaxed) {
        let length = match rustix::io::read(queue, &mut buffer[FRONT..]) {
            Ok(length) => length,
            Err(rustix::io::Errno::AGAIN) => {
                wait(&mut [PollFd::from_borrowed_fd(queue.as_fd(), PollFlags::IN)]);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let packet = if buffer[FRONT] >> 4 == 6 {
            &buffer[2 * FRONT..FRONT + length]
        } else {
            let outer = header.with_payload(next_header::IPV4, length as u16);
            buffer[..FRONT].copy_from_slice(outer.as_bytes());
            &buffer[..FRONT + length]
        };
        // What cannot be sent is lost, as in the daemon.
        let _ = rustix::io::write(queue, packet);
    }
    Ok(())
}
