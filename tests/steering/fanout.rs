//! Packet devices of several workers at the same interfaces.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aftr::daemon::Netlink;
use aftr::io::Device;
use aftr::io::packet::filter::Ours;
use aftr::io::packet::{NextHops, PacketDevice, Port, Published};
use aftr::wire::{Packet, Side};
use ipnet::Ipv4Net;

use crate::flows::{AFTR, Arrivals, EACH, FLOWS, Sender, all, owner, packet, read_mark, steering};
use crate::{ip, link};

const TOTAL: usize = FLOWS as usize * EACH as usize * 2;

pub(crate) fn owners_get_each_frame() {
    link("b4s", "access");
    link("world", "internet");
    let mut senders = [Sender::new("b4s", "access"), Sender::new("world", "internet")];
    for workers in [2, 4] {
        let mut devices = open(["access", "internet"], workers);
        send_all(&mut senders);
        expect_all(&mut devices);
        // Both kinds at one interface.
        drop(devices);
        let mut devices = open(["access", "access"], workers);
        let [both, _] = &mut senders;
        all().for_each(|(_, packet)| both.send(&packet));
        expect_all(&mut devices);
    }
}

/// Frames come while the rings join: of each flow, what comes is all from some frame on, once, to its owner.
pub(crate) fn opened_amid_traffic() {
    link("b4s", "access");
    for _ in 0..8 {
        let mut sender = Sender::new("b4s", "access");
        let (rounds, last_round) = (AtomicU32::new(0), AtomicU32::new(u32::MAX));
        let mut devices = std::thread::scope(|scope| {
            scope.spawn(|| {
                while rounds.load(Ordering::Relaxed) < last_round.load(Ordering::Acquire) {
                    let number = rounds.load(Ordering::Relaxed);
                    (0..FLOWS).for_each(|flow| sender.send(&packet(Side::Internet, flow, number)));
                    rounds.fetch_add(1, Ordering::Release);
                }
            });
            while rounds.load(Ordering::Acquire) < 3 {
                std::thread::yield_now();
            }
            let devices = open(["access", "access"], 4);
            last_round.store(rounds.load(Ordering::Acquire) + 10, Ordering::Release);
            devices
        });
        let mut came = vec![Vec::new(); FLOWS.into()];
        receive(&mut devices, &mut |worker, packet| {
            let (flow, number) = read_mark(packet).expect("a packet of ours");
            assert_eq!(worker, owner(&steering(4), packet));
            came[usize::from(flow)].push(number);
        });
        let rounds = rounds.load(Ordering::Acquire);
        for numbers in came {
            // A round may have been sent in part when the rings were ready.
            assert!(numbers.len() >= 9, "{numbers:?} of {rounds}");
            assert_eq!(numbers, (rounds - numbers.len() as u32..rounds).collect::<Vec<_>>());
        }
    }
}

pub(crate) fn after_an_interface_was_down() {
    link("b4s", "access");
    link("world", "internet");
    let mut devices = open(["access", "internet"], 4);
    let mut senders = [Sender::new("b4s", "access"), Sender::new("world", "internet")];
    for interface in ["access", "internet"] {
        ip(&format!("link set {interface} down"));
        ip(&format!("link set {interface} up"));
    }
    std::thread::sleep(Duration::from_millis(100));
    // Says once that it was down.
    receive(&mut devices, &mut |_, _| {});
    send_all(&mut senders);
    expect_all(&mut devices);
    drop(devices);
    ip("link set access down");
    let mut devices = open_some(["access", "internet"], 4);
    ip("link set access up");
    std::thread::sleep(Duration::from_millis(100));
    receive(&mut devices, &mut |_, _| {});
    send_all(&mut senders);
    match devices[1].not_steered().map(ToString::to_string) {
        None => expect_all(&mut devices),
        // Before Linux 6.13 there is no group at an interface that is down: the first one has all.
        Some(why) => {
            println!("    not steered: {why}");
            let mut arrivals = Arrivals::default();
            receive(&mut devices, &mut |worker, packet| {
                let is_internet = packet[0] >> 4 == 4;
                assert_eq!(worker, if is_internet { owner(&steering(4), packet) } else { 0 });
                arrivals.note(worker, packet);
            });
            assert_eq!(arrivals.count(), TOTAL);
        }
    }
}

/// As when a second daemon is at the same interface: each has all frames.
pub(crate) fn two_groups_do_not_share() {
    link("b4s", "access");
    let mut sender = Sender::new("b4s", "access");
    let mut groups = [2, 4].map(|workers| open(["access", "access"], workers));
    all().for_each(|(_, packet)| sender.send(&packet));
    groups.iter_mut().for_each(|devices| expect_all(devices));
}

fn send_all(senders: &mut [Sender; 2]) {
    for (side, packet) in all() {
        senders[usize::from(side == Side::Internet)].send(&packet);
    }
}

fn open(interfaces: [&str; 2], workers: u16) -> Vec<PacketDevice> {
    let devices = open_some(interfaces, workers);
    for device in &devices {
        assert!(device.not_steered().is_none(), "{:?}", device.not_steered());
    }
    devices
}

fn open_some(interfaces: [&str; 2], workers: u16) -> Vec<PacketDevice> {
    let netlink = Netlink::open().expect("netlink");
    let links = interfaces.map(|name| netlink.link(name).expect("links").expect("the interface"));
    let own = links.iter().filter_map(|link| Some((link.number, link.mac?))).collect();
    let published = Arc::new(Published::default());
    published.publish(Arc::new(NextHops { own, ..NextHops::default() }));
    let pool = Ipv4Net::new_assert(Ipv4Addr::new(198, 51, 100, 0), 24);
    let ours = Ours { aftr: vec![AFTR], pools: vec![pool], ..Ours::default() };
    let [b4, internet] = links.map(|link| Port { interface: link.number, mtu: link.mtu, ours: ours.clone() });
    let (ask, _) = tokio::sync::mpsc::channel(1);
    PacketDevice::open_all(&b4, &internet, &published, &ask, steering(workers), workers.into())
        .expect("devices")
}

/// All packets of all flows have come, each to its owner, and nothing else has.
fn expect_all(devices: &mut [PacketDevice]) {
    let steering = steering(devices.len() as u16);
    let mut arrivals = Arrivals::default();
    receive(devices, &mut |worker, packet| {
        assert_eq!(worker, owner(&steering, packet));
        assert!(arrivals.note(worker, packet));
    });
    assert_eq!((arrivals.count(), arrivals.at.len()), (TOTAL, devices.len()));
    for device in devices {
        assert_eq!(device.counters().receive_dropped, 0);
    }
}

/// Everything that waits: frames are in the rings when their sender returns.
fn receive(devices: &mut [PacketDevice], take: &mut dyn FnMut(usize, &[u8])) {
    let mut batch: Vec<Packet> = (0..16).map(|_| Packet::with_capacity(2048)).collect();
    // The last softirq may run on another core.
    std::thread::sleep(Duration::from_millis(20));
    for (worker, device) in devices.iter_mut().enumerate() {
        loop {
            let count = device.receive(&mut batch).expect("frames");
            if count == 0 {
                break;
            }
            batch[..count].iter().for_each(|packet| take(worker, packet.bytes()));
        }
    }
}
