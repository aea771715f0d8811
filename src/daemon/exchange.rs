//! Packets on their way from one worker to another: those that the kernel gave to a wrong one, and those that
//! an engine hands over. They travel in parcels, so that many cost one look at a queue.
//!
//! A parcel's buffers change places with those of a batch and come back empty: nothing is copied, and nothing
//! is allocated after the start. Who has no empty parcel left loses the packet, and counts it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::wake::Wake;
use crate::engine::{Owners, WorkerNumber};
use crate::wire::Packet;

/// Packets of a parcel.
const PARCEL: usize = 64;
/// Parcels of a worker, for all others together: some milliseconds of packets.
const PARCELS: usize = 32;

/// Packets for one worker: the first `count` of its buffers.
pub(super) struct Parcel {
    packets: Vec<Packet>,
    count: usize,
    from: WorkerNumber,
}

impl Parcel {
    pub(super) fn packets(&mut self) -> &mut [Packet] {
        &mut self.packets[..self.count]
    }
}

/// One worker's door to the others.
pub(super) struct Exchange {
    number: WorkerNumber,
    owners: Arc<Owners>,
    others: Vec<Other>,
    arrived: Receiver<Parcel>,
    empty: Receiver<Parcel>,
    /// Packets that came from the device and are another worker's.
    pub(super) strays: u64,
    /// Packets that were lost because no parcel was empty.
    pub(super) lost: u64,
}

/// What one worker knows of another, or of itself.
struct Other {
    arrived: Sender<Parcel>,
    empty: Sender<Parcel>,
    wake: Wake,
    /// What is being filled for it.
    open: Option<Parcel>,
}

impl Exchange {
    /// One for each worker, which the `wakes` wake, with buffers for packets of `size` bytes.
    pub(super) fn between(owners: &Arc<Owners>, wakes: &[Wake], size: usize) -> Vec<Exchange> {
        let (arrivals, arrived): (Vec<_>, Vec<_>) = wakes.iter().map(|_| channel()).unzip();
        let (returns, empty): (Vec<_>, Vec<_>) = wakes.iter().map(|_| channel()).unzip();
        let others = || {
            let doors = arrivals.iter().zip(&returns).zip(wakes);
            doors.map(|((arrived, empty), wake)| Other {
                arrived: arrived.clone(),
                empty: empty.clone(),
                wake: wake.clone(),
                open: None,
            })
        };
        (0..)
            .zip(arrived.into_iter().zip(empty))
            .map(|(number, (arrived, empty))| {
                for _ in 0..PARCELS {
                    let packets = (0..PARCEL).map(|_| Packet::with_capacity(size)).collect();
                    // The receiver is there.
                    let _ = returns[usize::from(number)].send(Parcel { packets, count: 0, from: number });
                }
                let owners = Arc::clone(owners);
                Exchange { number, owners, others: others().collect(), arrived, empty, strays: 0, lost: 0 }
            })
            .collect()
    }

    /// Moves the packets of a batch that are this worker's to its front, in their order, and gives the others
    /// to their owners. Says how many are left.
    pub(super) fn sort_out(&mut self, batch: &mut [Packet]) -> usize {
        let mut own = 0;
        for at in 0..batch.len() {
            let owner = self.owners.of(&batch[at]);
            if owner == self.number {
                batch.swap(own, at);
                own += 1;
            } else {
                self.strays += 1;
                self.give(&mut batch[at], owner);
            }
        }
        own
    }

    /// Gives a packet to another worker; `packet` is another buffer then.
    pub(super) fn give(&mut self, packet: &mut Packet, to: WorkerNumber) {
        let other = &mut self.others[usize::from(to)];
        if other.open.is_none() {
            other.open = self.empty.try_recv().ok();
        }
        let Some(parcel) = &mut other.open else {
            self.lost += 1;
            return;
        };
        std::mem::swap(packet, &mut parcel.packets[parcel.count]);
        parcel.count += 1;
        if parcel.count == PARCEL {
            other.send();
        }
    }

