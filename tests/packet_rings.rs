//! The rings of AF_PACKET over a pair of interfaces, in a network namespace of their own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;

use aftr::io::sys::namespace::NetNamespace;
use aftr::io::sys::packet_ring::{Extent, ReceiveRing, RingSize, TransmitRing};
use aftr::io::sys::packet_socket::{Instruction, found_fanout, instruction, join_fanout};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const SIZE: RingSize = RingSize { frame: 1554, slots: 128 };
/// An EtherType for experiments (RFC 5342 section B.2), so that nothing of the kernel's is in the way.
const EXPERIMENT: u16 = 0x88b5;

#[test]
fn a_frame_crosses_and_its_slot_is_used_again() {
    with_pair("ring-cross", |one, other| {
        let mut receive = ReceiveRing::open(other, EXPERIMENT, SIZE, &accept_all()).unwrap();
        let mut transmit = TransmitRing::open(one, SIZE).unwrap();
        for round in 0..1000u32 {
            assert!(send(&mut transmit, &frame(round, 100)));
            transmit.kick().unwrap();
            wait_for(&receive);
            let got = receive.next_frame().expect("a frame");
            assert_eq!((got.bytes, got.link_header), (&frame(round, 100)[..], 14));
            assert_eq!(got.extent, Extent::Whole);
            receive.release();
            assert!(receive.next_frame().is_none());
            receive.release();
        }
        assert_eq!(receive.take_losses().unwrap(), 0);
    });
}

#[test]
fn a_full_ring_loses_what_comes_and_counts_it() {
    with_pair("ring-full", |one, other| {
        let mut receive = ReceiveRing::open(other, EXPERIMENT, SIZE, &accept_all()).unwrap();
        let mut transmit = TransmitRing::open(one, RingSize { slots: 1024, ..SIZE }).unwrap();
        let sent = 1000;
        for number in 0..sent {
            assert!(send(&mut transmit, &frame(number, 60)), "frame {number}");
        }
        transmit.kick().unwrap();
        let mut came = 0;
        while let Some(got) = receive.next_frame() {
            assert_eq!(got.bytes, frame(came, 60), "in order");
            receive.release();
            came += 1;
        }
        assert!(came >= 128, "{came}");
        assert_eq!(receive.take_losses().unwrap(), u64::from(sent - came));
        // And it goes on.
        assert!(send(&mut transmit, &frame(7, 60)));
        transmit.kick().unwrap();
        wait_for(&receive);
        assert_eq!(receive.next_frame().expect("a frame").bytes, frame(7, 60));
    });
}

#[test]
fn a_transmit_ring_takes_no_more_than_it_has_slots() {
    with_pair("ring-room", |one, _| {
        let mut transmit = TransmitRing::open(one, SIZE).unwrap();
        let taken = (0..10_000).take_while(|&number| send(&mut transmit, &frame(number, 60))).count();
        assert!((128..1024).contains(&taken), "{taken}");
        transmit.kick().unwrap();
        assert!(send(&mut transmit, &frame(0, 60)));
    });
}

#[test]
fn a_frame_larger_than_its_slot_can_be_read_whole() {
    with_pair("ring-large", |one, other| {
        let small = RingSize { frame: 512, slots: 64 };
        let mut receive = ReceiveRing::open(other, EXPERIMENT, small, &accept_all()).unwrap();
        let mut transmit = TransmitRing::open(one, SIZE).unwrap();
        for number in 0..200 {
            assert!(send(&mut transmit, &frame(number, 1400)));
            transmit.kick().unwrap();
            wait_for(&receive);
            let got = receive.next_frame().expect("a frame");
            assert_eq!((got.extent, &got.bytes[..512]), (Extent::Queued, &frame(number, 1400)[..512]));
            receive.release();
            let mut buffer = vec![0; 65_536];
            let (length, _) = receive.read_whole(&mut buffer).unwrap().expect("a frame");
            assert_eq!(buffer[..length], frame(number, 1400));
            assert_eq!(receive.read_whole(&mut buffer).unwrap(), None);
        }
    });
}

