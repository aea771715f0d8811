//! The packet to explain: from hexadecimal digits, or out of a capture. What is wrong with it is named with
//! its place and its cure.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::commands::replay::{Capture, CaptureError};
use crate::engine::Config;
use crate::io::pcap::Record;
use crate::wire::Side;

/// Why there is no packet to explain; a mistake of the command line.
#[derive(Debug, PartialEq, Eq)]
pub enum InputError {
    /// A character that is no hexadecimal digit.
    Digit {
        /// The character.
        found: char,
        /// Its place, from 1.
        at: usize,
    },
    /// The last octet has one digit.
    HalfOctet {
        /// Digits in all.
        digits: usize,
    },
    /// No octet at all.
    Empty,
    /// A capture that cannot be read.
    Capture(CaptureError),
    /// The capture has fewer packets.
    Beyond {
        /// The capture.
        capture: PathBuf,
        /// The number that was asked for, from 1.
        number: usize,
        /// IP packets in the capture.
        packets: usize,
    },
    /// Neither version 4 nor version 6.
    NotIp {
        /// The first octet.
        first: u8,
        /// Octets of a link header in front of an IP packet, when it looks like that.
        frame: Option<usize>,
    },
}

impl std::error::Error for InputError {}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InputError::Digit { found, at } => write!(
                f,
                "--hex: character {at}, {found:?}, is no hexadecimal digit\n  \
                 give the octets of the IP packet, as 4500002e; white space and colons may stand between them"
            ),
            InputError::HalfOctet { digits } => write!(
                f,
                "--hex: {digits} digits make no whole octets\n  \
                 two digits are an octet: one is missing, or one is too many"
            ),
            InputError::Empty => f.write_str(
                "the packet is empty\n  give the octets of an IP packet, as --hex 4500002e…, or a capture and --packet N",
            ),
            InputError::Capture(error) => error.fmt(f),
            InputError::Beyond { capture, number, packets } => {
                write!(f, "{} has {packets} IP packets, and no packet {number}\n  ", capture.display())?;
                match packets {
                    0 => f.write_str("give a capture with IPv6 or IPv4 packets"),
                    _ => write!(f, "give --packet 1 to --packet {packets}; aftr replay lists them"),
                }
            }
            InputError::NotIp { first, frame } => {
                write!(f, "the packet starts with {first:#04x}, which is neither IPv4 (0x4…) nor IPv6 (0x6…)\n  ")?;
                match frame {
                    Some(octets) => write!(
                        f,
                        "it looks like an Ethernet frame: leave its first {octets} octets out"
                    ),
                    None => f.write_str(
                        "give the packet from its IP header on, or say with --side where such octets came from",
                    ),
                }
            }
        }
    }
}

/// The octets that hexadecimal digits mean; white space, colons and a leading `0x` are passed over.
///
/// # Errors
/// [`InputError`], with the place of the first character that is wrong.
pub(super) fn octets_of(text: &str) -> Result<Vec<u8>, InputError> {
    let (skipped, digits) = match text.strip_prefix("0x") {
        Some(digits) => (2, digits),
        None => (0, text),
    };
    let mut octets = Vec::new();
    let mut half = None;
    for (at, found) in digits.chars().enumerate() {
        if found.is_whitespace() || found == ':' {
            continue;
        }
        let error = InputError::Digit { found, at: skipped + at + 1 };
        let digit = found.to_digit(16).ok_or(error)? as u8;
        match half.take() {
            None => half = Some(digit),
            Some(high) => octets.push(high << 4 | digit),
        }
    }
    match half {
        Some(_) => Err(InputError::HalfOctet { digits: octets.len() * 2 + 1 }),
        None if octets.is_empty() => Err(InputError::Empty),
        None => Ok(octets),
    }
}

impl From<CaptureError> for InputError {
    fn from(error: CaptureError) -> InputError {
        InputError::Capture(error)
    }
}

/// A packet out of a capture.
pub(super) struct Captured {
    /// Those before it.
    pub(super) before: Vec<Record>,
    pub(super) packet: Record,
    /// Its frame, when frames that are no IP packets stand before it.
    pub(super) frame: Option<u64>,
}

/// Packet `number` of a capture, and those before it. What is worth a word is said on standard error.
///
/// # Errors
/// The capture cannot be read, or has no such packet.
pub(super) fn packet_of(capture: &Path, number: usize, config: &Config) -> Result<Captured, InputError> {
    let read = Capture::read(capture)?;
    read.notices(config).iter().for_each(|notice| eprintln!("aftr: {notice}"));
    let Capture { mut records, frames, .. } = read;
    let packets = records.len();
    let beyond = InputError::Beyond { capture: capture.to_owned(), number, packets };
    if number == 0 || number > packets {
        return Err(beyond);
    }
    records.truncate(number);
    let packet = records.pop().ok_or(beyond)?;
    let frame = Some(frames[number - 1]).filter(|&frame| frame != number as u64);
    Ok(Captured { before: records, packet, frame })
}

/// Where a packet came from: what is said, or what its version says.
///
/// # Errors
/// It has no version that says so.
pub(super) fn side_of(said: Option<Side>, packet: &[u8]) -> Result<Side, InputError> {
    let first = *packet.first().ok_or(InputError::Empty)?;
    match (said, first >> 4) {
        (Some(side), _) => Ok(side),
        (None, 6) => Ok(Side::B4),
        (None, 4) => Ok(Side::Internet),
        (None, _) => Err(InputError::NotIp { first, frame: frame_of(packet) }),
    }
}

/// The length of the Ethernet header that octets start with, when they look like that.
fn frame_of(octets: &[u8]) -> Option<usize> {
    let is_ip = |at: usize| {
        let version = octets.get(at + 2).map(|first| first >> 4);
        matches!(
            (octets.get(at..at + 2), version),
            (Some([0x08, 0x00]), Some(4)) | (Some([0x86, 0xdd]), Some(6))
        )
    };
    // Without a VLAN tag, and with one.
    [12, 16].into_iter().find(|&at| is_ip(at)).map(|at| at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_may_be_spaced_as_tools_print_them() {
        for text in ["45000a", "0x45000A", "45:00:0a", "45 00\n0a\n"] {
            assert_eq!(octets_of(text), Ok(vec![0x45, 0, 10]), "{text}");
        }
    }

    #[test]
    fn a_wrong_digit_is_named_with_its_place() {
        assert_eq!(octets_of("45 0g"), Err(InputError::Digit { found: 'g', at: 5 }));
        assert_eq!(octets_of("0x4q"), Err(InputError::Digit { found: 'q', at: 4 }));
        assert_eq!(octets_of("450"), Err(InputError::HalfOctet { digits: 3 }));
        assert_eq!(octets_of(" "), Err(InputError::Empty));
    }

    #[test]
    fn a_frame_is_known_by_its_type() {
        let frame = |header: &[u8]| [&[2; 12], header].concat();
        let looks = |octets: &[u8]| side_of(None, octets).unwrap_err();
        assert_eq!(looks(&frame(&[8, 0, 0x45])), InputError::NotIp { first: 2, frame: Some(14) });
        assert_eq!(
            looks(&frame(&[0x81, 0, 0, 7, 0x86, 0xdd, 0x60])),
            InputError::NotIp { first: 2, frame: Some(18) }
        );
        assert_eq!(looks(&[0; 40]), InputError::NotIp { first: 0, frame: None });
        assert_eq!(side_of(Some(Side::B4), &[0]), Ok(Side::B4));
    }
}
