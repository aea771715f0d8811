//! The catalogue's test bed.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use aftr::engine::{Config, Counters, DropReason, Event, EventKind, Instant, Seed, Team, TtlBy, Verdict};
use aftr::wire::{Packet, Side};
use pnet_packet::Packet as _;
use pnet_packet::icmp::IcmpPacket;
use pnet_packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet_packet::ipv4::{Ipv4Packet, MutableIpv4Packet};
use pnet_packet::ipv6::{Ipv6Packet, MutableIpv6Packet};
use pnet_packet::tcp::{MutableTcpPacket, TcpPacket};
use pnet_packet::udp::{MutableUdpPacket, UdpPacket};

/// The AFTR's address, and a second one.
pub(crate) const T: &str = "2001:db8:ff::1";
pub(crate) const T2: &str = "2001:db8:ff::2";
/// B4s: A and A2 are one /56, B is another, X is nobody's.
pub(crate) const A: &str = "2001:db8:0:a00::1";
pub(crate) const A2: &str = "2001:db8:0:a00::2";
pub(crate) const A3: &str = "2001:db8:0:a01::3";
pub(crate) const B: &str = "2001:db8:0:b00::1";
pub(crate) const X: &str = "2001:db8:dead::1";
/// Remote hosts, and the host behind each B4.
pub(crate) const R1: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
pub(crate) const R2: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
pub(crate) const H: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// A pool of one address, which all homes share.
pub(crate) const ONE_ADDRESS: &str =
    "[[nat.external-ip-address-pool]]\npool-id = 1\nexternal-ip-pool = [\"192.0.2.1\"]";

/// TCP flags.
pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

/// Says which row of the catalogue a test proves; `docs` and a later script collect these.
pub(crate) fn covers(id: &str) {
    println!("covers {id}");
}

/// An IPv4 packet with what a case may want to change.
#[derive(Debug, Clone)]
pub(crate) struct Inner {
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    pub(crate) identification: u16,
    /// DF 2, MF 1.
    pub(crate) flags: u8,
    /// In octets.
    pub(crate) offset: usize,
    /// Octets, a multiple of four.
    pub(crate) options: Vec<u8>,
    pub(crate) protocol: IpNextHeaderProtocol,
    pub(crate) payload: Vec<u8>,
}

impl Inner {
    /// Without DF, with this identification.
    pub(crate) fn loose(mut self, identification: u16) -> Inner {
        (self.flags, self.identification) = (0, identification);
        self
    }

    pub(crate) fn with_options(mut self, options: &[u8]) -> Inner {
        self.options = options.to_vec();
        self
    }

    /// With a UDP payload of so many octets, and a right checksum.
    pub(crate) fn with_data(mut self, length: usize) -> Inner {
        self.payload.truncate(8);
        self.payload.extend((0..length).map(|at| (at * 7) as u8));
        self.payload[4..6].copy_from_slice(&((8 + length) as u16).to_be_bytes());
        self.with_transport_checksum()
    }

    /// The pieces of a datagram, cut at these octets of its payload; a cut that is no multiple of eight goes
    /// wrong, as it should.
    pub(crate) fn cut_at(&self, cuts: &[usize]) -> Vec<Inner> {
        let ends: Vec<usize> = cuts.iter().copied().chain([self.payload.len()]).collect();
        let starts = [0].into_iter().chain(cuts.iter().copied());
        starts.zip(&ends).map(|(start, &end)| self.piece(start, end)).collect()
    }

    /// The piece from `start` to `end`.
    pub(crate) fn piece(&self, start: usize, end: usize) -> Inner {
        Inner {
            payload: self.payload[start..end].to_vec(),
            offset: start,
            flags: self.flags | u8::from(end < self.payload.len()),
            ..self.clone()
        }
    }

    pub(crate) fn ttl(mut self, ttl: u8) -> Inner {
        self.ttl = ttl;
        self
    }

    pub(crate) fn tos(mut self, tos: u8) -> Inner {
        self.tos = tos;
        self
    }

    pub(crate) fn sent_by(mut self, source: Ipv4Addr) -> Inner {
        self.source = source;
        self.with_transport_checksum()
    }

    pub(crate) fn sent_to(mut self, destination: Ipv4Addr) -> Inner {
        self.destination = destination;
        self.with_transport_checksum()
    }

