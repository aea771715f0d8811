//! One worker: a thread that owns a device and an engine, and shares nothing. What is another worker's goes
//! there in parcels ([`Exchange`]).
//!
//! It waits for packets, for the engine's next timer or for a [`Wake`], and then does all that is due.
//! Nothing is allocated and nothing is locked per packet.

use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::clock::Clock;
use super::evidence::{Evidence, Way};
use super::exchange::{Exchange, PARCEL};
use super::request::{Losses, Reply, Request, Snapshot};
use super::wake::Wake;
use crate::engine::{Aftr, Instant, Verdict};
use crate::export::Stamped;
use crate::io::Device;
use crate::wire::{Packet, Side};

/// Packets per batch.
const BATCH: usize = 64;
const _: () = assert!(PARCEL <= BATCH, "the verdicts of a parcel have room where those of a batch have");
/// Packets of other workers between two looks at the device; a parcel is not left half.
const MOST_HANDED_OVER: usize = 4 * PARCEL;
/// Between two looks whether the record of a grant is on the disk.
const DISK_LOOK: Duration = Duration::from_micros(250);
/// What a buffer takes: any IP packet, whatever MTU somebody gives the interface. Pages that no packet
/// has reached cost nothing.
pub(super) const LARGEST_PACKET: usize = 65535;

/// What a worker is made of.
pub(super) struct Worker<D> {
    pub(super) device: D,
    pub(super) aftr: Aftr,
    pub(super) clock: Clock,
    pub(super) requests: Receiver<Request>,
    pub(super) wake: Wake,
    /// Where events go; one that does not fit is counted and lost.
    pub(super) events: Option<SyncSender<Stamped>>,
    /// What the journal must know first, when there is one.
    pub(super) evidence: Option<Evidence>,
    /// The way to the other workers, when there are any.
    pub(super) exchange: Option<Exchange>,
    /// Packets that could not be sent, without those that the device counts itself.
    pub(super) unsent: u64,
    pub(super) events_lost: u64,
}

impl<D: Device + AsFd> Worker<D> {
    /// Works until it is told to stop. Gives the state at the end.
    ///
    /// # Errors
    /// When packets can be received no more.
    pub(super) fn run(mut self) -> io::Result<Snapshot> {
        let mut batch: Vec<Packet> = (0..BATCH).map(|_| Packet::with_capacity(LARGEST_PACKET)).collect();
        let mut verdicts = [Verdict::Hold; BATCH];
        loop {
            let received = self.device.receive(&mut batch)?;
            let now = self.clock.now();
            let own = match &mut self.exchange {
                Some(exchange) => exchange.sort_out(&mut batch[..received]),
                None => received,
            };
            self.forward(&mut batch[..own], &mut verdicts, now);
            let handed_over = self.take_parcels(&mut verdicts, now);
            self.let_time_pass(now);
            self.release_what_waited(now);
            self.flush();
            if self.answer_requests(now) == Then::Stop {
                self.hand_out_events(now);
                return Ok(self.snapshot(now));
            }
            // A parcel that comes later rings; none is left before.
            if received < BATCH && handed_over < MOST_HANDED_OVER {
                self.wait()?;
            }
        }
    }

    fn forward(&mut self, batch: &mut [Packet], verdicts: &mut [Verdict], now: Instant) {
        let verdicts = &mut verdicts[..batch.len()];
        self.aftr.process(batch, verdicts, now);
        self.hand_out_events(now);
        for (packet, verdict) in batch.iter_mut().zip(verdicts) {
            if let Some(side) = verdict.leaves_to(packet.side) {
                self.send(packet, side, now);
            } else if let Verdict::ToWorker(to) = *verdict
                && !self.is_kept(packet, Way::ToWorker(to), now)
                && let Some(exchange) = &mut self.exchange
            {
                exchange.give(packet, to);
            }
        }
    }

    /// Takes over what other workers give, a bounded number of packets: the device waits meanwhile. Parcels may hold
    /// few. Says how many packets.
    fn take_parcels(&mut self, verdicts: &mut [Verdict], now: Instant) -> usize {
        let mut taken = 0;
        while taken < MOST_HANDED_OVER {
            let Some(mut parcel) = self.exchange.as_mut().and_then(Exchange::take) else { break };
            taken += parcel.packets().len();
            self.forward(parcel.packets(), verdicts, now);
            if let Some(exchange) = &mut self.exchange {
                exchange.give_back(parcel);
            }
        }
        taken
    }

