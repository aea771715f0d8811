//! Captures in the classic pcap format, as tcpdump and wireshark write it: both byte orders,
//! microseconds and nanoseconds. Only IP packets come out, without the frame that they were in.

use std::io::{self, Error, ErrorKind, Read, Write};
use std::time::Duration;

/// Longer than any packet, shorter than what a damaged length field asks for.
const MOST: usize = 1 << 18;
const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
const PCAPNG: u32 = 0x0a0d_0d0a;
/// The packet starts with its IP header.
const LINKTYPE_RAW: u32 = 101;

/// A captured packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When, since 1970.
    pub at: Duration,
    /// The IP packet, as much of it as was captured.
    pub bytes: Vec<u8>,
    /// Octets that were on the wire and are not in the capture.
    pub cut_off: usize,
}

/// Reads a capture, record by record.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    big_endian: bool,
    nanoseconds: bool,
    link: Link,
    /// Records that are neither IPv4 nor IPv6.
    pub not_ip: u64,
}

/// What stands in front of an IP packet.
#[derive(Debug, Clone, Copy)]
enum Link {
    Raw,
    /// Four bytes of address family.
    Loopback,
    Ethernet,
    /// `tcpdump -i any`: the EtherType at this place of a header of this length.
    Cooked {
        ether_type: usize,
        length: usize,
    },
}

impl<R: Read> Reader<R> {
    /// Reads the header of a capture.
    ///
    /// # Errors
    /// When it is no capture, or one of a format or a link that is not known here.
    pub fn new(mut from: R) -> io::Result<Reader<R>> {
        let mut header = [0; 24];
        from.read_exact(&mut header).map_err(|_| wrong("too short for a pcap file"))?;
        let magic = word(&header, 0, true);
        let (big_endian, nanoseconds) = match (magic, magic.swap_bytes()) {
            (MICROSECONDS, _) => (true, false),
            (_, MICROSECONDS) => (false, false),
            (NANOSECONDS, _) => (true, true),
            (_, NANOSECONDS) => (false, true),
            (PCAPNG, _) => return Err(wrong("pcapng; convert it with: editcap -F pcap OLD NEW")),
            _ => return Err(wrong("no pcap file")),
        };
        // The upper bits carry the length of a frame check sequence.
        let link = match word(&header, 20, big_endian) & 0xffff {
            12 | 14 | LINKTYPE_RAW | 228 | 229 => Link::Raw,
            0 | 108 => Link::Loopback,
            1 => Link::Ethernet,
            113 => Link::Cooked { ether_type: 14, length: 16 },
            276 => Link::Cooked { ether_type: 0, length: 20 },
            other => return Err(wrong(&format!("link type {other}: raw IP, Ethernet or Linux cooked"))),
        };
        Ok(Reader { from, big_endian, nanoseconds, link, not_ip: 0 })
    }

    /// The next IP packet; none at the end.
    fn next_record(&mut self) -> io::Result<Option<Record>> {
        loop {
            let mut header = [0; 16];
            if !read_or_end(&mut self.from, &mut header)? {
                return Ok(None);
            }
            let field = |at| word(&header, at, self.big_endian);
            let (captured, original) = (field(8) as usize, field(12) as usize);
            if captured > MOST {
                return Err(wrong(&format!("a record of {captured} bytes")));
            }
            let mut frame = vec![0; captured];
            self.from.read_exact(&mut frame).map_err(|_| wrong("the last record is cut short"))?;
            let Some(start) = self.link.ip_starts_at(&frame) else {
                self.not_ip += 1;
                continue;
            };
            let nanos = if self.nanoseconds { field(4) } else { field(4).saturating_mul(1000) };
            let at = Duration::from_secs(field(0).into()) + Duration::from_nanos(nanos.into());
            let cut_off = original.saturating_sub(captured);
            return Ok(Some(Record { at, bytes: frame.split_off(start), cut_off }));
        }
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<io::Result<Record>> {
        self.next_record().transpose()
    }
}

impl Link {
    fn ip_starts_at(self, frame: &[u8]) -> Option<usize> {
        match self {
            Link::Raw => Some(0),
            Link::Loopback => matches!(frame.get(4)? >> 4, 4 | 6).then_some(4),
            Link::Ethernet => behind_ether_type(frame, 12),
            Link::Cooked { ether_type, length } => {
                behind_ether_type(frame, ether_type).map(|_| length).filter(|&length| length <= frame.len())
            }
        }
    }
}

/// Where the packet starts whose EtherType stands at `at`; VLAN tags are passed.
fn behind_ether_type(frame: &[u8], at: usize) -> Option<usize> {
    match u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]) {
        0x0800 | 0x86dd => Some(at + 2),
        0x8100 | 0x88a8 => behind_ether_type(frame, at + 4),
        _ => None,
    }
}

