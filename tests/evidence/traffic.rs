//! A sender that is as many homes as are wanted, and a host on the Internet that writes down what arrives.

use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use aftr::attribution::Millis;
use aftr::daemon::Netlink;
use aftr::io::sys::packet_ring::{ReceiveRing, RingSize, TransmitRing};
use aftr::io::sys::packet_socket::instruction;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::bed::{AFTR_MAC, Bed, now};

/// The first homes have flows that go on through a fault.
pub(crate) const OLD_HOMES: u32 = 200;

const PORT: u16 = 4000;
const HEADERS: usize = 14 + 40 + 20 + 8;
const PAYLOAD: usize = 20;

/// Address of the B4 of a home.
pub(crate) fn b4(home: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(0x2001_0db8_00b4 << 80 | u128::from(home))
}

/// A packet that arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) home: u32,
    /// The home's count of its packets.
    pub(crate) number: u32,
    pub(crate) sent: Millis,
    pub(crate) received: Millis,
    pub(crate) external: Ipv4Addr,
    pub(crate) port: u16,
}

/// Sends for homes; belongs to one thread.
pub(crate) struct Homes {
    ring: TransmitRing,
    frame: [u8; HEADERS + PAYLOAD],
    unkicked: u32,
}

impl Homes {
    pub(crate) fn new(bed: &Bed) -> Homes {
        let open = || {
            let interface = Netlink::open()?.link_index("aftr")?;
            TransmitRing::open(interface, RingSize { frame: 256, slots: 2048 })
        };
        let ring = bed.access.run(open).unwrap().unwrap();
        Homes { ring, frame: template(), unkicked: 0 }
    }

    /// One packet. Bursts are kicked as one.
    pub(crate) fn send(&mut self, home: u32, number: u32) {
        self.frame[14 + 8..14 + 24].copy_from_slice(&b4(home).octets());
        let payload = &mut self.frame[HEADERS..];
        payload[..4].copy_from_slice(&home.to_be_bytes());
        payload[4..8].copy_from_slice(&number.to_be_bytes());
        payload[8..16].copy_from_slice(&now().to_be_bytes());
        while self.ring.reserve().is_none() {
            self.kick();
            std::thread::yield_now();
        }
        let slot = self.ring.reserve().expect("it has room");
        slot[..self.frame.len()].copy_from_slice(&self.frame);
        self.ring.commit(self.frame.len());
        self.unkicked += 1;
        if self.unkicked == 32 {
            self.kick();
        }
    }

    pub(crate) fn kick(&mut self) {
        let _ = self.ring.kick();
        self.unkicked = 0;
    }
}

/// UDP from 192.168.1.10 port 5000 to the host on the Internet, in a softwire.
fn template() -> [u8; HEADERS + PAYLOAD] {
    let mut frame = [0; HEADERS + PAYLOAD];
    let inner = (20 + 8 + PAYLOAD) as u16;
    frame[..6].copy_from_slice(&AFTR_MAC);
    frame[6..14].copy_from_slice(&[2, 0, 0, 0, 0, 3, 0x86, 0xdd]);
    let (outer, rest) = frame[14..].split_at_mut(40);
    outer[0] = 0x60;
    outer[4..6].copy_from_slice(&inner.to_be_bytes());
    (outer[6], outer[7]) = (4, 64);
    outer[24..].copy_from_slice(&aftr::commands::lab::topology::AFTR.octets());
    rest[0] = 0x45;
    rest[2..4].copy_from_slice(&inner.to_be_bytes());
    (rest[8], rest[9]) = (64, 17);
    rest[12..16].copy_from_slice(&[192, 168, 1, 10]);
    rest[16..20].copy_from_slice(&[203, 0, 113, 1]);
    let words = rest[..20].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let folded = !((sum & 0xffff) + (sum >> 16)) as u16;
    rest[10..12].copy_from_slice(&folded.to_be_bytes());
    rest[20..22].copy_from_slice(&5000u16.to_be_bytes());
    rest[22..24].copy_from_slice(&PORT.to_be_bytes());
    rest[24..26].copy_from_slice(&(inner - 20).to_be_bytes());
    frame
}

/// The host on the Internet.
pub(crate) struct Witness {
    seen: Arc<Mutex<Vec<Seen>>>,
    new_homes: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Witness {
    pub(crate) fn start(bed: &Bed) -> Witness {
        // Nobody reads it: what it drops is in the ring all the same.
        let sink = bed.internet.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))).unwrap().unwrap();
        let open = || {
            let everything = [instruction(libc::BPF_RET | libc::BPF_K, u32::MAX, 0, 0)];
            let size = RingSize { frame: 256, slots: 1 << 16 };
            ReceiveRing::open(Netlink::open()?.link_index("aftr")?, libc::ETH_P_IP as u16, size, &everything)
        };
        let mut ring = bed.internet.run(open).unwrap().unwrap();
        let (seen, new_homes, stop): (Arc<Mutex<Vec<Seen>>>, Arc<AtomicU64>, Arc<AtomicBool>) =
            Default::default();
        let (list, counted, stopped) = (Arc::clone(&seen), Arc::clone(&new_homes), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let _sink = sink;
            while !stopped.load(Ordering::Relaxed) {
                let wait = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
                let _ = poll(&mut [PollFd::new(&ring, PollFlags::IN)], Some(&wait));
                let mut some = Vec::new();
                while let Some(frame) = ring.next_frame() {
                    some.extend(parse(frame.bytes).map(|seen| Seen { received: received(&ring), ..seen }));
                    ring.release();
                }
                let new = some.iter().filter(|seen| seen.home > OLD_HOMES).count();
                counted.fetch_add(new as u64, Ordering::Relaxed);
                list.lock().unwrap().extend(some);
                assert_eq!(ring.take_losses().unwrap(), 0, "the witness has overlooked packets");
            }
        });
        Witness { seen, new_homes, stop, thread: Some(thread) }
    }

    /// How many packets of others than the first [`OLD_HOMES`] have arrived.
    pub(crate) fn new_homes(&self) -> u64 {
        self.new_homes.load(Ordering::Relaxed)
    }

    /// Takes what has arrived since the last time.
    pub(crate) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

/// When the kernel received the last frame.
fn received(ring: &ReceiveRing) -> Millis {
    ring.stamp().as_millis() as Millis
}

fn parse(frame: &[u8]) -> Option<Seen> {
    let packet = frame.get(14..).filter(|packet| packet.len() == 20 + 8 + PAYLOAD && packet[9] == 17)?;
    let word = |at: usize| u32::from_be_bytes(packet[28 + at..][..4].try_into().unwrap());
    Some(Seen {
        home: word(0),
        number: word(4),
        sent: u64::from(word(8)) << 32 | u64::from(word(12)),
        received: 0,
        external: Ipv4Addr::new(packet[12], packet[13], packet[14], packet[15]),
        port: u16::from_be_bytes([packet[20], packet[21]]),
    })
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