    fn let_time_pass(&mut self, now: Instant) {
        if self.aftr.poll_timeout().is_some_and(|due| due <= now) {
            self.aftr.handle_timeout(now);
        }
        self.hand_out_events(now);
        while let Some((packet, side)) = self.aftr.poll_packet() {
            self.send(&packet, side, now);
        }
        while let Some((packet, to)) = self.aftr.poll_handover() {
            if !self.is_kept(&packet, Way::ToWorker(to), now)
                && let Some(exchange) = &mut self.exchange
            {
                exchange.give_copy(&packet, to);
            }
        }
    }

    fn send(&mut self, packet: &Packet, to: Side, now: Instant) {
        if !self.is_kept(packet, Way::To(to), now) {
            self.unsent += u64::from(self.device.send(packet, to).is_err());
        }
    }

    /// Whether a packet waits for the record of a grant.
    fn is_kept(&mut self, packet: &Packet, way: Way, now: Instant) -> bool {
        self.evidence.as_mut().is_some_and(|evidence| evidence.keeps(packet, way, now))
    }

    /// Sends what waited for the record of a grant, and says again what a gap has made uncertain.
    fn release_what_waited(&mut self, now: Instant) {
        let Some(evidence) = &mut self.evidence else { return };
        evidence.look(now);
        while let Some((packet, way)) = evidence.release(now) {
            match (way, &mut self.exchange) {
                (Way::To(side), _) => self.unsent += u64::from(self.device.send(&packet, side).is_err()),
                (Way::ToWorker(to), Some(exchange)) => exchange.give_copy(&packet, to),
                (Way::ToWorker(_), None) => {}
            }
        }
        evidence.say_again(|| self.aftr.grants(), || self.clock.unix_millis(now));
        self.aftr.allow_grants(!evidence.refuses_grants());
    }

    fn flush(&mut self) {
        self.unsent += u64::from(self.device.flush().is_err());
        if let Some(exchange) = &mut self.exchange {
            exchange.flush();
        }
    }

    fn hand_out_events(&mut self, now: Instant) {
        let mut wall = None;
        while let Some(event) = self.aftr.poll_event() {
            // One look at the wall clock: the journal and collectors are told the same time.
            let unix_millis = *wall.get_or_insert_with(|| self.clock.unix_millis(now));
            if let Some(evidence) = &mut self.evidence {
                evidence.note(&event, || unix_millis);
            }
            if let Some(events) = &self.events {
                self.events_lost += u64::from(events.try_send(Stamped { unix_millis, event }).is_err());
            }
        }
    }

    fn answer_requests(&mut self, now: Instant) -> Then {
        loop {
            match self.requests.try_recv() {
                Ok(Request::Snapshot(reply)) => answer(&reply, self.snapshot(now)),
                Ok(Request::Mappings(reply)) => answer(&reply, self.aftr.mappings(now).collect()),
                Ok(Request::Subscribers(reply)) => answer(&reply, self.aftr.subscribers().collect()),
                Ok(Request::Reconfigure(config, reply)) => {
                    answer(&reply, self.aftr.reconfigure(&config, now));
                }
                Ok(Request::Purge(prefix, reply)) => answer(&reply, self.aftr.purge(prefix, now)),
                Ok(Request::Stop) | Err(std::sync::mpsc::TryRecvError::Disconnected) => return Then::Stop,
                Err(std::sync::mpsc::TryRecvError::Empty) => return Then::Continue,
            }
        }
    }

    fn snapshot(&self, now: Instant) -> Snapshot {
        let device = self.device.counters();
        let (strays, lost) =
            self.exchange.as_ref().map_or((0, 0), |exchange| (exchange.strays, exchange.lost));
        Snapshot {
            at: now,
            counters: self.aftr.counters().clone(),
            gauges: self.aftr.gauges(),
            losses: Losses {
                unsent: self.unsent + device.send_dropped,
                events: self.events_lost,
                between_workers: lost,
                waiting: self.evidence.as_ref().map_or(0, |evidence| evidence.lost),
            },
            strays,
            device,
        }
    }

