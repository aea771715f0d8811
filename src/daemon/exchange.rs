//! Packets on their way from one worker to another: those that the kernel gave to a wrong one, and those that
//! an engine hands over. They travel in parcels, so that many cost one look at a queue.
//!
//! A parcel's buffers change places with those of a batch and come back empty: nothing is copied. Parcels are
//! made when they are first needed, up to a number, because their buffers take megabytes and few are under way
//! where the kernel steers. Who has no empty parcel left loses the packet, and counts it. A worker that does not
//! come round to what it was given keeps a part of the parcels at most: the others go on.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::wake::Wake;
use crate::engine::{Owners, WorkerNumber};
use crate::wire::Packet;

/// Packets of a parcel.
pub(super) const PARCEL: usize = 64;
/// Parcels of a worker, for all others together: some milliseconds of packets.
const PARCELS: usize = 32;
/// Parcels that one of many others may have at a time.
const LEAST_AWAY: usize = 8;

/// Packets for one worker: the first `count` of its buffers.
pub(super) struct Parcel {
    packets: Vec<Packet>,
    count: usize,
    from: WorkerNumber,
    to: WorkerNumber,
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
    returned: Receiver<Parcel>,
    /// Empty ones; the last that came back is used first, because its lines may still be in the cache.
    empty: Vec<Parcel>,
    /// Parcels that exist.
    made: usize,
    /// Octets of a buffer.
    size: usize,
    /// Parcels that another worker may have at a time.
    most_away: usize,
    /// Packets that came from the device and are another worker's.
    pub(super) strays: u64,
    /// Packets that were lost because no parcel was empty.
    pub(super) lost: u64,
}

/// What one worker knows of another, or of itself.
struct Other {
    arrived: SyncSender<Parcel>,
    returned: SyncSender<Parcel>,
    wake: Wake,
    /// What is being filled for it.
    open: Option<Parcel>,
    /// Parcels of ours that it has, and the open one.
    away: usize,
}

