//! Recipes to packets, with the ends that the story has met so far.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use super::packet::{self, ICMP, Ip, TCP, UDP};
use super::scenes::OURS;
use super::story::{Edit, Recipe};

/// A flow that left to the Internet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) protocol: u8,
    pub(super) external: SocketAddrV4,
    pub(super) remote: SocketAddrV4,
}

/// What a story has seen, newest last.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) known: Vec<Known>,
    /// What left into a softwire last.
    pub(super) to_b4: Vec<u8>,
}

const POOL_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const STATIC: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 9), 8080);
const AFTR_IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 1);
/// Octets of data behind a transport header.
const SIZES: [usize; 16] = [18, 18, 18, 18, 0, 1, 40, 100, 512, 1400, 1452, 1472, 1480, 3000, 5000, 18];

/// Homes of a /56 each, with some B4 addresses; 13 is no B4, 14 is in the prefix of home 0, 15 is nobody's.
pub(super) fn b4(number: u8) -> Ipv6Addr {
    match number & 15 {
        15 => Ipv6Addr::new(0x2001, 0xdb8, 0xdead, 0, 0, 0, 0, 1),
        13 => Ipv6Addr::LOCALHOST,
        14 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0xa01, 0, 0, 0, 3),
        home => {
            let prefix = 0xa00 + 0x100 * u16::from(home % 6);
            Ipv6Addr::new(0x2001, 0xdb8, 0, prefix, 0, 0, 0, 1 + u16::from(home / 6))
        }
    }
}

impl Recipe {
    /// The packet.
    pub(super) fn cook(&self, seen: &Seen) -> Vec<u8> {
        if self.from_b4 && matches!(self.shape % 16, 12 | 13) {
            return self.outer_icmp(seen);
        }
        let (inner, tos) = self.cook_inner(seen);
        let mut bytes = if self.from_b4 { self.encapsulate(inner, tos) } else { inner };
        self.edit_whole(&mut bytes);
        bytes
    }

    /// The packet inside, and all pieces: forwards or backwards, one of them perhaps missing, or coming twice.
    pub(super) fn cook_pieces(
        &self,
        seen: &Seen,
        outer: bool,
        unit: u8,
        order: u8,
    ) -> (Vec<u8>, Vec<Vec<u8>>) {
        let (inner, tos) = self.cook_inner(seen);
        if !is_plain(&inner) {
            return (inner, Vec::new());
        }
        let length = if outer { inner.len() } else { inner.len() - usize::from(inner[0] & 15) * 4 };
        let unit = (8 << unit).max(length.div_ceil(80).next_multiple_of(8));
        let mut pieces: Vec<Vec<u8>> = (0..length.div_ceil(unit))
            .map(|at| {
                let mut piece = inner.clone();
                if outer && self.from_b4 {
                    let (next, piece) = packet::cut_ipv6(4, &inner, unit, at, 1, self.number);
                    return packet::ipv6(b4(self.b4), ours(self.nth >> 2), 0, next, &piece);
                }
                packet::cut_ipv4(&mut piece, unit, at, 1);
                if self.from_b4 { self.encapsulate(piece, tos) } else { piece }
            })
            .collect();
        let at = usize::from(order >> 3) % pieces.len();
        match order & 7 {
            0 => pieces.reverse(),
            1 => pieces.rotate_left(at),
            2 => drop(pieces.remove(at)),
            3 => pieces.insert(0, pieces[at].clone()),
            4 => pieces.push(pieces[at].clone()),
            5 => self.edit_whole(&mut pieces[at]),
            _ => {}
        }
        (inner, pieces)
    }

    fn cook_inner(&self, seen: &Seen) -> (Vec<u8>, u8) {
        let inner = if self.from_b4 { self.host_packet(seen) } else { self.remote_packet(seen) };
        (self.edit_inner(inner.bytes()), inner.tos)
    }

    fn edit_whole(&self, bytes: &mut Vec<u8>) {
        for edit in &self.edits {
            match *edit {
                Edit::Outer { at, value } => patch(bytes, at, value),
                Edit::Truncate { to } => bytes.truncate(to.into()),
                Edit::Inner { .. } | Edit::Cut { .. } | Edit::Trailer { .. } => {}
                Edit::Extension { .. } | Edit::CutOuter { .. } => {}
            }
        }
    }

    fn host(&self) -> Ipv4Addr {
        [
            Ipv4Addr::new(10, 0, 0, 2),
            Ipv4Addr::new(10, 0, 0, 3),
            Ipv4Addr::new(192, 168, 1, 1),
            Ipv4Addr::new(192, 0, 0, 2),
        ][usize::from(self.host & 3)]
    }