#[test]
fn a_fanout_program_splits_exactly() {
    with_pair("ring-fanout", |one, other| {
        // The last bit of the first byte behind the link-layer header.
        let program = [
            instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, libc::SKF_NET_OFF.cast_unsigned(), 0, 0),
            instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 1, 0, 0),
            instruction(libc::BPF_RET | libc::BPF_A, 0, 0, 0),
        ];
        let mut rings = [0, 1]
            .map(|_| ReceiveRing::open(other, libc::ETH_P_ALL as u16, SIZE, &only_experiments()).unwrap());
        let group = found_fanout(rings[0].as_fd(), &program).unwrap();
        join_fanout(rings[1].as_fd(), group).unwrap();
        let mut transmit = TransmitRing::open(one, SIZE).unwrap();
        (0..100).for_each(|number| assert!(send(&mut transmit, &frame(number, 60))));
        transmit.kick().unwrap();
        for (parity, ring) in rings.iter_mut().enumerate() {
            for number in (0..100).filter(|number| number % 2 == parity as u32) {
                wait_for(ring);
                assert_eq!(ring.next_frame().expect("a frame").bytes, frame(number, 60));
                ring.release();
            }
            assert!(ring.next_frame().is_none());
        }
    });
}

#[test]
fn an_interface_that_is_down_is_an_error_and_no_end() {
    with_pair("ring-down", |one, other| {
        let mut receive = ReceiveRing::open(other, EXPERIMENT, SIZE, &accept_all()).unwrap();
        let mut transmit = TransmitRing::open(one, SIZE).unwrap();
        ip("link set one down");
        assert!(send(&mut transmit, &frame(1, 60)));
        let error = transmit.kick().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENETDOWN));
        ip("link set one up");
        for _ in 0..100 {
            if transmit.kick().is_ok() && receive.next_frame().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(receive.next_frame().expect("the frame").bytes, frame(1, 60));
    });
}

/// Broadcast of an experimental EtherType, different for each number.
fn frame(number: u32, length: usize) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5, number as u8];
    bytes.extend((15..length).map(|at| (at as u32 * 7 + number) as u8));
    bytes
}

fn send(ring: &mut TransmitRing, frame: &[u8]) -> bool {
    let Some(room) = ring.reserve() else { return false };
    room[..frame.len()].copy_from_slice(frame);
    ring.commit(frame.len());
    true
}

fn accept_all() -> [Instruction; 1] {
    [instruction(libc::BPF_RET | libc::BPF_K, u32::MAX, 0, 0)]
}

fn only_experiments() -> [Instruction; 4] {
    [
        instruction(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 12, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, EXPERIMENT.into(), 0, 1),
        instruction(libc::BPF_RET | libc::BPF_K, u32::MAX, 0, 0),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    ]
}

fn wait_for(ring: &ReceiveRing) {
    let timeout = Timespec { tv_sec: 5, tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(ring, PollFlags::IN)], Some(&timeout)).unwrap();
    assert_eq!(ready, 1, "nothing came");
}

/// Runs `test` with the numbers of two interfaces that are each other's link.
fn with_pair(name: &str, test: impl FnOnce(u32, u32) + Send) {
    let namespace = match NetNamespace::new() {
        Ok(namespace) if Command::new("ip").arg("-V").output().is_ok() => namespace,
        Ok(_) => return skip(name, "`ip` is missing"),
        Err(error) => return skip(name, &error.to_string()),
    };
    let worked = namespace.run(|| {
        ip("link add one type veth peer name other");
        ip("link set one up");
        ip("link set other up");
        test(number_of("one"), number_of("other"));
    });
    worked.expect("the test");
}

fn number_of(interface: &str) -> u32 {
    aftr::daemon::Netlink::open().unwrap().link_index(interface).unwrap()
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("iproute2");
    assert!(status.success(), "ip {arguments}");
}

fn skip(name: &str, why: &str) {
    println!("SKIPPED: {name}: {why}");
    assert!(std::env::var_os("AFTR_NOTHING_SKIPPED").is_none(), "nothing may be skipped here");
}
