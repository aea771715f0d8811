//! Segmentation: one large packet of the kernel (GSO) becomes the packets that it stands for, as
//! `tcp_gso_segment` and `__udp_gso_segment` of Linux cut it.
//!
//! Each packet has the headers of the large one and a piece of its payload. Lengths, checksums, the
//! identification and TCP's sequence number count on; FIN and PSH stay with the last, CWR with the first.

use super::vnet_header::{SegmentKind, Segments};
use crate::wire::checksum;
use crate::wire::ipv4::{HEADER, Ipv4, protocol};
use crate::wire::tcp::{self, Tcp, flag};
use crate::wire::udp::{self, Udp};

/// Where the cutting of one large packet stands. The packet itself stays with its owner, unchanged.
#[derive(Debug)]
pub(super) struct Segmenter {
    kind: SegmentKind,
    /// Octets of the IPv4 header, and of it and the transport header.
    ip_length: usize,
    headers: usize,
    /// Octets of payload in each segment but the last.
    size: usize,
    /// Octets of the whole packet.
    length: usize,
    /// The next segment's number, and where its payload starts.
    number: u16,
    at: usize,
}

impl Segmenter {
    /// None for what is not such a packet: its headers must be whole, of the kind and not of a fragment,
    /// and a segment must fit into a packet.
    pub(super) fn new(packet: &[u8], segments: Segments) -> Option<Segmenter> {
        let ip = Ipv4::view(packet)?;
        let ip_length = ip.header_length();
        let transport = packet.get(ip_length..).filter(|_| ip.version() == 4 && ip_length >= HEADER)?;
        let (expected, transport_length) = match segments.kind {
            SegmentKind::Tcp4 => (protocol::TCP, Tcp::view(transport)?.header_length()),
            SegmentKind::Udp4 => (protocol::UDP, udp::HEADER),
            SegmentKind::Other => return None,
        };
        let headers = ip_length + transport_length;
        let size = usize::from(segments.size);
        let fits = headers < packet.len() && headers + size <= usize::from(u16::MAX);
        let is_tcp_header = segments.kind != SegmentKind::Tcp4 || transport_length >= tcp::HEADER;
        let is_ours = ip.protocol() == expected && !ip.is_fragment() && is_tcp_header;
        (is_ours && fits && size > 0).then_some(Segmenter {
            kind: segments.kind,
            ip_length,
            headers,
            size,
            length: packet.len(),
            number: 0,
            at: headers,
        })
    }

    /// Writes the next segment of `packet`, the one that this was made for, to the front of `buffer`, and
    /// says how long it is. None when that was all, or when it does not fit into `buffer`.
    pub(super) fn next(&mut self, packet: &[u8], buffer: &mut [u8]) -> Option<usize> {
        let end = (self.at + self.size).min(self.length);
        let length = self.headers + end - self.at;
        if self.at >= end || length > buffer.len() {
            return None;
        }
        let segment = &mut buffer[..length];
        segment[..self.headers].copy_from_slice(&packet[..self.headers]);
        segment[self.headers..].copy_from_slice(&packet[self.at..end]);
        let (ip, transport) = segment.split_at_mut(self.ip_length);
        self.write_ip(ip, length as u16);
        let pseudo = Ipv4::view(ip).map_or(0, |ip| {
            let length = transport.len() as u16;
            checksum::pseudo_header_v4(ip.source(), ip.destination(), length, ip.protocol())
        });
        match self.kind {
            SegmentKind::Udp4 => write_udp(transport, pseudo),
            SegmentKind::Tcp4 | SegmentKind::Other => self.write_tcp(transport, pseudo, end == self.length),
        }
        self.at = end;
        self.number = self.number.wrapping_add(1);
        Some(length)
    }