    /// Until a packet is there, a timer is due or somebody rings.
    fn wait(&self) -> io::Result<()> {
        let due = self.aftr.poll_timeout().map(|due| self.clock.until(due));
        // The journal's writer rings nobody.
        let disk = self.evidence.as_ref().filter(|evidence| evidence.is_waiting()).map(|_| DISK_LOOK);
        let timeout = [due, disk].into_iter().flatten().min().map(timespec);
        let readable = |descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN);
        let first = self.device.as_fd();
        let other = self.device.other_descriptor();
        let mut descriptors = [self.wake.as_fd(), first, other.unwrap_or(self.wake.as_fd())].map(readable);
        let count = 2 + usize::from(other.is_some());
        match poll(&mut descriptors[..count], timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        if !descriptors[0].revents().is_empty() {
            self.wake.hush();
        }
        Ok(())
    }
}

#[derive(PartialEq, Eq)]
enum Then {
    Continue,
    Stop,
}

/// Who asked may have gone away meanwhile.
fn answer<T>(reply: &Reply<T>, answer: T) {
    let _ = reply.try_send(answer);
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::BorrowedFd;
    use std::os::unix::net::UnixDatagram;
    use std::sync::mpsc::{Sender, channel, sync_channel};
    use std::thread::JoinHandle;

    use aftr_config::OnLoss;

    use super::*;
    use crate::attribution::testing::Folder;
    use crate::attribution::wal::{Position, Producer, WallClock, Writer, WriterOptions, replay};
    use crate::attribution::{Directory, Journal, Record};
    use crate::daemon::testing::config;
    use crate::engine::{DropReason, EventKind, Seed, TtlBy};
    use crate::io::DeviceCounters;
    use crate::wire::{Side, checksum};

    const B4: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0xb4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    const STRANGER: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

    #[test]
    fn a_packet_from_a_b4_leaves_translated_and_its_events_are_handed_out() {
        let (sender, events) = sync_channel(8);
        let (network, worker) = start(Some(sender));
        network.send(&from_b4(B4)).unwrap();
        let mut buffer = [0; 2048];
        let length = network.recv(&mut buffer).unwrap();
        assert_eq!(length, 28);
        assert_eq!(buffer[12..20], [198, 51, 100, 1, 203, 0, 113, 1]);
        let snapshot = worker.stop();
        assert_eq!(snapshot.counters.to_internet.packets, 1);
        assert_eq!((snapshot.gauges.subscribers, snapshot.gauges.mappings), (1, 1));
        assert_eq!(snapshot.losses, Losses::default());
        let kinds: Vec<_> = events.iter().map(|stamped| stamped.event.kind).collect();
        assert!(
            matches!(kinds[..], [EventKind::PortSetGranted(_), EventKind::MappingCreated(_)]),
            "{kinds:?}"
        );
    }

    #[test]
    fn events_that_nobody_takes_are_counted_and_stop_no_packet() {
        let (sender, _events) = sync_channel(0);
        let (network, worker) = start(Some(sender));
        network.send(&from_b4(B4)).unwrap();
        network.recv(&mut [0; 2048]).unwrap();
        assert_eq!(worker.stop().losses, Losses { events: 2, ..Losses::default() });
    }

    #[test]
    fn an_idle_worker_answers_when_it_is_rung() {
        let (network, worker) = start(None);
        network.send(&from_b4(STRANGER)).unwrap();
        worker.wait_for(|snapshot| snapshot.counters.dropped(DropReason::V6Acl) == 1);
        worker.stop();
    }

    #[test]
    fn what_the_worker_and_the_device_could_not_send_is_added_up() {
        let (network, worker) = start_with(None, false);
        network.send(&from_b4(B4)).unwrap();
        worker.wait_for(|snapshot| snapshot.losses == Losses { unsent: 2, ..Losses::default() });
        worker.stop();
    }

    /// Contract 5: the record of a grant is in the log when the first packet that uses it is seen.
    #[test]
    fn a_grant_is_on_the_disk_before_its_first_packet_leaves() {
        let folder = Folder::new("worker");
        let (writer, producer) = journal(&folder);
        let (network, worker) = start_as(None, true, Some(Evidence::new(producer, 0, OnLoss::Alarm)));
        network.send(&from_b4(B4)).unwrap();
        let mut buffer = [0; 2048];
        let length = network.recv(&mut buffer).unwrap();
        assert_eq!(length, 28);
        let port = u16::from_be_bytes([buffer[20], buffer[21]]);
        let holds = |record: &Record| {
            let Record::Started { holding, .. } = record else { return false };
            (holding.first_port..=holding.last_port).contains(&port)
        };
        assert!(records(&folder).iter().any(holds), "no record on the disk holds port {port}");
        worker.stop();
        drop(writer);
    }

    /// One end of a pair of sockets; the test is the network at the other end.
    struct Socket {
        socket: UnixDatagram,
        takes_packets: bool,
    }

    impl AsFd for Socket {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.socket.as_fd()
        }
    }

    impl Device for Socket {
        fn kernel_routes(&self) -> bool {
            true
        }

        fn receive(&mut self, batch: &mut [Packet]) -> io::Result<usize> {
            match self.socket.recv(batch[0].receive_buffer()) {
                Ok(length) => batch[0].received(length, Side::B4),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) => return Err(error),
            }
            Ok(1)
        }

        fn send(&mut self, packet: &Packet, _side: Side) -> io::Result<()> {
            if !self.takes_packets {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.socket.send(packet.bytes()).map(|_| ())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn counters(&self) -> DeviceCounters {
            DeviceCounters { send_dropped: u64::from(!self.takes_packets), ..DeviceCounters::default() }
        }
    }

    fn journal(folder: &Folder) -> (Writer, Producer) {
        let (_, recovered) = Journal::open(&Directory::new(folder), 1).unwrap();
        let (writer, mut producers) = Writer::start(recovered.log, Wall, WriterOptions::default()).unwrap();
        (writer, producers.pop().unwrap())
    }

    fn records(folder: &Folder) -> Vec<Record> {
        let mut records = Vec::new();
        replay(&folder.join("wal"), Position::START, |_, record| records.push(*record)).unwrap();
        records
    }

    struct Wall;

    impl WallClock for Wall {
        fn now(&self) -> u64 {
            1
        }
    }

    struct Running {
        requests: Sender<Request>,
        wake: Wake,
        thread: JoinHandle<io::Result<Snapshot>>,
    }

    impl Running {
        /// Asks a worker that waits for packets, until the answer is the expected one.
        fn wait_for(&self, expected: impl Fn(&Snapshot) -> bool) {
            let mut answers = std::iter::repeat_with(|| {
                let (reply, answer) = sync_channel(1);
                self.requests.send(Request::Snapshot(reply)).unwrap();
                self.wake.ring();
                answer.recv_timeout(Duration::from_secs(5)).unwrap()
            });
            assert!(answers.by_ref().take(10_000).any(|snapshot| expected(&snapshot)));
        }

        fn stop(self) -> Snapshot {
            self.requests.send(Request::Stop).unwrap();
            self.wake.ring();
            self.thread.join().unwrap().unwrap()
        }
    }

    fn start(events: Option<SyncSender<Stamped>>) -> (UnixDatagram, Running) {
        start_with(events, true)
    }

    fn start_with(events: Option<SyncSender<Stamped>>, takes_packets: bool) -> (UnixDatagram, Running) {
        start_as(events, takes_packets, None)
    }

    fn start_as(
        events: Option<SyncSender<Stamped>>,
        takes_packets: bool,
        evidence: Option<Evidence>,
    ) -> (UnixDatagram, Running) {
        let (network, device) = UnixDatagram::pair().unwrap();
        device.set_nonblocking(true).unwrap();
        network.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let (requests, received) = channel();
        let wake = Wake::new().unwrap();
        let clock = Clock::start();
        let config = config("198.51.100.1", 1);
        let worker = Worker {
            device: Socket { socket: device, takes_packets },
            aftr: Aftr::new(&config, TtlBy::Kernel, &Seed::from_number(1), clock.now()),
            clock,
            requests: received,
            wake: wake.clone(),
            events,
            evidence,
            exchange: None,
            unsent: 0,
            events_lost: 0,
        };
        (network, Running { requests, wake, thread: std::thread::spawn(move || worker.run()) })
    }

    /// An empty UDP packet of 10.0.0.2 to 203.0.113.1, in a softwire of `b4`.
    fn from_b4(b4: [u8; 16]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 28, 4, 64];
        packet.extend(b4);
        packet.extend([0x20, 1, 0xd, 0xb8, 0xaa, 0xaa, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        let mut inner = [0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 2, 203, 0, 113, 1];
        let sum = checksum::of(&inner);
        inner[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(inner);
        packet.extend([0x13, 0x88, 0, 80, 0, 8, 0, 0]);
        packet
    }
}