    fn port(&self) -> u16 {
        5000 + u16::from(self.flags >> 6) + u16::from(self.port)
    }

    fn tcp_flags(&self) -> u8 {
        [0x02, 0x12, 0x10, 0x22, 0x11, 0x04, 0x14, self.flags & 0x3f][usize::from(self.flags & 7)]
    }

    fn known(&self, seen: &Seen) -> Known {
        let external = Known { protocol: TCP, external: STATIC, remote: SocketAddrV4::new(remote(0), 80) };
        let nth = usize::from(self.nth);
        seen.known.iter().rev().nth(nth).or(seen.known.last()).copied().unwrap_or(external)
    }

    fn ip(&self, source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: Vec<u8>) -> Ip {
        let ttl = [64, 128, 255, 2, 64, 64, 64, 1][usize::from(self.ttl % 8)];
        let tos = [0, 1, 2, 3, 0xb8, 0x03, 0x02, 0xff][usize::from(self.ttl / 8)];
        let options: &[u8] = match self.size >> 4 {
            13 if self.number & 1 == 0 => &[1, 1, 1, 0],
            13 => &[0x5e, 4, 0, 0],
            14 => &[0x94, 4, 0, 0],
            15 if self.number & 7 == 0 => &[7, 7, 4, 0, 0, 0, 0, 0],
            _ => &[],
        };
        Ip { source, destination, protocol, ttl, tos, number: self.number, options, payload }
    }

    fn size(&self) -> usize {
        SIZES[usize::from(self.size & 15)]
    }

    fn host_packet(&self, seen: &Seen) -> Ip {
        let known = self.known(seen);
        let (host, port, flags) = (self.host(), self.port(), self.flags);
        let to = SocketAddrV4::new(remote(self.remote), [80, 53, 443, 25][usize::from(self.class & 3)]);
        let far = |protocol, payload| self.ip(host, *to.ip(), protocol, payload);
        let quoted = |source: SocketAddrV4, target: SocketAddrV4, protocol| {
            let payload = match protocol {
                TCP => packet::tcp(source.port(), target.port(), 16, 0),
                ICMP => packet::icmp(0, 0, [target.port(), 1], b"pong"),
                _ => packet::udp(source.port(), target.port(), self.size()),
            };
            sealed(self.ip(*source.ip(), *target.ip(), protocol, payload))
        };
        match self.shape % 16 {
            0 | 1 => far(UDP, packet::udp(port, to.port(), self.size())),
            2 | 3 => far(TCP, packet::tcp(port, to.port(), self.tcp_flags(), self.size())),
            4 => far(ICMP, packet::icmp(8, 0, [port, 1], &vec![7; self.size()])),
            5 => far(ICMP, packet::icmp([13, 0, 17, 5][usize::from(flags & 3)], 0, [port, 1], b"ping")),
            6 => {
                let kind = [3, 11, 12][usize::from(flags % 3)];
                let quoted =
                    quoted(to, SocketAddrV4::new(host, port), [UDP, TCP, ICMP][usize::from(self.number % 3)]);
                // To whom it quotes, or to another.
                let other = if flags & 0x20 == 0 { *to.ip() } else { remote(self.remote ^ 2) };
                self.ip(host, other, ICMP, packet::icmp(kind, flags >> 2 & 7, [0, 1300], &quoted))
            }
            7 => self.ip(
                host,
                *known.external.ip(),
                UDP,
                packet::udp(port, known.external.port(), self.size()),
            ),
            8 => self.ip(
                host,
                *known.external.ip(),
                TCP,
                packet::tcp(port, known.external.port(), self.tcp_flags(), self.size()),
            ),
            9 => {
                let quoted = quoted(known.external, SocketAddrV4::new(host, port), known.protocol);
                self.ip(host, *known.external.ip(), ICMP, packet::icmp(3, flags & 7, [0, 1300], &quoted))
            }
            10 => {
                let payload = match flags & 3 {
                    0 => packet::icmp(8, 0, [port, 1], &vec![7; self.size()]),
                    1 => packet::udp(port, 53, self.size()),
                    2 => packet::tcp(port, 80, self.tcp_flags(), 0),
                    _ => vec![1; 30],
                };
                self.ip(host, AFTR_IPV4, [ICMP, UDP, TCP, 47][usize::from(flags & 3)], payload)
            }
            11 => self.ip(host, *to.ip(), self.flags, vec![9; self.size()]),
            14 => self.ip(
                host,
                *known.remote.ip(),
                known.protocol,
                match known.protocol {
                    TCP => packet::tcp(port, known.remote.port(), self.tcp_flags(), self.size()),
                    UDP => packet::udp(port, known.remote.port(), self.size()),
                    _ => packet::icmp(8, 0, [port, 2], b"ping"),
                },
            ),
            _ => far(UDP, packet::udp(0, to.port(), self.size())),
        }
    }

