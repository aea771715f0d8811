//! A tun with several queues; the kernel routes to it, and on from it.

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::time::Duration;

use aftr::daemon::Netlink;
use aftr::io::sys::packet_ring::{ReceiveRing, RingSize};
use aftr::io::sys::packet_socket::instruction;
use aftr::io::{Device, Granted, Queues, Tun};
use aftr::wire::{Packet, Side};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::flows::{self, Arrivals, EACH, FLOWS, Sender, owner, packet, read_mark, steering};
use crate::{ip, link, skip};

pub(crate) fn owners_get_each_packet() {
    link("one", "other");
    for (workers, offload) in [(2, true), (4, true), (2, false), (4, false)] {
        let Some(Queues { mut queues, not_steered }) = open(workers, offload) else { return };
        assert!(not_steered.is_none(), "{not_steered:?}");
        // A kernel that has no NAPI threads has at least large packets.
        let granted = queues[0].granted();
        println!("    {workers} queues, {granted:?}");
        assert_eq!(granted == Granted::SinglePackets, !offload);
        let steering = steering(workers);
        let arrivals = forwarded(&mut queues, &|worker, packet| {
            assert_eq!(worker, owner(&steering, packet));
        });
        assert_eq!(arrivals.at.len(), usize::from(workers), "all have something");
        // Packets of sockets have their checksums left to the device, unlike those that are forwarded.
        let socket = UdpSocket::bind("192.0.2.1:0").expect("a socket");
        let mut arrivals = Arrivals::default();
        for number in 0..EACH {
            for flow in 0..FLOWS {
                let to = (format!("198.51.100.{flow}"), 9);
                socket.send_to(&flows::mark(flow, number), (to.0.as_str(), to.1)).expect("sent");
            }
            let expected = (number as usize + 1) * usize::from(FLOWS);
            drain(&mut queues, &mut arrivals, expected, &|worker, packet| {
                assert_eq!(worker, owner(&steering, packet));
            });
        }
    }
}

pub(crate) fn nothing_is_lost_without_bpf() {
    link("one", "other");
    for (workers, offload) in [(2, true), (4, false)] {
        let Some(Queues { mut queues, not_steered }) = open(workers, offload) else { return };
        match not_steered {
            Some(error) => println!("    the kernel does not steer: {error}"),
            None => println!("    this kernel lets everybody load socket filters"),
        }
        forwarded(&mut queues, &|_, _| {});
    }
}

/// Each queue's worker sends a flow; with NAPI threads those of several queues are at work at once.
pub(crate) fn all_queues_write() {
    const COUNT: u32 = 4000;
    link("one", "other");
    for (workers, offload) in [(4u16, true), (4, false)] {
        let Some(Queues { queues, .. }) = open(workers, offload) else { return };
        let number = Netlink::open().and_then(|netlink| netlink.link_index("one")).expect("an interface");
        let size = RingSize { frame: 1514, slots: 1024 };
        let all = [instruction(libc::BPF_RET | libc::BPF_K, u32::MAX, 0, 0)];
        let mut ring = ReceiveRing::open(number, libc::ETH_P_IPV6 as u16, size, &all).expect("a ring");
        let mut arrivals = Arrivals::default();
        std::thread::scope(|scope| {
            for (flow, mut queue) in (0..workers).zip(queues) {
                scope.spawn(move || {
                    for number in 0..COUNT {
                        queue.send(&to_b4(flow, number), Side::B4).expect("sent");
                        if number % 32 == 31 {
                            queue.flush().expect("sent");
                            // The reader is no faster than this on a machine that has other things to do.
                            std::thread::sleep(Duration::from_millis(1));
                        }
                    }
                    // A queue that is closed loses what waits in it.
                    std::thread::sleep(Duration::from_millis(500));
                    assert_eq!(queue.counters().sent, u64::from(COUNT));
                });
            }
            while arrivals.count() < COUNT as usize * usize::from(workers) {
                let timeout = Timespec { tv_sec: 5, tv_nsec: 0 };
                let ready = poll(&mut [PollFd::new(&ring.as_fd(), PollFlags::IN)], Some(&timeout));
                assert!(ready.is_ok_and(|ready| ready > 0), "nothing more after {}", arrivals.count());
                while let Some(frame) = ring.next_frame() {
                    arrivals.note(0, &frame.bytes[frame.link_header..]);
                    ring.release();
                }
            }
        });
        assert_eq!(ring.take_losses().expect("losses"), 0);
    }
}

fn to_b4(flow: u16, number: u32) -> Packet {
    let mut bytes = packet(Side::B4, flow, number);
    // Source and destination change places (RFC 8200 section 3).
    let (source, destination) = bytes[8..40].split_at_mut(16);
    source.swap_with_slice(destination);
    let mut packet = Packet::with_capacity(2048);
    packet.receive_buffer()[..bytes.len()].copy_from_slice(&bytes);
    packet.received(bytes.len(), Side::B4);
    packet
}

/// A tun with routes to it, and from it to the far end of the link; none where there is no tun.
fn open(workers: u16, offload: bool) -> Option<Queues> {
    let opened = Tun::open_queues("test0", workers.into(), offload, Some(steering(workers)));
    let queues = match opened {
        Ok(queues) => queues,
        Err(error) => {
            skip(&format!("/dev/net/tun cannot be used: {error}"));
            return None;
        }
    };
    for setting in ["ipv4/ip_forward=1", "ipv6/conf/all/forwarding=1", "ipv4/conf/all/rp_filter=0"] {
        set(setting);
    }
    set("ipv4/conf/other/rp_filter=0");
    for arguments in [
        "addr add 192.0.2.1/24 dev test0",
        "link set test0 mtu 1540 up",
        "route add 198.51.100.0/24 dev test0",
        "route add 2001:db8:aaaa::1/128 dev test0",
        "-6 neigh replace fe80::99 lladdr 02:00:00:00:00:99 dev other nud permanent",
        "route replace 2001:db8:b4::/48 via fe80::99 dev other",
    ] {
        ip(arguments);
    }
    Some(queues)
}

fn set(setting: &str) {
    let (path, value) = setting.split_once('=').expect("a value");
    std::fs::write(format!("/proc/sys/net/{path}"), value).expect(setting);
}

/// Sends all packets of all flows through the kernel to the queues.
fn forwarded(queues: &mut [Tun], check: &dyn Fn(usize, &[u8])) -> Arrivals {
    let mut sender = Sender::new("one", "other");
    let mut arrivals = Arrivals::default();
    for (sent, (_, packet)) in (1..).zip(flows::all()) {
        sender.send(&packet);
        if sent % 50 == 0 {
            drain(queues, &mut arrivals, sent, check);
        }
    }
    arrivals
}

/// Receives until `expected` packets have come; then there must be no more.
fn drain(queues: &mut [Tun], arrivals: &mut Arrivals, expected: usize, check: &dyn Fn(usize, &[u8])) {
    let mut batch: Vec<Packet> = (0..16).map(|_| Packet::with_capacity(2048)).collect();
    for _ in 0..5000 {
        let mut came = 0;
        for (worker, queue) in queues.iter_mut().enumerate() {
            let count = queue.receive(&mut batch).expect("packets");
            for packet in &batch[..count] {
                if read_mark(packet.bytes()).is_some() {
                    check(worker, packet.bytes());
                }
                arrivals.note(worker, packet.bytes());
            }
            came += count;
        }
        if came == 0 && arrivals.count() >= expected {
            break;
        }
        if came == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    assert_eq!(arrivals.count(), expected);
}