    /// Header and payload, both checksums right.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let header = 20 + self.options.len();
        let mut bytes = vec![0; header + self.payload.len()];
        bytes[20..header].copy_from_slice(&self.options);
        let mut ip = MutableIpv4Packet::new(&mut bytes).expect("room");
        ip.set_version(4);
        ip.set_header_length((header / 4) as u8);
        ip.set_total_length((header + self.payload.len()) as u16);
        ip.set_identification(self.identification);
        ip.set_fragment_offset((self.offset / 8) as u16);
        ip.set_dscp(self.tos >> 2);
        ip.set_ecn(self.tos & 3);
        ip.set_flags(self.flags);
        ip.set_ttl(self.ttl);
        ip.set_next_level_protocol(self.protocol);
        ip.set_source(self.source);
        ip.set_destination(self.destination);
        ip.set_payload(&self.payload);
        let sum = pnet_packet::ipv4::checksum(&ip.to_immutable());
        ip.set_checksum(sum);
        bytes
    }

    pub(crate) fn with_transport_checksum(mut self) -> Inner {
        let (source, destination) = (self.source, self.destination);
        if self.protocol == IpNextHeaderProtocols::Udp {
            let mut udp = MutableUdpPacket::new(&mut self.payload).expect("udp");
            udp.set_checksum(0);
            let sum = pnet_packet::udp::ipv4_checksum(&udp.to_immutable(), &source, &destination);
            udp.set_checksum(if sum == 0 { 0xffff } else { sum });
        } else if self.protocol == IpNextHeaderProtocols::Tcp {
            let mut tcp = MutableTcpPacket::new(&mut self.payload).expect("tcp");
            tcp.set_checksum(0);
            let sum = pnet_packet::tcp::ipv4_checksum(&tcp.to_immutable(), &source, &destination);
            tcp.set_checksum(sum);
        }
        self
    }
}

fn inner(source: Ipv4Addr, destination: Ipv4Addr, protocol: IpNextHeaderProtocol, payload: Vec<u8>) -> Inner {
    Inner {
        source,
        destination,
        ttl: 64,
        tos: 0,
        identification: 0,
        flags: 2,
        offset: 0,
        options: Vec::new(),
        protocol,
        payload,
    }
    .with_transport_checksum()
}

pub(crate) fn udp(source: Ipv4Addr, sport: u16, destination: Ipv4Addr, dport: u16) -> Inner {
    let mut payload = vec![0; 26];
    let mut udp = MutableUdpPacket::new(&mut payload).expect("room");
    udp.set_source(sport);
    udp.set_destination(dport);
    udp.set_length(26);
    udp.set_payload(b"eighteen bytes hi!");
    inner(source, destination, IpNextHeaderProtocols::Udp, payload)
}

pub(crate) fn tcp(source: Ipv4Addr, sport: u16, destination: Ipv4Addr, dport: u16, flags: u8) -> Inner {
    let mut payload = vec![0; 20];
    let mut tcp = MutableTcpPacket::new(&mut payload).expect("room");
    tcp.set_source(sport);
    tcp.set_destination(dport);
    tcp.set_sequence(1000);
    tcp.set_data_offset(5);
    tcp.set_flags(flags);
    inner(source, destination, IpNextHeaderProtocols::Tcp, payload)
}

/// An ICMP message: type, code, rest of header, body.
pub(crate) fn icmp(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    kind: u8,
    code: u8,
    rest: [u8; 4],
    body: &[u8],
) -> Inner {
    let mut payload = vec![kind, code, 0, 0];
    payload.extend_from_slice(&rest);
    payload.extend_from_slice(body);
    let sum = pnet_packet::icmp::checksum(&IcmpPacket::new(&payload).expect("icmp"));
    payload[2..4].copy_from_slice(&sum.to_be_bytes());
    inner(source, destination, IpNextHeaderProtocols::Icmp, payload)
}

pub(crate) fn echo(source: Ipv4Addr, destination: Ipv4Addr, kind: u8, identifier: u16) -> Inner {
    let [a, b] = identifier.to_be_bytes();
    icmp(source, destination, kind, 0, [a, b, 0, 1], b"ping")
}

/// Puts an IPv4 packet into a softwire; `extension` stands between the headers.
pub(crate) fn encapsulate(
    b4: &str,
    aftr: &str,
    class: u8,
    next: u8,
    extension: &[u8],
    inner: &[u8],
) -> Vec<u8> {
    let payload = [extension, inner].concat();
    let mut bytes = vec![0; 40 + payload.len()];
    let mut ip = MutableIpv6Packet::new(&mut bytes).expect("room");
    ip.set_version(6);
    ip.set_traffic_class(class);
    ip.set_payload_length(payload.len() as u16);
    ip.set_next_header(IpNextHeaderProtocol(next));
    ip.set_hop_limit(64);
    ip.set_source(b4.parse().expect("an address"));
    ip.set_destination(aftr.parse().expect("an address"));
    ip.set_payload(&payload);
    bytes
}