impl Exchange {
    /// One for each worker, which the `wakes` wake, with buffers for packets of `size` bytes.
    pub(super) fn between(owners: &Arc<Owners>, wakes: &[Wake], size: usize) -> Vec<Exchange> {
        // There is room for every parcel that exists, so that no send ever waits.
        let (arrivals, arrived): (Vec<_>, Vec<_>) =
            wakes.iter().map(|_| sync_channel(wakes.len() * PARCELS)).unzip();
        let (returns, returned): (Vec<_>, Vec<_>) = wakes.iter().map(|_| sync_channel(PARCELS)).unzip();
        let others = || {
            let doors = arrivals.iter().zip(&returns).zip(wakes);
            doors.map(|((arrived, returned), wake)| Other {
                arrived: arrived.clone(),
                returned: returned.clone(),
                wake: wake.clone(),
                open: None,
                away: 0,
            })
        };
        let most_away = (PARCELS / wakes.len().saturating_sub(1).max(1)).max(LEAST_AWAY);
        (0..)
            .zip(arrived.into_iter().zip(returned))
            .map(|(number, (arrived, returned))| Exchange {
                number,
                owners: Arc::clone(owners),
                others: others().collect(),
                arrived,
                returned,
                empty: Vec::with_capacity(PARCELS),
                made: 0,
                size,
                most_away,
                strays: 0,
                lost: 0,
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

    /// Gives a packet to another worker; `packet` is another buffer then, of the size of all buffers of a batch.
    pub(super) fn give(&mut self, packet: &mut Packet, to: WorkerNumber) {
        self.fill(to, |buffer| std::mem::swap(packet, buffer));
    }

    /// Gives a copy of a packet whose buffer may have another size: a buffer that is too small for the largest
    /// packet must not come into a batch.
    pub(super) fn give_copy(&mut self, packet: &Packet, to: WorkerNumber) {
        self.fill(to, |buffer| buffer.copy_from(packet));
    }

    /// Fills the next buffer of a parcel for another worker.
    fn fill(&mut self, to: WorkerNumber, fill: impl FnOnce(&mut Packet)) {
        if self.others[usize::from(to)].open.is_none() {
            self.open(to);
        }
        let other = &mut self.others[usize::from(to)];
        let Some(parcel) = &mut other.open else {
            self.lost += 1;
            return;
        };
        fill(&mut parcel.packets[parcel.count]);
        parcel.count += 1;
        if parcel.count == PARCEL {
            other.send();
        }
    }

    /// Begins a parcel for another worker, when there is an empty one that it may have.
    fn open(&mut self, to: WorkerNumber) {
        while let Ok(parcel) = self.returned.try_recv() {
            self.others[usize::from(parcel.to)].away -= 1;
            self.empty.push(parcel);
        }
        if self.others[usize::from(to)].away == self.most_away {
            return;
        }
        if let Some(parcel) = self.empty.pop().or_else(|| self.make()) {
            let other = &mut self.others[usize::from(to)];
            other.away += 1;
            other.open = Some(Parcel { to, ..parcel });
        }
    }

    #[cold]
    fn make(&mut self) -> Option<Parcel> {
        if self.made == PARCELS {
            return None;
        }
        self.made += 1;
        let packets = (0..PARCEL).map(|_| Packet::with_capacity(self.size)).collect();
        Some(Parcel { packets, count: 0, from: self.number, to: self.number })
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
        let _ = self.others[usize::from(parcel.from)].returned.try_send(parcel);
    }
}

impl Other {
    fn send(&mut self) {
        let Some(parcel) = self.open.take() else { return };
        // A worker that has ended gets nothing: all of them end then.
        if self.arrived.try_send(parcel).is_ok() {
            self.wake.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::testing::config;
    use crate::wire::Side;

    /// Of the buffers of a batch.
    const SIZE: usize = 64;

    fn three() -> Vec<Exchange> {
        let owners = Arc::new(Owners::new(&config("198.51.100.0/28", 3), 7));
        let wakes: Vec<Wake> = (0..3).map(|_| Wake::new().unwrap()).collect();
        Exchange::between(&owners, &wakes, SIZE)
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

    /// What an engine sends by itself is as large as it must be. Once it stayed in the parcel, and came into a
    /// batch by the next swap: the next large packet ended the worker.
    #[test]
    fn small_buffers_do_not_come_into_batches() {
        let mut exchanges = three();
        for round in 0..2 {
            exchanges[0].give_copy(&to_pool(1, 1), 1);
            exchanges[0].flush();
            let mut parcel = exchanges[1].take().unwrap();
            assert_eq!(numbers(&*parcel.packets()), [1], "round {round}");
            exchanges[1].give_back(parcel);
            let mut of_batch = Packet::with_capacity(SIZE);
            exchanges[0].give(&mut of_batch, 1);
            assert_eq!(of_batch.receive_buffer().len(), SIZE, "round {round}");
            exchanges[0].flush();
            let parcel = exchanges[1].take().unwrap();
            exchanges[1].give_back(parcel);
        }
    }

    #[test]
    fn who_gives_faster_than_others_take_loses_packets_and_no_buffers() {
        let mut exchanges = three();
        let most = PARCELS / 2 * PARCEL;
        for round in 0..3 {
            for _ in 0..most + 5 {
                exchanges[0].give(&mut to_pool(1, 1), 1);
            }
            exchanges[0].flush();
            assert_eq!(exchanges[0].lost, 5 * (round + 1));
            assert_eq!(take_all(&mut exchanges[1]), most);
        }
    }

    #[test]
    fn a_worker_that_takes_nothing_costs_the_others_nothing() {
        let mut exchanges = three();
        for number in 0..2 * PARCELS * PARCEL {
            exchanges[0].give(&mut to_pool(1, 1), 1);
            if number % 10 == 0 {
                exchanges[0].give(&mut to_pool(2, 2), 2);
                exchanges[0].flush();
                assert_eq!(take_all(&mut exchanges[2]), 1);
            }
        }
        assert!(exchanges[0].lost > 0);
        assert_eq!(exchanges[0].made, PARCELS / 2 + 1, "what comes back is used again");
    }

    /// How many there were.
    fn take_all(exchange: &mut Exchange) -> usize {
        let mut taken = 0;
        while let Some(mut parcel) = exchange.take() {
            taken += parcel.packets().len();
            exchange.give_back(parcel);
        }
        taken
    }
}
