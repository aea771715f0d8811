//! Captures on disk: several are merged by time. One that ends in the middle of a record is played as far as
//! it goes; what an operator may not have meant is said in notices.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::engine::Config;
use crate::io::pcap::{Reader, Record};
use crate::wire::ipv4::Ipv4;
use crate::wire::ipv6::Ipv6;

/// Why a capture cannot be played; a mistake of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureError {
    path: PathBuf,
    problem: String,
    cure: &'static str,
}

impl std::error::Error for CaptureError {}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "capture {}: {}\n  {}", self.path.display(), self.problem, self.cure)
    }
}

/// A capture, as far as it can be read.
#[derive(Debug)]
pub(in crate::commands) struct Capture {
    path: PathBuf,
    /// Its IP packets.
    pub(in crate::commands) records: Vec<Record>,
    /// The number of each one's frame, from 1, as Wireshark shows it.
    pub(in crate::commands) frames: Vec<u64>,
    /// Frames without an IP packet.
    not_ip: u64,
    /// Its last record is not all there.
    is_cut_short: bool,
}

impl Capture {
    /// Reads a capture.
    ///
    /// # Errors
    /// What is wrong with it, but for an end in the middle of a record.
    pub(in crate::commands) fn read(path: &Path) -> Result<Capture, CaptureError> {
        const CURE: &str =
            "give a pcap file of raw IP, Ethernet or Linux cooked frames, as tcpdump -w writes it";
        const GZIP: [u8; 2] = [0x1f, 0x8b];
        let wrong = |problem: String, cure| CaptureError { path: path.to_owned(), problem, cure };
        let bytes = fs::read(path).map_err(|error| wrong(error.to_string(), CURE))?;
        if bytes.starts_with(&GZIP) {
            return Err(wrong("compressed with gzip".to_owned(), "gunzip it"));
        }
        let mut rest = &bytes[..];
        let mut reader = Reader::new(&mut rest).map_err(|error| wrong(error.to_string(), CURE))?;
        let (mut records, mut frames, mut failed) = (Vec::new(), Vec::new(), None);
        while let Some(record) = reader.next() {
            match record {
                Ok(record) => {
                    records.push(record);
                    frames.push(records.len() as u64 + reader.not_ip);
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let not_ip = reader.not_ip;
        if let Some(error) = failed.as_ref().filter(|_| !rest.is_empty()) {
            let place = format!("frame {}: {error}", records.len() as u64 + not_ip + 1);
            return Err(wrong(place, "the file is damaged from there on: capture again"));
        }
        Ok(Capture { path: path.to_owned(), records, frames, not_ip, is_cut_short: failed.is_some() })
    }

    /// What is worth a word before its packets are played, one sentence each.
    pub(in crate::commands) fn notices(&self, config: &Config) -> Vec<String> {
        let count =
            |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
        let mut notices = Vec::new();
        if self.is_cut_short {
            let played = count(self.records.len(), "packet");
            notices.push(format!("its last record is cut short (tcpdump still writes?): {played} before it"));
        }
        if self.not_ip > 0 {
            let frames = count(self.not_ip as usize, "frame");
            notices.push(format!("{frames} without an IP packet (ARP, PPPoE and the like) passed over"));
        }
        let in_part = self.records.iter().filter(|record| record.cut_off > 0).count();
        if in_part > 0 {
            let packets = count(in_part, "packet");
            notices.push(format!(
                "{packets} captured in part only, to be dropped as too short: capture with tcpdump -s 0"
            ));
        }
        let ours = self.records.iter().filter(|record| is_ours(config, &record.bytes)).count();
        if ours > 0 {
            notices.push(format!(
                "{} from an address of the pool or of softwire.aftr-ipv6-addr, which are refused here: captured \
                 on the way out? Capture what comes in: tcpdump -Q in",
                count(ours, "packet")
            ));
        }
        notices.iter_mut().for_each(|notice| *notice = format!("{}: {notice}", self.path.display()));
        notices
    }
}

/// The records of all captures in the order of their times; those of one moment in the order that the
/// captures are named. What is worth a word is said on standard error.
///
/// # Errors
/// A capture that cannot be read, by its name.
pub fn merged(captures: &[PathBuf], config: &Config) -> Result<Vec<Record>, CaptureError> {
    let mut records = Vec::new();
    for path in captures {
        let capture = Capture::read(path)?;
        capture.notices(config).iter().for_each(|notice| eprintln!("aftr: {notice}"));
        records.extend(capture.records);
    }
    records.sort_by_key(|record| record.at);
    Ok(records)
}

/// Whether the AFTR itself sent a packet.
fn is_ours(config: &Config, packet: &[u8]) -> bool {
    match packet.first().map(|first| first >> 4) {
        Some(6) => {
            Ipv6::view(packet).is_some_and(|header| config.softwire.aftr_ipv6_addr.contains(&header.source()))
        }
        _ => Ipv4::view(packet).is_some_and(|header| {
            let pools = &config.nat.external_ip_address_pool;
            pools.iter().flat_map(|pool| &pool.external_ip_pool).any(|net| net.contains(&header.source()))
        }),
    }
}