    fn write_ip(&self, header: &mut [u8], length: u16) {
        let identification = u16::from_be_bytes([header[4], header[5]]).wrapping_add(self.number);
        header[2..4].copy_from_slice(&length.to_be_bytes());
        header[4..6].copy_from_slice(&identification.to_be_bytes());
        header[10..12].fill(0);
        let sum = checksum::of(header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }

    fn write_tcp(&self, transport: &mut [u8], pseudo: u32, is_last: bool) {
        if let Some(header) = Tcp::view_mut(transport) {
            let before = (self.at - self.headers) as u32;
            header.sequence = header.sequence.get().wrapping_add(before).into();
            if !is_last {
                header.flags &= !(flag::FIN | flag::PSH);
            }
            if self.number > 0 {
                header.flags &= !flag::CWR;
            }
            header.checksum = 0.into();
        }
        let sum = checksum::finish(pseudo + checksum::sum(transport));
        if let Some(header) = Tcp::view_mut(transport) {
            header.checksum = sum.into();
        }
    }
}

/// The packets that a large one of TCP over IPv4 is cut into so that none is larger than `mtu`. None when it is
/// no such packet.
pub fn tcp_pieces(packet: &[u8], mtu: u16) -> impl Iterator<Item = Vec<u8>> {
    let headers = packet.get(HEADER + 12).map_or(0, |offset| HEADER + usize::from(offset >> 4) * 4);
    let size = mtu.saturating_sub(headers as u16);
    let mut segmenter = Segmenter::new(packet, Segments { kind: SegmentKind::Tcp4, size });
    std::iter::from_fn(move || {
        let mut piece = vec![0; usize::from(mtu)];
        let length = segmenter.as_mut()?.next(packet, &mut piece)?;
        piece.truncate(length);
        Some(piece)
    })
}

fn write_udp(transport: &mut [u8], pseudo: u32) {
    let length = transport.len() as u16;
    if let Some(header) = Udp::view_mut(transport) {
        header.length = length.into();
        header.checksum = 0.into();
    }
    // RFC 768: a computed 0 is sent as 0xffff.
    let sum = match checksum::finish(pseudo + checksum::sum(transport)) {
        0 => 0xffff,
        sum => sum,
    };
    if let Some(header) = Udp::view_mut(transport) {
        header.checksum = sum.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::traffic::{self, Flow, verify};

    const TCP: SegmentKind = SegmentKind::Tcp4;

    fn cut(packet: &[u8], kind: SegmentKind, size: u16) -> Option<Vec<Vec<u8>>> {
        traffic::cut(packet, Segments { kind, size })
    }

    #[test]
    fn lengths_numbers_and_checksums_count_on() {
        let flow = Flow { sequence: u32::MAX - 1000, identification: 0xffff, ..Flow::default() };
        let large = flow.packet(flag::ACK, 2500);
        let pieces = cut(&large, TCP, 1000).expect("segments");
        let seen: Vec<_> = pieces
            .iter()
            .map(|piece| {
                verify(piece);
                let (ip, tcp) = (Ipv4::view(piece).unwrap(), Tcp::view(&piece[20..]).unwrap());
                (ip.total_length(), ip.identification(), tcp.sequence.get())
            })
            .collect();
        let headers = flow.headers() as u16;
        assert_eq!(
            seen,
            [
                (headers + 1000, 0xffff, u32::MAX - 1000),
                (headers + 1000, 0, u32::MAX),
                (headers + 500, 1, 999)
            ]
        );
        let payload: Vec<u8> = pieces.iter().flat_map(|piece| piece[flow.headers()..].to_vec()).collect();
        assert_eq!(payload, large[flow.headers()..]);
    }

    #[test]
    fn fin_and_psh_stay_with_the_last_and_cwr_with_the_first() {
        let all = flag::ACK | flag::PSH | flag::FIN | flag::CWR | flag::ECE;
        let pieces = cut(&Flow::default().packet(all, 300), TCP, 100).expect("segments");
        let flags: Vec<u8> = pieces.iter().map(|piece| piece[20 + 13]).collect();
        let each = flag::ACK | flag::ECE;
        assert_eq!(flags, [each | flag::CWR, each, each | flag::PSH | flag::FIN]);
        pieces.iter().for_each(|piece| verify(piece));
    }

    #[test]
    fn udp_is_cut_into_datagrams_of_their_own() {
        let pieces = cut(&traffic::udp(1000), SegmentKind::Udp4, 400).expect("segments");
        let lengths: Vec<usize> = pieces.iter().map(Vec::len).collect();
        assert_eq!(lengths, [428, 428, 228]);
        for piece in &pieces {
            verify(piece);
            assert_eq!(Udp::view(&piece[20..]).unwrap().length.get() as usize, piece.len() - 20);
        }
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        let good = Flow::default().packet(flag::ACK, 500);
        assert!(cut(&good, TCP, 100).is_some());
        let changed = |at: usize, value: u8| {
            let mut packet = good.clone();
            packet[at] = value;
            packet
        };
        for (what, packet, kind, size) in [
            ("no size", good.clone(), TCP, 0),
            ("a segment larger than a packet", good.clone(), TCP, u16::MAX),
            ("another kind", good.clone(), SegmentKind::Udp4, 100),
            ("a kind we did not ask for", good.clone(), SegmentKind::Other, 100),
            ("IPv6", changed(0, 0x65), TCP, 100),
            ("an IPv4 header of 16", changed(0, 0x44), TCP, 100),
            ("a TCP header of 16", changed(20 + 12, 0x40), TCP, 100),
            ("a TCP header behind the end", good[..40].to_vec(), TCP, 100),
            ("a fragment", changed(6, 0x20), TCP, 100),
            ("no header", good[..19].to_vec(), TCP, 100),
            ("nothing", Vec::new(), TCP, 100),
        ] {
            assert_eq!(cut(&packet, kind, size), None, "{what}");
        }
    }

    #[test]
    fn a_segment_that_does_not_fit_ends_it() {
        let packet = Flow::default().packet(flag::ACK, 500);
        let mut segmenter = Segmenter::new(&packet, Segments { kind: TCP, size: 100 }).expect("segments");
        assert_eq!(segmenter.next(&packet, &mut [0; 100]), None);
    }
}
