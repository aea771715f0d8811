//! Hosts at both ends: they put the pieces that reach them together, and the whole has the checksum that
//! its sender gave it (INV-5).

use std::collections::{BTreeSet, VecDeque};
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::ip::{Ip, set_word};
use crate::judge::{Difference, Judge, agree};
use crate::pieces::{Fit, Spans};

#[derive(Debug, Default)]
pub(crate) struct Receivers {
    arriving: VecDeque<Arriving>,
    /// Datagrams that were sent with a wrong transport checksum.
    pub(crate) damaged: BTreeSet<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    to: Option<Ipv6Addr>,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    id: u16,
}

#[derive(Debug)]
struct Arriving {
    key: Key,
    spans: Spans,
    pieces: Vec<Ip>,
}

/// Datagrams that are waited for at a time, by all hosts.
const MOST: usize = 48;

impl Receivers {
    /// Takes what reached a host; gives the datagram when it is whole.
    fn take(&mut self, to: Option<Ipv6Addr>, ip: Ip) -> Option<Ip> {
        if !ip.is_piece() {
            return Some(ip);
        }
        let key = Key {
            to,
            source: ip.source(),
            destination: ip.destination(),
            protocol: ip.protocol(),
            id: ip.id(),
        };
        let at = self.arriving.iter().position(|arriving| arriving.key == key).unwrap_or_else(|| {
            if self.arriving.len() == MOST {
                self.arriving.pop_front();
            }
            self.arriving.push_back(Arriving { key, spans: Spans::default(), pieces: Vec::new() });
            self.arriving.len() - 1
        });
        let arriving = &mut self.arriving[at];
        let span = (ip.offset(), ip.offset() + ip.payload().len(), !ip.more());
        match arriving.spans.fit(span) {
            Fit::New => arriving.spans.add(span),
            Fit::Again => return None,
            Fit::Overlap | Fit::TooMany => {
                self.arriving.remove(at);
                return None;
            }
        }
        arriving.pieces.push(ip);
        if !arriving.spans.are_complete() {
            return None;
        }
        self.arriving.remove(at).map(|arriving| joined(arriving.pieces))
    }
}

fn joined(mut pieces: Vec<Ip>) -> Ip {
    pieces.sort_by_key(Ip::offset);
    let first = &pieces[0];
    let number = if pieces.iter().all(|piece| piece.number == first.number) { first.number } else { 0 };
    let mut bytes = first.bytes[..first.header()].to_vec();
    bytes.extend(pieces.iter().flat_map(|piece| piece.payload().iter().copied()));
    bytes[6] &= 0xc0;
    let length = bytes.len() as u16;
    set_word(&mut bytes, 2, length);
    Ip { bytes, number }.sealed()
}

impl Judge {
    /// This reached a host on the Internet, or one behind a B4.
    pub(crate) fn received(&mut self, to: Option<Ipv6Addr>, ip: Ip) -> Result<(), Difference> {
        let Some(whole) = self.receivers.take(to, ip).filter(|whole| whole.number != 0) else {
            return Ok(());
        };
        let was_sound = !self.receivers.damaged.contains(&whole.number);
        agree!(whole.is_sound() == was_sound, "INV-5: sent sound {was_sound}, received {:02x?}", whole.bytes);
        Ok(())
    }
}
