//! A packet that the Internet side does not take whole (RFC 4787 REQ-13, RFC 791 section 3.2).

use crate::engine::aftr::Aftr;
use crate::wire::ipv4::{self, Ipv4, option};
use crate::wire::{Packet, Side};

impl Aftr {
    /// Cuts a packet without DF into pieces of at most `mtu` bytes: the first stays in `packet`, the others
    /// follow it through the outbox, in order.
    pub(in crate::engine) fn cut_for_internet(&mut self, packet: &mut Packet, mtu: usize) {
        let Some(&header) = Ipv4::view(packet.bytes()) else { return };
        let length = header.header_length();
        let later = later_header(&packet.bytes()[..length]);
        let first = (mtu - length) & !7;
        let step = (mtu - later.len()) & !7;
        let payload = &packet.bytes()[length..];
        let base = header.fragment_offset() as usize;
        let mut offset = first;
        while offset < payload.len() {
            let end = (offset + step).min(payload.len());
            let mut piece = Packet::with_capacity(later.len() + end - offset);
            let bytes = piece.refill(later.len() + end - offset);
            bytes[..later.len()].copy_from_slice(&later);
            bytes[later.len()..].copy_from_slice(&payload[offset..end]);
            let more = end < payload.len() || header.more_fragments();
            mark(bytes, base + offset, more);
            self.counters.fragments_to_internet.count(piece.len());
            self.outbox.push_back((piece, Side::Internet));
            offset = end;
        }
        packet.truncate(length + first);
        mark(packet.bytes_mut(), base, true);
    }
}

fn mark(piece: &mut [u8], offset: usize, more: bool) {
    let length = piece.len() as u16;
    if let Some(header) = Ipv4::view_mut(piece) {
        header.set_total_length(length);
        header.set_fragment(offset, more);
    }
}

/// The header of the pieces behind the first: options whose type says so are copied (RFC 791 section 3.1).
fn later_header(header: &[u8]) -> Vec<u8> {
    const COPIED: u8 = 0x80;
    let mut later = header[..ipv4::HEADER].to_vec();
    for (kind, bytes) in ipv4::options(header).flatten() {
        if kind & COPIED != 0 {
            later.extend_from_slice(bytes);
        }
    }
    later.resize(later.len().next_multiple_of(4), option::END);
    ipv4::complete_header(&mut later);
    later
}
