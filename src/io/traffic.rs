//! Packets for the tests of segmentation and coalescing, and what is asked of them.

use super::segment::Segmenter;
use super::vnet_header::Segments;
use crate::wire::checksum;
use crate::wire::ipv4::Ipv4;

/// A TCP flow's next packet.
#[derive(Debug, Clone)]
pub(super) struct Flow {
    pub(super) source_port: u16,
    pub(super) sequence: u32,
    pub(super) acknowledgement: u32,
    pub(super) identification: u16,
    pub(super) dont_fragment: bool,
    pub(super) ttl: u8,
    /// Options of the TCP header: a multiple of four.
    pub(super) options: Vec<u8>,
}

impl Default for Flow {
    fn default() -> Flow {
        Flow {
            source_port: 40_000,
            sequence: 1_000_000,
            acknowledgement: 77,
            identification: 100,
            dont_fragment: true,
            ttl: 63,
            // Two NOPs and timestamps, as every Linux sends them.
            options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
        }
    }
}

impl Flow {
    /// Octets in front of the payload.
    pub(super) fn headers(&self) -> usize {
        40 + self.options.len()
    }

    /// A packet of this place in the stream, with both checksums.
    pub(super) fn packet(&self, flags: u8, payload: usize) -> Vec<u8> {
        let length = (self.headers() + payload) as u16;
        let fragment = if self.dont_fragment { 0x40 } else { 0 };
        let mut packet = vec![0x45, 0];
        packet.extend(length.to_be_bytes());
        packet.extend(self.identification.to_be_bytes());
        packet.extend([fragment, 0, self.ttl, 6, 0, 0, 198, 51, 100, 1, 203, 0, 113, 1]);
        packet.extend(self.source_port.to_be_bytes());
        packet.extend([0, 80]);
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(self.acknowledgement.to_be_bytes());
        packet.extend([((20 + self.options.len()) as u8) << 2, flags, 1, 0, 0, 0, 0, 0]);
        packet.extend(&self.options);
        packet.extend((0..payload).map(|at| (self.sequence as usize + at).wrapping_mul(167) as u8));
        complete(&mut packet);
        packet
    }

    /// The same, and the flow goes on behind it.
    pub(super) fn send(&mut self, flags: u8, payload: usize) -> Vec<u8> {
        let packet = self.packet(flags, payload);
        self.sequence = self.sequence.wrapping_add(payload as u32);
        self.identification = self.identification.wrapping_add(1);
        packet
    }
}

/// A UDP packet with a checksum.
pub(super) fn udp(payload: usize) -> Vec<u8> {
    let mut packet = Flow { options: Vec::new(), ..Flow::default() }.packet(0, payload);
    packet.drain(28..40);
    packet[9] = 17;
    let length = packet.len() as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet[24..26].copy_from_slice(&(length - 20).to_be_bytes());
    complete(&mut packet);
    packet
}

/// Writes both checksums.
pub(super) fn complete(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let sum = checksum::of(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let at = if packet[9] == 17 { 26 } else { 36 };
    packet[at..at + 2].fill(0);
    let sum = transport_sum(packet);
    packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// What is wrong with the checksums of a packet is an error of the test.
pub(super) fn verify(packet: &[u8]) {
    let length = Ipv4::view(packet).expect("a header").total_length();
    assert_eq!(usize::from(length), packet.len());
    assert_eq!((checksum::of(&packet[..20]), transport_sum(packet)), (0, 0), "checksums of {packet:02x?}");
}

fn transport_sum(packet: &[u8]) -> u16 {
    let ip = Ipv4::view(packet).expect("a header");
    let length = (packet.len() - 20) as u16;
    let pseudo = checksum::pseudo_header_v4(ip.source(), ip.destination(), length, ip.protocol());
    checksum::finish(pseudo + checksum::sum(&packet[20..]))
}

/// All segments of a packet.
pub(super) fn cut(packet: &[u8], segments: Segments) -> Option<Vec<Vec<u8>>> {
    let mut segmenter = Segmenter::new(packet, segments)?;
    let mut buffer = vec![0; 65535];
    Some(
        std::iter::from_fn(|| segmenter.next(packet, &mut buffer).map(|length| buffer[..length].to_vec()))
            .collect(),
    )
}
