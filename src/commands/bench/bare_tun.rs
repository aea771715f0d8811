//! The cheapest thing that can be done with softwires on a tun: read, take the outer header off or put one
//! on, write. Every packet is taken for right, and all that comes down goes to the first B4.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use zerocopy::IntoBytes as _;

use super::bed::B4S;
use super::forwarders::AFTR;
use super::plan::{Access, Plan};
use crate::commands::lab::topology::Node;
use crate::daemon::Netlink;
use crate::io::sys;
use crate::wire::ipv6::{self, Ipv6, next_header};

const INTERFACE: &str = "bare0";
/// As the daemon sets it.
const QUEUE_LENGTH: u32 = 2048;
/// How often the loop looks whether it is to stop, when nothing comes.
const STOP_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// A running loop. It stops when it is dropped.
pub(super) struct BareTun {
    node: Node,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl BareTun {
    /// Makes the tun on `node`, and routes to it what an AFTR would get.
    pub(super) fn start(node: Node) -> anyhow::Result<BareTun> {
        let queue = node.run(open)??;
        let plan = Plan { access: Access::Softwires { aftr: AFTR, b4s: B4S.parse()? }, b4s: 1, flows: 1 };
        let b4 = plan.flow(0).b4.context("a B4")?;
        let header = Ipv6::new(AFTR, b4, next_header::IPV4, 0, 64, 0, 0);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("bare-tun".into())
            .spawn(move || run(&queue, &header, &stopped))?;
        Ok(BareTun { node, stop, thread: Some(thread) })
    }

    /// The host that it runs on.
    pub(super) fn node(&self) -> &Node {
        &self.node
    }
}

impl Drop for BareTun {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn open() -> anyhow::Result<OwnedFd> {
    let queue = sys::tun::open(INTERFACE, false).context("cannot make a tun")?;
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
                let mut waiting = [PollFd::from_borrowed_fd(queue.as_fd(), PollFlags::IN)];
                let _ = poll(&mut waiting, Some(&STOP_INTERVAL));
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