    fn remote_packet(&self, seen: &Seen) -> Ip {
        let known = self.known(seen);
        let flags = self.flags;
        let to = known.external;
        let from = match self.remote {
            0..4 => known.remote,
            other => SocketAddrV4::new(remote(other - 3), 80),
        };
        let from = SocketAddrV4::new(*from.ip(), from.port().wrapping_add(self.port.into()));
        let near = |protocol, payload| self.ip(*from.ip(), *to.ip(), protocol, payload);
        match self.shape % 16 {
            0 | 1 => near(UDP, packet::udp(from.port(), to.port(), self.size())),
            2 | 3 => near(TCP, packet::tcp(from.port(), to.port(), self.tcp_flags(), self.size())),
            4 => near(
                ICMP,
                packet::icmp([0, 14][usize::from(flags & 1)], 0, [to.port(), 1], &vec![7; self.size()]),
            ),
            5 | 6 => {
                // About a packet of whom it is sent to, or of another.
                let known =
                    if flags & 0x40 == 0 { known } else { seen.known.first().copied().unwrap_or(known) };
                let whose = known.external;
                let payload = match known.protocol {
                    TCP => packet::tcp(whose.port(), from.port(), 16, self.size()),
                    UDP => packet::udp(whose.port(), from.port(), self.size()),
                    _ => packet::icmp(8, 0, [whose.port(), 1], b"ping"),
                };
                let quoted = sealed(self.ip(*whose.ip(), *from.ip(), known.protocol, payload));
                let kind = [3, 11, 12, 3][usize::from(flags & 3)];
                // Of whom it went to, or of a router on the way, which may have a private address.
                let router = if flags & 0x80 == 0 { *from.ip() } else { Ipv4Addr::new(172, 16, 0, 9) };
                let error = packet::icmp(kind, flags >> 2 & 7, [0, 1300], &quoted);
                self.ip(router, *to.ip(), ICMP, error)
            }
            7 => near(ICMP, packet::icmp([8, 13][usize::from(flags & 1)], 0, [to.port(), 1], b"ping")),
            8 => self.ip(
                *from.ip(),
                POOL_ADDRESS,
                TCP,
                packet::tcp(80, 1024 + u16::from(self.number), self.tcp_flags(), 0),
            ),
            9 => self.ip(*from.ip(), POOL_ADDRESS, UDP, packet::udp(80, 1024 + u16::from(self.number), 10)),
            10 | 11 => {
                // The answer to a packet that was passed through.
                let (far, host, port) = (remote(self.remote | 1), self.host(), self.port());
                match flags & 3 {
                    0 => self.ip(far, host, UDP, packet::udp(80, port, self.size())),
                    1 => self.ip(far, host, TCP, packet::tcp(80, port, 16, self.size())),
                    2 => self.ip(far, host, ICMP, packet::icmp(0, 0, [port, 1], b"pong")),
                    _ => {
                        // From there, or from a router on the way.
                        let quoted = sealed(self.ip(host, far, UDP, packet::udp(port, 80, 9)));
                        let router = if self.remote & 2 == 0 { far } else { remote(0) };
                        self.ip(router, host, ICMP, packet::icmp(3, flags >> 2 & 7, [0, 1300], &quoted))
                    }
                }
            }
            12 => near(self.flags, vec![3; self.size()]),
            _ => near(
                known.protocol,
                match known.protocol {
                    TCP => packet::tcp(from.port(), to.port(), self.tcp_flags(), self.size()),
                    UDP => packet::udp(from.port(), to.port(), self.size()),
                    _ => packet::icmp(0, 0, [to.port(), 1], b"pong"),
                },
            ),
        }
    }