/// What came of a packet: the verdict, and the bytes that leave, if any do.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    pub(crate) bytes: Vec<u8>,
}

impl Outcome {
    /// The IPv4 packet that left to the Internet.
    pub(crate) fn to_internet(&self) -> Seen {
        assert_eq!(self.verdict, Verdict::ToInternet, "{self:?}");
        Seen::read(&self.bytes)
    }

    /// The bytes that left to the Internet, of which the transport checksum cannot be read.
    pub(crate) fn to_internet_unread(&self) -> Vec<u8> {
        assert_eq!(self.verdict, Verdict::ToInternet, "{self:?}");
        self.bytes.clone()
    }

    /// The IPv4 packet that left into the softwire of `b4`.
    pub(crate) fn to_b4(&self, b4: &str) -> Seen {
        assert_eq!(self.verdict, Verdict::ToB4, "{self:?}");
        self.inside(b4)
    }

    pub(crate) fn inside(&self, b4: &str) -> Seen {
        let outer = Ipv6Packet::new(&self.bytes).expect("an IPv6 packet");
        assert_eq!(outer.get_destination(), b4.parse::<Ipv6Addr>().expect("an address"));
        assert_eq!(usize::from(outer.get_payload_length()), self.bytes.len() - 40);
        Seen::read(outer.payload())
    }

    /// The outer header.
    pub(crate) fn outer(&self) -> Ipv6Packet<'_> {
        Ipv6Packet::new(&self.bytes).expect("an IPv6 packet")
    }

    pub(crate) fn dropped(&self, reason: DropReason) {
        assert_eq!(self.verdict, Verdict::Drop(reason), "{self:?}");
    }

    /// Dropped, and the host behind `b4` is told by 192.0.0.1.
    pub(crate) fn rejected(&self, b4: &str, reason: DropReason, kind: u8, code: u8) -> Seen {
        assert_eq!(self.verdict, Verdict::Reject(reason), "{self:?}");
        let seen = self.inside(b4);
        assert_eq!(seen.source, Ipv4Addr::new(192, 0, 0, 1));
        assert_eq!((seen.payload[0], seen.payload[1]), (kind, code), "{seen:?}");
        seen
    }

    /// Dropped, and the sender is told by ICMPv6.
    pub(crate) fn rejected6(&self, reason: DropReason, kind: u8, code: u8) -> u32 {
        assert_eq!(self.verdict, Verdict::Reject(reason), "{self:?}");
        let outer = self.outer();
        assert_eq!(outer.get_next_header().0, 58);
        assert!(self.bytes.len() <= 1280);
        let message = outer.payload();
        let icmp = pnet_packet::icmpv6::Icmpv6Packet::new(message).expect("icmpv6");
        let sum = pnet_packet::icmpv6::checksum(&icmp, &outer.get_source(), &outer.get_destination());
        assert_eq!(icmp.get_checksum(), sum);
        assert_eq!((message[0], message[1]), (kind, code));
        u32::from_be_bytes([message[4], message[5], message[6], message[7]])
    }
}

/// An IPv4 packet as pnet reads it; both checksums were right.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    pub(crate) sport: u16,
    pub(crate) dport: u16,
    pub(crate) payload: Vec<u8>,
    pub(crate) bytes: Vec<u8>,
}

impl Seen {
    pub(crate) fn read(bytes: &[u8]) -> Seen {
        let seen = Seen::read_unchecked(bytes);
        assert!(seen.transport_checksum_is_right(), "transport checksum of {seen:?}");
        seen
    }

    /// The same, whatever the transport checksum is.
    pub(crate) fn read_unchecked(bytes: &[u8]) -> Seen {
        let ip = Ipv4Packet::new(bytes).expect("an IPv4 packet");
        assert_eq!(ip.get_checksum(), pnet_packet::ipv4::checksum(&ip), "header checksum");
        assert_eq!(usize::from(ip.get_total_length()), bytes.len(), "total length");
        assert_ne!(ip.get_ttl(), 0, "INV-4");
        let payload = bytes[usize::from(ip.get_header_length()) * 4..].to_vec();
        let word = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
        let (sport, dport) = match ip.get_next_level_protocol() {
            IpNextHeaderProtocols::Icmp => (word(4), word(4)),
            _ => (word(0), word(2)),
        };
        Seen {
            source: ip.get_source(),
            destination: ip.get_destination(),
            ttl: ip.get_ttl(),
            tos: ip.get_dscp() << 2 | ip.get_ecn(),
            sport,
            dport,
            payload,
            bytes: bytes.to_vec(),
        }
    }

