//! The two ends of the tunnel, and the loop between them.

use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use ipnet::{IpNet, Ipv4Net};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};

use super::inner::{inner_packet, outer_traffic_class};
use crate::daemon::Netlink;
use crate::io::sys;

/// IPv4 in IPv6 (RFC 2473).
const IPV4_IN_IPV6: i32 = 4;
/// RFC 6333 section 5.7: a B4's own address, of the eight that are well known.
const B4_ADDRESS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 0, 2), 29);
/// Packets that one side may move before the other has its turn.
const BURST: usize = 64;
/// Packets that may wait to be read: a burst of many connections at once.
const QUEUE_LENGTH: u32 = 2048;
/// How often the loop looks whether it is to stop.
const STOP_INTERVAL: Duration = Duration::from_millis(200);

/// What a B4 needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// The AFTR's address.
    pub aftr: Ipv6Addr,
    /// Our end of the softwire; none leaves the choice to the kernel.
    pub local: Option<Ipv6Addr>,
    /// Name of the tun interface.
    pub interface: String,
    /// MTU of the tun, in bytes: 1280 to 65495.
    pub mtu: u16,
    /// Routes all IPv4 traffic into the tunnel.
    pub default_route: bool,
}

/// A B4 whose devices are open.
pub struct B4 {
    tun: OwnedFd,
    softwire: Socket,
    traffic_class: u8,
}

impl B4 {
    /// Opens the tunnel in the network namespace of the calling thread.
    ///
    /// # Errors
    /// What is missing, and what to do about it.
    pub fn open(options: &Options) -> anyhow::Result<B4> {
        let tun = sys::tun::open(&options.interface, false, sys::tun::Offload::None).with_context(|| {
            format!("cannot make the tun `{}`: it needs CAP_NET_ADMIN and /dev/net/tun", options.interface)
        })?;
        let softwire = open_softwire(options)?;
        let netlink = Netlink::open().context("cannot speak to the kernel by netlink")?;
        let name = &options.interface;
        netlink.set_mtu(name, u32::from(options.mtu))?;
        netlink.set_queue_length(name, QUEUE_LENGTH)?;
        netlink.add_address(name, IpNet::V4(B4_ADDRESS))?;
        netlink.set_up(name)?;
        if options.default_route {
            let all = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0));
            netlink
                .add_route(all, name, None)
                .context("IPv4 has a default route already: remove it, or use --no-default-route")?;
        }
        Ok(B4 { tun, softwire, traffic_class: 0 })
    }

    /// Carries packets until `stop` is set.
    ///
    /// # Errors
    /// When a device can be used no more.
    pub fn run(mut self, stop: &AtomicBool) -> io::Result<()> {
        let mut buffer = vec![0; 65_536];
        while !stop.load(Ordering::Relaxed) {
            self.wait()?;
            for _ in 0..BURST {
                if !self.encapsulate_one(&mut buffer)? {
                    break;
                }
            }
            for _ in 0..BURST {
                if !self.decapsulate_one(&mut buffer)? {
                    break;
                }
            }
        }
        Ok(())
    }

    fn wait(&self) -> io::Result<()> {
        let fds: [BorrowedFd<'_>; 2] = [self.tun.as_fd(), self.softwire.as_fd()];
        let mut fds = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        let timeout = Timespec { tv_sec: 0, tv_nsec: STOP_INTERVAL.subsec_nanos().into() };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// From the hosts to the AFTR; false when nothing waits.
    fn encapsulate_one(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let length = match rustix::io::read(&self.tun, &mut *buffer) {
            Ok(length) => length,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let Some(class) = outer_traffic_class(&buffer[..length]) else { return Ok(true) };
        if class != self.traffic_class {
            self.softwire.set_tclass_v6(u32::from(class))?;
            self.traffic_class = class;
        }
        // A packet that cannot be sent is lost, as on any link: no route yet, or a full queue.
        let _ = self.softwire.send(&buffer[..length]);
        Ok(true)
    }

    /// From the AFTR to the hosts; false when nothing waits. The kernel gives the payload only, and only
    /// of packets whose source is the AFTR, because the socket is connected to it.
    fn decapsulate_one(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let length = match (&self.softwire).read(buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            // ICMPv6 errors about what we sent are reported here, and are no reason to stop.
            Err(_) => return Ok(true),
        };
        if let Some(packet) = inner_packet(&buffer[..length]) {
            let _ = rustix::io::write(&self.tun, packet);
        }
        Ok(true)
    }
}

fn open_softwire(options: &Options) -> anyhow::Result<Socket> {
    let protocol = Protocol::from(IPV4_IN_IPV6);
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(protocol))
        .context("cannot open a raw socket for the softwire: it needs CAP_NET_RAW")?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(4 << 20)?;
    if let Some(local) = options.local {
        socket.bind(&SocketAddrV6::new(local, 0, 0, 0).into()).with_context(|| {
            format!("{local} is no address of this host: give it to an interface, or leave --local out")
        })?;
    }
    socket
        .connect(&SocketAddrV6::new(options.aftr, 0, 0, 0).into())
        .with_context(|| format!("no IPv6 route to the AFTR {}", options.aftr))?;
    Ok(socket)
}