    /// What a router or a neighbour on the way says to the AFTR itself.
    fn outer_icmp(&self, seen: &Seen) -> Vec<u8> {
        let (kind, body) = match self.shape % 16 {
            12 => (128, vec![5; self.size()]),
            _ => ([2, 1, 3, 4][usize::from(self.flags & 3)], self.quote(&seen.to_b4)),
        };
        let mtu = [1280, 1400, 1279, 0][usize::from(self.class & 3)];
        let mut message = packet::icmp(kind, self.flags >> 2 & 7, [0, mtu], &body);
        message.truncate(if kind == 128 { usize::MAX } else { 1232 });
        let bytes = packet::ipv6(b4(self.b4), ours(self.number), 0, 58, &message);
        let sum = packet::icmp6_sum(&bytes, &message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let (next, payload) = self.extend(58, message);
        let mut bytes = packet::ipv6(b4(self.b4), ours(self.number), 0, next, &payload);
        for edit in &self.edits {
            if let Edit::Outer { at, value } = *edit {
                patch(&mut bytes, at, value);
            }
        }
        bytes
    }

    /// A packet that left into a softwire, or one that could have been.
    fn quote(&self, to_b4: &[u8]) -> Vec<u8> {
        let mut quoted = to_b4.to_vec();
        if self.flags & 0x40 != 0 && quoted.get(6) == Some(&4) && is_plain(&quoted[40..]) {
            // By another, or to another.
            let at = if self.flags & 0x20 == 0 { 15 } else { 19 };
            quoted[40 + at] ^= 1 << (self.flags >> 7);
            packet::seal(&mut quoted[40..]);
        }
        quoted
    }

    fn edit_inner(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        for edit in &self.edits {
            if let Edit::Inner { at, value, then_sum: true } = *edit {
                patch(&mut bytes, at, value);
            }
        }
        packet::seal(&mut bytes);
        for edit in &self.edits {
            match *edit {
                Edit::Inner { at, value, then_sum: false } => patch(&mut bytes, at, value),
                Edit::Cut { unit, from, count } if is_plain(&bytes) => {
                    let [from, count] = [from & 31, count & 31].map(usize::from);
                    packet::cut_ipv4(&mut bytes, 8 << (unit & 7), from, count.max(1));
                }
                Edit::Trailer { count } => bytes.extend(vec![0xee; count.into()]),
                Edit::Cut { .. } | Edit::Inner { .. } | Edit::Extension { .. } => {}
                Edit::CutOuter { .. } | Edit::Outer { .. } | Edit::Truncate { .. } => {}
            }
        }
        bytes
    }

    fn encapsulate(&self, inner: Vec<u8>, tos: u8) -> Vec<u8> {
        let class = tos & !3 | [tos & 3, tos & 3, tos & 3, 0, 1, 3, 3, tos & 3][usize::from(self.nth)];
        let (next, payload) = self.extend(4, inner);
        packet::ipv6(b4(self.b4), ours(self.nth >> 2), class, next, &payload)
    }

    /// Puts extension headers in front of what an outer packet carries.
    fn extend(&self, mut next: u8, mut payload: Vec<u8>) -> (u8, Vec<u8>) {
        for edit in &self.edits {
            match *edit {
                Edit::Extension { kind, option } => {
                    let header = [next, 0, option, 4, 0, 0, 0, 0];
                    next = [60, 0, 43, 60][usize::from(kind & 3)];
                    payload.splice(0..0, header);
                }
                Edit::CutOuter { unit, from, count, number } => {
                    let [from, count] = [from & 31, count & 31].map(usize::from);
                    let unit = 8 << (unit & 7);
                    (next, payload) = packet::cut_ipv6(next, &payload, unit, from, count.max(1), number);
                }
                Edit::Inner { .. } | Edit::Cut { .. } | Edit::Trailer { .. } => {}
                Edit::Outer { .. } | Edit::Truncate { .. } => {}
            }
        }
        (next, payload)
    }
}

fn ours(number: u8) -> Ipv6Addr {
    OURS[usize::from(number & 1)].parse().expect("an address")
}

fn remote(number: u8) -> Ipv4Addr {
    match number {
        5 => Ipv4Addr::new(10, 99, 0, 1),
        6 => Ipv4Addr::new(192, 0, 2, 10),
        7 => Ipv4Addr::new(8, 8, 8, 8),
        near => Ipv4Addr::new(203, 0, 113, 1 + near),
    }
}

fn sealed(ip: Ip) -> Vec<u8> {
    let mut bytes = ip.bytes();
    packet::seal(&mut bytes);
    bytes
}

fn patch(bytes: &mut [u8], at: u16, value: u8) {
    if !bytes.is_empty() {
        let at = usize::from(at) % bytes.len();
        bytes[at] = value;
    }
}

/// Whether a header can be found, so that the packet can be cut.
fn is_plain(bytes: &[u8]) -> bool {
    bytes.len() > 20
        && bytes[0] >> 4 == 4
        && bytes[0] & 15 >= 5
        && usize::from(bytes[0] & 15) * 4 < bytes.len()
}