    fn transport_checksum_is_right(&self) -> bool {
        let ip = Ipv4Packet::new(&self.bytes).expect("an IPv4 packet");
        let (source, destination) = (&self.source, &self.destination);
        match ip.get_next_level_protocol() {
            IpNextHeaderProtocols::Udp => {
                let udp = UdpPacket::new(&self.payload).expect("udp");
                let sum = pnet_packet::udp::ipv4_checksum(&udp, source, destination);
                udp.get_checksum() == 0 || udp.get_checksum() == if sum == 0 { 0xffff } else { sum }
            }
            IpNextHeaderProtocols::Tcp => {
                let tcp = TcpPacket::new(&self.payload).expect("tcp");
                tcp.get_checksum() == pnet_packet::tcp::ipv4_checksum(&tcp, source, destination)
            }
            _ => {
                let icmp = IcmpPacket::new(&self.payload).expect("icmp");
                icmp.get_checksum() == pnet_packet::icmp::checksum(&icmp)
            }
        }
    }

    /// Where it says it is from.
    pub(crate) fn from(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.source, self.sport)
    }

    /// Where it goes.
    pub(crate) fn to(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.destination, self.dport)
    }

    /// The packet that an ICMP error quotes.
    pub(crate) fn quoted(&self) -> &[u8] {
        &self.payload[8..]
    }
}

/// The engine and its clock.
pub(crate) struct Bed {
    pub(crate) aftr: Team,
    workers: u16,
    pub(crate) now: Instant,
    pub(crate) events: Vec<Event>,
}

/// The bed's configuration; `softwire` and `nat` are lines for these sections, `rest` follows.
pub(crate) fn config(softwire: &str, nat: &str, rest: &str) -> Config {
    let text = format!(
        r#"
        [softwire]
        aftr-ipv6-addr = ["{T}", "{T2}"]
        b4-prefixes = ["2001:db8::/48"]
        {}
        {softwire}
        [nat]
        {nat}
        {}
        {rest}
        "#,
        if softwire.contains("subscriber-mask-v6") { "" } else { "subscriber-mask-v6 = 56" },
        if rest.contains("external-ip-address-pool") {
            ""
        } else {
            "[[nat.external-ip-address-pool]]\npool-id = 1\nexternal-ip-pool = [\"192.0.2.0/28\", \"198.51.100.7\"]"
        },
    );
    Config::parse(&text).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"))
}

/// With `WORKERS=2` in the environment, whatever is tested is done by two workers together; but untranslated
/// packets, which only one can know.
fn workers(config: &Config) -> u16 {
    let asked = std::env::var("WORKERS").map_or(1, |workers| workers.parse().expect("a number"));
    if config.nat.nat_pass_through.is_empty() { asked } else { 1 }
}

fn with_workers(workers: u16, config: &Config) -> Config {
    let mut config = config.clone();
    config.dataplane.workers = workers;
    config
}

impl Bed {
    pub(crate) fn new() -> Bed {
        Bed::with("", "", "")
    }

    pub(crate) fn with(softwire: &str, nat: &str, rest: &str) -> Bed {
        Bed::of(&config(softwire, nat, rest), TtlBy::Engine)
    }

    pub(crate) fn of(config: &Config, ttl: TtlBy) -> Bed {
        Bed::of_workers(workers(config), config, ttl)
    }

    /// What holds for one worker's tables and addresses only, whatever the environment says.
    pub(crate) fn of_one_worker(softwire: &str, nat: &str, rest: &str) -> Bed {
        Bed::of_workers(1, &config(softwire, nat, rest), TtlBy::Engine)
    }

    /// What crosses from one worker to another.
    pub(crate) fn of_workers_together(workers: u16, softwire: &str, nat: &str, rest: &str) -> Bed {
        Bed::of_workers(workers, &config(softwire, nat, rest), TtlBy::Engine)
    }

    fn of_workers(workers: u16, config: &Config, ttl: TtlBy) -> Bed {
        let now = Instant::from_secs(100_000);
        let aftr = Team::new(&with_workers(workers, config), ttl, &Seed::from_number(7), now);
        Bed { aftr, workers, now, events: Vec::new() }
    }

