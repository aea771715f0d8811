//! An IPv4 packet as the model reads and writes it: bytes, and arithmetic as slow as the RFCs tell it.

use std::net::{Ipv4Addr, SocketAddrV4};

use aftr::engine::DropReason;

use crate::story::Kind;

/// A packet, or a piece of one, whose header is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ip {
    pub(crate) bytes: Vec<u8>,
    /// The datagram of the story that it is of; 0 when it is of none, or of several.
    pub(crate) number: u32,
}

/// Which end is translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Source,
    Destination,
}

impl End {
    fn address_at(self) -> usize {
        if self == End::Source { 12 } else { 16 }
    }

    fn port_at(self, kind: Kind) -> usize {
        match (kind, self) {
            (Kind::Icmp, _) => 4,
            (_, End::Source) => 0,
            (_, End::Destination) => 2,
        }
    }
}

/// What stands behind the IPv4 header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) kind: Kind,
    /// TCP flags.
    pub(crate) flags: u8,
    /// Ports; for ICMP the identifier on both sides.
    pub(crate) source: SocketAddrV4,
    pub(crate) destination: SocketAddrV4,
    pub(crate) icmp: Icmp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Icmp {
    None,
    Request,
    Reply,
    Error,
}

pub(crate) fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn set_word(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// The ones' complement sum of RFC 1071, folded.
pub(crate) fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// RFC 1624 equation 3: HC' = ~(~HC + ~m + m').
fn adjusted(checksum: u16, old: &[u8], new: &[u8]) -> u16 {
    let old: Vec<u8> = old.iter().map(|byte| !byte).collect();
    !sum(&[&(!checksum).to_be_bytes()[..], &old, new].concat())
}

impl Ip {
    /// Checks a header as RFC 1812 section 5.2.2 asks, and cuts the packet to its length. Gives what is
    /// wrong: the reason inside a softwire, and the one on the external side.
    pub(crate) fn read(bytes: &[u8], number: u32) -> Result<Ip, (DropReason, DropReason)> {
        use DropReason::{InChecksum, InIhl, InLen, InShort, InVersion};
        use DropReason::{X4Checksum, X4Ihl, X4Len, X4Short, X4Version};
        if bytes.len() < 20 {
            return Err((InShort, X4Short));
        }
        if bytes[0] >> 4 != 4 {
            return Err((InVersion, X4Version));
        }
        let header = usize::from(bytes[0] & 15) * 4;
        if header < 20 || header > bytes.len() {
            return Err((InIhl, X4Ihl));
        }
        let length = usize::from(word(bytes, 2));
        if length < header || length > bytes.len() {
            return Err((InLen, X4Len));
        }
        if sum(&bytes[..header]) != 0xffff {
            return Err((InChecksum, X4Checksum));
        }
        Ok(Ip { bytes: bytes[..length].to_vec(), number })
    }

    pub(crate) fn header(&self) -> usize {
        usize::from(self.bytes[0] & 15) * 4
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.bytes[self.header()..]
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn tos(&self) -> u8 {
        self.bytes[1]
    }

    pub(crate) fn id(&self) -> u16 {
        word(&self.bytes, 4)
    }

    pub(crate) fn df(&self) -> bool {
        self.bytes[6] & 0x40 != 0
    }

    pub(crate) fn more(&self) -> bool {
        self.bytes[6] & 0x20 != 0
    }

    pub(crate) fn offset(&self) -> usize {
        usize::from(word(&self.bytes, 6) & 0x1fff) * 8
    }

    pub(crate) fn is_piece(&self) -> bool {
        self.more() || self.offset() > 0
    }

    /// RFC 6864 section 4.1.
    pub(crate) fn is_atomic(&self) -> bool {
        self.df() && !self.is_piece()
    }

    pub(crate) fn ttl(&self) -> u8 {
        self.bytes[8]
    }

    pub(crate) fn protocol(&self) -> u8 {
        self.bytes[9]
    }

    pub(crate) fn source(&self) -> Ipv4Addr {
        address(&self.bytes, 12)
    }

    pub(crate) fn destination(&self) -> Ipv4Addr {
        address(&self.bytes, 16)
    }

    /// The piece of the payload from `start` to `end`, cut by its sender.
    pub(crate) fn piece(&self, start: usize, end: usize) -> Ip {
        let payload = self.payload();
        let header = &self.bytes[..self.header()];
        let mut piece =
            Ip { bytes: [header, &payload[start..end]].concat(), number: self.number }.with_length();
        let flags = word(&piece.bytes, 6) & 0xc000;
        let more = if end < payload.len() { 0x2000 } else { 0 };
        set_word(&mut piece.bytes, 6, flags | more | (start / 8) as u16);
        piece.sealed()
    }

    fn with_length(mut self) -> Ip {
        let length = self.bytes.len() as u16;
        set_word(&mut self.bytes, 2, length);
        self
    }

    /// With a header checksum made from scratch.
    pub(crate) fn sealed(mut self) -> Ip {
        let header = self.header();
        seal(&mut self.bytes[..header]);
        self
    }

    pub(crate) fn with_ttl(mut self, ttl: u8) -> Ip {
        self.bytes[8] = ttl;
        self.sealed()
    }

    pub(crate) fn with_tos(mut self, tos: u8) -> Ip {
        self.bytes[1] = tos;
        self.sealed()
    }

    pub(crate) fn with_id(mut self, id: u16) -> Ip {
        set_word(&mut self.bytes, 4, id);
        self.sealed()
    }

    /// With another address at one end, and nothing else: a piece that has no ports.
    pub(crate) fn with_address(mut self, end: End, address: Ipv4Addr) -> Ip {
        self.bytes[end.address_at()..][..4].copy_from_slice(&address.octets());
        self.sealed()
    }

    /// Translated at one end.
    pub(crate) fn with_end(mut self, end: End, socket: SocketAddrV4) -> Ip {
        translate(&mut self.bytes, end, socket);
        self
    }

    /// RFC 9293 section 3.7.1, lowered: an MSS option that stands first.
    pub(crate) fn with_mss_of_at_most(mut self, limit: u16) -> Ip {
        let at = self.header();
        let segment = &mut self.bytes[at..];
        let has_option =
            segment.len() >= 24 && segment[12] >> 4 >= 6 && segment[20..22] == [2, 4] && segment[13] & 2 != 0;
        if has_option && word(segment, 22) > limit {
            let checksum = adjusted(word(segment, 16), &segment[22..24], &limit.to_be_bytes());
            set_word(segment, 22, limit);
            set_word(segment, 16, checksum);
        }
        self
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.protocol() {
            6 => Kind::Tcp,
            17 => Kind::Udp,
            _ => Kind::Icmp,
        }
    }

    pub(crate) fn source_port(&self, kind: Kind) -> u16 {
        word(self.payload(), End::Source.port_at(kind))
    }

    /// RFC 7126, for the options that stories use: a source route.
    pub(crate) fn has_forbidden_option(&self) -> bool {
        has_forbidden_option(&self.bytes)
    }

    /// What a NAT looks at; for a piece, the first one.
    pub(crate) fn segment(&self) -> Result<Segment, DropReason> {
        let payload = self.payload();
        let (kind, least) = match self.protocol() {
            17 => (Kind::Udp, 8),
            6 => (Kind::Tcp, 20),
            1 => (Kind::Icmp, 8),
            _ => return Err(DropReason::InProtocol),
        };
        if payload.len() < least {
            return Err(DropReason::L4Len);
        }
        let end = |address, at| SocketAddrV4::new(address, word(payload, at));
        let (source_at, destination_at) = (End::Source.port_at(kind), End::Destination.port_at(kind));
        let (source, destination) = (end(self.source(), source_at), end(self.destination(), destination_at));
        let flags = if kind == Kind::Tcp { payload[13] & 0x3f } else { 0 };
        let announced = match kind {
            Kind::Udp => usize::from(word(payload, 4)),
            Kind::Tcp => usize::from(payload[12] >> 4) * 4,
            Kind::Icmp => 8,
        };
        if announced < least || (announced > payload.len() && !self.is_piece()) {
            return Err(DropReason::L4Len);
        }
        let is_impossible = match kind {
            Kind::Udp => destination.port() == 0,
            Kind::Tcp => source.port() == 0 || destination.port() == 0,
            Kind::Icmp => false,
        };
        if is_impossible {
            return Err(DropReason::L4Port0);
        }
        if kind == Kind::Tcp && !is_sane(flags) {
            return Err(DropReason::TcpFlags);
        }
        let icmp = match (kind, payload[0]) {
            (Kind::Tcp | Kind::Udp, _) => Icmp::None,
            (_, 8 | 13) => Icmp::Request,
            (_, 0 | 14) => Icmp::Reply,
            (_, 3 | 11 | 12) if payload.len() > 8 && !self.is_piece() => Icmp::Error,
            (_, 3 | 11 | 12) => return Err(DropReason::IcmpQuoted),
            _ => return Err(DropReason::IcmpType),
        };
        Ok(Segment { kind, flags, source, destination, icmp })
    }

    /// Whether the checksum of the transport is right.
    pub(crate) fn is_sound(&self) -> bool {
        let payload = self.payload();
        match self.protocol() {
            1 => sum(payload) == 0xffff,
            17 if word(payload, 6) == 0 => true,
            protocol => {
                let length = (payload.len() as u16).to_be_bytes();
                let front = [&self.bytes[12..20], &[0, protocol], &length].concat();
                sum(&[&front, payload].concat()) == 0xffff
            }
        }
    }
}

pub(crate) fn has_forbidden_option(packet: &[u8]) -> bool {
    packet[0] & 15 > 5 && packet[20] == 131
}

/// Translates one end of a packet, or of what an error quotes of it: ports and checksums that are not
/// there are left alone.
pub(crate) fn translate(bytes: &mut [u8], end: End, socket: SocketAddrV4) {
    let header = usize::from(bytes[0] & 15) * 4;
    let kind = match bytes[9] {
        6 => Kind::Tcp,
        17 => Kind::Udp,
        _ => Kind::Icmp,
    };
    let (address_at, port_at) = (end.address_at(), header + end.port_at(kind));
    let checksum_at = header
        + match kind {
            Kind::Tcp => 16,
            Kind::Udp => 6,
            Kind::Icmp => 2,
        };
    let pseudo = if kind == Kind::Icmp { 0 } else { 4 };
    let old = [&bytes[address_at..address_at + pseudo], &bytes[port_at..port_at + 2]].concat();
    bytes[address_at..address_at + 4].copy_from_slice(&socket.ip().octets());
    set_word(bytes, port_at, socket.port());
    let new = [&bytes[address_at..address_at + pseudo], &bytes[port_at..port_at + 2]].concat();
    if bytes.len() >= checksum_at + 2 && (kind != Kind::Udp || word(bytes, checksum_at) != 0) {
        let checksum = match (kind, adjusted(word(bytes, checksum_at), &old, &new)) {
            (Kind::Udp, 0) => 0xffff,
            (_, checksum) => checksum,
        };
        set_word(bytes, checksum_at, checksum);
    }
    seal(&mut bytes[..header]);
}

/// Writes a header's checksum.
fn seal(header: &mut [u8]) {
    set_word(header, 10, 0);
    let checksum = !sum(header);
    set_word(header, 10, checksum);
}

fn address(bytes: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3])
}

fn is_sane(flags: u8) -> bool {
    let (fin, syn, rst, ack) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0, flags & 16 != 0);
    let conflict = [fin, syn, rst].iter().filter(|flag| **flag).count() > 1;
    !conflict && (syn || rst || ack)
}