/// Writes a capture of raw IP packets, with microseconds.
#[derive(Debug)]
pub struct Writer<W> {
    to: W,
}

impl<W: Write> Writer<W> {
    /// Writes the header of a capture.
    ///
    /// # Errors
    /// As the writer underneath.
    pub fn new(mut to: W) -> io::Result<Writer<W>> {
        const VERSION: u32 = 4 << 16 | 2;
        for field in [MICROSECONDS, VERSION, 0, 0, MOST as u32, LINKTYPE_RAW] {
            to.write_all(&field.to_le_bytes())?;
        }
        Ok(Writer { to })
    }

    /// Writes a packet; `at` is since 1970.
    ///
    /// # Errors
    /// As the writer underneath.
    pub fn write(&mut self, at: Duration, packet: &[u8]) -> io::Result<()> {
        let length = packet.len() as u32;
        for field in [at.as_secs() as u32, at.subsec_micros(), length, length] {
            self.to.write_all(&field.to_le_bytes())?;
        }
        self.to.write_all(packet)
    }

    /// Writes out what is buffered underneath.
    ///
    /// # Errors
    /// As the writer underneath.
    pub fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn word(bytes: &[u8], at: usize, big_endian: bool) -> u32 {
    let four = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    if big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
}

/// Fills `buffer`; false at a clean end.
fn read_or_end(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..])? {
            0 if filled == 0 => return Ok(false),
            0 => return Err(wrong("the last record is cut short")),
            count => filled += count,
        }
    }
    Ok(true)
}

fn wrong(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(packets: &[(Duration, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes).unwrap();
        for (at, packet) in packets {
            writer.write(*at, packet).unwrap();
        }
        bytes
    }

    fn framed(link: u32, frame: &[u8]) -> Vec<u8> {
        let mut bytes = written(&[(Duration::ZERO, frame)]);
        bytes[20..24].copy_from_slice(&link.to_le_bytes());
        bytes
    }

    fn packets(bytes: &[u8]) -> Vec<Vec<u8>> {
        Reader::new(bytes).unwrap().map(|record| record.unwrap().bytes).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let at = Duration::new(1_767_225_600, 123_456_000);
        let bytes = written(&[(at, &[0x45, 1, 2]), (at, &[0x60])]);
        let records: Vec<Record> = Reader::new(&*bytes).unwrap().map(Result::unwrap).collect();
        assert_eq!(records[0], Record { at, bytes: vec![0x45, 1, 2], cut_off: 0 });
        assert_eq!(records[1].bytes, [0x60]);
    }

    #[test]
    fn the_other_byte_order_and_nanoseconds_are_read() {
        let mut bytes = Vec::new();
        let fields = [NANOSECONDS, 2 << 16 | 4, 0, 0, 65535, LINKTYPE_RAW, 7, 999_999_999, 1, 1500];
        fields.iter().for_each(|field| bytes.extend(field.to_be_bytes()));
        bytes.push(0x45);
        let record = Reader::new(&*bytes).unwrap().next().unwrap().unwrap();
        assert_eq!(record, Record { at: Duration::new(7, 999_999_999), bytes: vec![0x45], cut_off: 1499 });
    }

    #[test]
    fn frames_are_taken_off_and_other_protocols_are_counted() {
        let addresses = [0; 12];
        let ethernet = |rest: &[u8]| framed(1, &[&addresses[..], rest].concat());
        assert_eq!(packets(&ethernet(&[0x08, 0, 0x45])), [[0x45]]);
        assert_eq!(packets(&ethernet(&[0x81, 0, 0, 7, 0x86, 0xdd, 0x60])), [[0x60]]);
        let mut arp = ethernet(&[0x08, 6, 0]);
        let mut reader = Reader::new(&*arp).unwrap();
        assert!(reader.next().is_none());
        assert_eq!(reader.not_ip, 1);
        assert_eq!(packets(&framed(113, &[&[0; 14][..], &[0x08, 0, 0x45]].concat())), [[0x45]]);
        arp.pop();
        assert!(Reader::new(&*arp).unwrap().next().unwrap().is_err());
    }

    #[test]
    fn what_is_no_capture_is_refused() {
        let refused = |bytes: &[u8]| Reader::new(bytes).unwrap_err().to_string();
        assert_eq!(refused(b"short"), "too short for a pcap file");
        assert_eq!(refused(&[7; 24]), "no pcap file");
        assert!(refused(&[&[0x0a, 0x0d, 0x0d, 0x0a][..], &[0; 20]].concat()).contains("editcap"));
        assert!(refused(&framed(147, &[])).starts_with("link type 147"));
        let mut huge = written(&[]);
        huge.extend([0xff; 16]);
        assert!(Reader::new(&*huge).unwrap().next().unwrap().is_err());
    }
}