    /// Takes over a configuration, with as many workers as there are.
    pub(crate) fn reconfigure(&mut self, config: &Config) -> Result<(), Vec<&'static str>> {
        self.aftr.reconfigure(&with_workers(self.workers, config), self.now)
    }

    /// Any bytes from any side.
    pub(crate) fn send(&mut self, bytes: &[u8], side: Side) -> Outcome {
        let mut packet = Packet::copied_from(bytes, side);
        let verdict = self.aftr.packet(&mut packet, self.now);
        self.assert_balance();
        self.fetch_events();
        Outcome { verdict, bytes: packet.bytes().to_vec() }
    }

    pub(crate) fn up(&mut self, b4: &str, inner: Inner) -> Outcome {
        self.send(&encapsulate(b4, T, inner.tos, 4, &[], &inner.bytes()), Side::B4)
    }

    pub(crate) fn down(&mut self, inner: Inner) -> Outcome {
        self.send(&inner.bytes(), Side::Internet)
    }

    /// Opens a UDP mapping to R1:80; gives the external address and port.
    pub(crate) fn open_udp(&mut self, b4: &str, port: u16) -> SocketAddrV4 {
        self.up(b4, udp(H, port, R1, 80)).to_internet().from()
    }

    /// A TCP handshake from behind a B4 with R1:80; gives the external address and port.
    pub(crate) fn open_tcp(&mut self, b4: &str, port: u16) -> SocketAddrV4 {
        let external = self.up(b4, tcp(H, port, R1, 80, SYN)).to_internet().from();
        self.down(tcp(R1, 80, *external.ip(), external.port(), SYN | ACK)).to_b4(b4);
        self.up(b4, tcp(H, port, R1, 80, ACK)).to_internet();
        external
    }

    /// Whether R1:80 gets through to an external UDP address and port.
    pub(crate) fn udp_reaches(&mut self, external: SocketAddrV4) -> bool {
        self.down(udp(R1, 80, *external.ip(), external.port())).verdict == Verdict::ToB4
    }

    /// Turns the clock as a daemon would: the engine is called whenever it asks to be.
    pub(crate) fn advance(&mut self, secs: u64) -> Vec<(Vec<u8>, Side)> {
        self.advance_millis(secs * 1000)
    }

    pub(crate) fn advance_millis(&mut self, millis: u64) -> Vec<(Vec<u8>, Side)> {
        let end = Instant::from_millis(self.now.millis() + millis);
        let mut sent = Vec::new();
        while let Some(due) = self.aftr.poll_timeout().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            self.aftr.handle_timeout(self.now);
            while let Some((packet, side)) = self.aftr.poll_packet() {
                sent.push((packet.bytes().to_vec(), side));
            }
            self.fetch_events();
            self.assert_balance();
        }
        self.now = end;
        sent
    }

    /// The pieces that follow the packet sent last.
    pub(crate) fn pieces(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.aftr.poll_packet()).map(|(packet, _)| packet.bytes().to_vec()).collect()
    }

    pub(crate) fn assert_balance(&self) {
        let (came, went) = balance(&self.aftr.counters());
        assert_eq!(came, went, "INV-7: what came, and what became of it");
    }

    pub(crate) fn fetch_events(&mut self) {
        while let Some(event) = self.aftr.poll_event() {
            self.events.push(event);
        }
    }

    pub(crate) fn count_events(&self, is_it: impl Fn(&EventKind) -> bool) -> usize {
        self.events.iter().filter(|event| is_it(&event.kind)).count()
    }

    pub(crate) fn mappings(&self) -> usize {
        self.aftr.mappings(self.now).count()
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.aftr.counters().dropped(reason)
    }

    /// ORD-4: nothing was made.
    pub(crate) fn assert_no_state(&self) {
        assert_eq!(self.mappings(), 0, "a mapping was made");
        assert_eq!(self.aftr.subscribers().count(), 0, "a subscriber was made");
    }
}

/// Packets that came, or went on after they were held; and those that left, were dropped or kept.
fn balance(counters: &Counters) -> (u64, u64) {
    let out = counters.to_internet.packets
        + counters.to_b4.packets
        + counters.to_workers.packets
        + counters.replies.packets;
    let came = counters.from_b4.packets + counters.from_internet.packets + counters.from_workers.packets;
    let kept = counters.held + counters.fragments_held + counters.tunnel_errors;
    (came + counters.fragments_resumed, out + kept + counters.dropped_in_total())
}
