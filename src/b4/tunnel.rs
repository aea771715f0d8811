//! The two ends of the tunnel, and the loop between them.

use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use ipnet::{IpNet, Ipv4Net};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};

use super::inner::{inner_packet, outer_traffic_class};
use super::merged::for_each_packet;
use crate::daemon::Netlink;
use crate::io::{Device, Tun};
use crate::wire::{Packet, Side};

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
    tun: Tun,
    mtu: u16,
    softwire: Socket,
    traffic_class: u8,
}

impl B4 {
    /// Opens the tunnel in the network namespace of the calling thread.
    ///
    /// # Errors
    /// What is missing, and what to do about it.
    pub fn open(options: &Options) -> anyhow::Result<B4> {
        let tun = Tun::open(&options.interface, true).with_context(|| {
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
        Ok(B4 { tun, mtu: options.mtu, softwire, traffic_class: 0 })
    }

    /// Carries packets until `stop` is set.
    ///
    /// # Errors
    /// When a device can be used no more.
    pub fn run(mut self, stop: &AtomicBool) -> io::Result<()> {
        let mut buffer = vec![0; 65_536];
        let mut batch: Vec<Packet> = (0..BURST).map(|_| Packet::with_capacity(buffer.len())).collect();
        let mut room = Packet::with_capacity(usize::from(self.mtu));
        let mut received = 0;
        while !stop.load(Ordering::Relaxed) {
            // A full batch may have left the rest of a large packet in the device, which no poll shows.
            if received < batch.len() {
                self.wait()?;
            }
            received = self.tun.receive(&mut batch)?;
            for packet in &batch[..received] {
                self.encapsulate(packet.bytes())?;
            }
            for _ in 0..BURST {
                if !self.decapsulate_one(&mut buffer, &mut room) {
                    break;
                }
            }
            // What cannot be sent is lost, as on any link.
            let _ = self.tun.flush();
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

    /// From the hosts to the AFTR.
    fn encapsulate(&mut self, packet: &[u8]) -> io::Result<()> {
        let Some(class) = outer_traffic_class(packet) else { return Ok(()) };
        if class != self.traffic_class {
            self.softwire.set_tclass_v6(u32::from(class))?;
            self.traffic_class = class;
        }
        // A packet that cannot be sent is lost, as on any link: no route yet, or a full queue.
        let _ = self.softwire.send(packet);
        Ok(())
    }

    /// From the AFTR to the hosts; false when nothing waits. The kernel gives the payload only, and only
    /// of packets whose source is the AFTR, because the socket is connected to it.
    fn decapsulate_one(&mut self, buffer: &mut [u8], room: &mut Packet) -> bool {
        let length = match (&self.softwire).read(buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            // ICMPv6 errors about what we sent are reported here, and are no reason to stop.
            Err(_) => return true,
        };
        if let Some(packet) = inner_packet(&buffer[..length]) {
            for_each_packet(packet, self.mtu, room, |packet| {
                let _ = self.tun.send(packet, Side::Internet);
            });
        }
        true
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