    /// Sends what was given.
    pub(super) fn flush(&mut self) {
        self.others.iter_mut().for_each(Other::send);
    }

    /// The oldest parcel for this worker; it goes back by [`Exchange::give_back`].
    pub(super) fn take(&mut self) -> Option<Parcel> {
        self.arrived.try_recv().ok()
    }

    /// Returns a parcel whose packets went their way.
    pub(super) fn give_back(&mut self, mut parcel: Parcel) {
        parcel.count = 0;
        // A worker that has ended needs none.
        let _ = self.others[usize::from(parcel.from)].empty.send(parcel);
    }
}

impl Other {
    fn send(&mut self) {
        let Some(parcel) = self.open.take() else { return };
        // A worker that has ended gets nothing: all of them end then.
        if self.arrived.send(parcel).is_ok() {
            self.wake.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Config;
    use crate::wire::Side;

    const CONFIG: &str = r#"
[softwire]
aftr-ipv6-addr = ["2001:db8:aaaa::1"]
b4-prefixes = ["2001:db8:b4::/48"]
[[nat.external-ip-address-pool]]
pool-id = 1
external-ip-pool = ["198.51.100.0/28"]
[dataplane]
workers = 3
"#;

    fn three() -> Vec<Exchange> {
        let owners = Arc::new(Owners::new(&Config::parse(CONFIG).unwrap(), 7));
        let wakes: Vec<Wake> = (0..3).map(|_| Wake::new().unwrap()).collect();
        Exchange::between(&owners, &wakes, 64)
    }

    /// To 198.51.100.`last`, with its number behind the header.
    fn to_pool(last: u8, number: u8) -> Packet {
        let mut bytes = [0; 21];
        bytes[0] = 0x45;
        bytes[16..20].copy_from_slice(&[198, 51, 100, last]);
        bytes[20] = number;
        Packet::copied_from(&bytes, Side::Internet)
    }

    fn numbers<'p>(packets: impl IntoIterator<Item = &'p Packet>) -> Vec<u8> {
        packets.into_iter().map(|packet| packet.bytes()[20]).collect()
    }

    #[test]
    fn each_worker_gets_its_packets_in_order() {
        let mut exchanges = three();
        let owner = |last: u8| exchanges[0].owners.of_address([198, 51, 100, last].into());
        let (mine, other) = (0..16).partition::<Vec<u8>, _>(|&last| owner(last) == 0);
        let mut batch: Vec<Packet> =
            (0..10).map(|at| to_pool(if at % 3 == 0 { mine[0] } else { other[0] }, at)).collect();
        let to = usize::from(owner(other[0]));
        assert_eq!(exchanges[0].sort_out(&mut batch), 4);
        assert_eq!(numbers(&batch[..4]), [0, 3, 6, 9]);
        exchanges[0].flush();
        let mut parcel = exchanges[to].take().unwrap();
        assert_eq!(numbers(&*parcel.packets()), [1, 2, 4, 5, 7, 8]);
        assert!(exchanges[3 - to].take().is_none());
        assert_eq!((exchanges[0].strays, exchanges[0].lost), (6, 0));
    }

    #[test]
    fn who_gives_faster_than_others_take_loses_packets_and_no_buffers() {
        let mut exchanges = three();
        for round in 0..3 {
            for _ in 0..PARCELS * PARCEL + 5 {
                exchanges[0].give(&mut to_pool(1, 1), 1);
            }
            exchanges[0].flush();
            assert_eq!(exchanges[0].lost, 5 * (round + 1));
            let mut taken = 0;
            while let Some(mut parcel) = exchanges[1].take() {
                taken += parcel.packets().len();
                exchanges[1].give_back(parcel);
            }
            assert_eq!(taken, PARCELS * PARCEL);
        }
    }
}
