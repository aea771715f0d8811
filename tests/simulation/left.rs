//! What left the engine: pieces are put together as their receiver does, and the whole is what the sender
//! meant, in pieces of the right sizes.

use std::collections::VecDeque;
use std::net::Ipv6Addr;

use aftr::engine::{DropReason, TtlBy, Verdict};
use aftr::wire::Side;

use crate::build::{self, LIMIT};
use crate::ip::{Ip, set_word, word};
use crate::judge::{Difference, Judge, agree};
use crate::limits::Purse;

/// What came of one packet.
#[derive(Debug)]
pub(crate) struct Came {
    pub(crate) verdict: Verdict,
    /// Everything that left, in order.
    pub(crate) left: VecDeque<(Vec<u8>, Side)>,
    /// Errors that the rate limits kept back.
    pub(crate) suppressed: u64,
}

impl Came {
    pub(crate) fn next(&mut self, side: Side) -> Result<Vec<u8>, Difference> {
        match self.left.pop_front() {
            Some((bytes, to)) if to == side => Ok(bytes),
            Some((bytes, to)) => Err(format!("to {to:?} left {bytes:02x?}")),
            None => Err(format!("nothing more left to {side:?}; {:?}", self.verdict)),
        }
    }

    /// The inner packet that left first.
    pub(crate) fn first_inner(&self) -> Option<Ip> {
        let (bytes, side) = self.left.front()?;
        let mut inner = &bytes[..];
        if *side == Side::B4 {
            let mut next = inner[6];
            inner = &inner[40..];
            if next == 44 {
                (next, inner) = (inner[0], &inner[8..]);
            }
            if next == 60 {
                inner = &inner[8..];
            }
        }
        Some(Ip { bytes: inner.to_vec(), number: 0 })
    }
}

impl Judge {
    pub(crate) fn dropped(&mut self, came: &Came, reason: DropReason) -> Result<(), Difference> {
        self.drops[reason as usize] += 1;
        agree!(came.suppressed == 0, "an error about {reason:?} was kept back");
        agree!(
            came.verdict == Verdict::Drop(reason),
            "expected {reason:?} in silence, got {:?}",
            came.verdict
        );
        Ok(())
    }

    /// Whether an error left that has to ask these purses.
    pub(crate) fn may_tell(&mut self, came: &mut Came, purses: &[Purse]) -> Result<bool, Difference> {
        let left = std::mem::take(&mut came.suppressed) == 0;
        self.model.limits.one(purses, left, self.model.now)?;
        Ok(left)
    }

    /// Dropped; its sender is told by ICMPv4 unless the rate limits keep that back. `to` is the B4 and the
    /// address of ours that a sender behind it is told through.
    pub(crate) fn told(
        &mut self,
        came: &mut Came,
        reason: DropReason,
        (kind, code, mtu): (u8, u8, usize),
        cause: &Ip,
        to: Option<(Ipv6Addr, usize)>,
    ) -> Result<(), Difference> {
        let is_query =
            cause.protocol() != 1 || matches!(cause.payload(), [0 | 8 | 13 | 14, _, _, _, _, _, _, _, ..]);
        let purses = match to {
            None => Purse::of_recipient(cause.source()),
            Some((b4, _)) => Purse::of_home(self.model.home_of(b4)),
        };
        if cause.offset() != 0 || !is_query || !self.may_tell(came, &purses)? {
            return self.dropped(came, reason);
        }
        self.drops[reason as usize] += 1;
        agree!(came.verdict == Verdict::Reject(reason), "expected {reason:?}, got {:?}", came.verdict);
        let source = to.map_or(cause.destination(), |_| [192, 0, 0, 1].into());
        let start = [kind, code, 0, 0, 0, 0, (mtu >> 8) as u8, mtu as u8];
        let quoted = &cause.bytes[..cause.len().min(548)];
        let error = build::message(source, cause.source(), start, quoted).with_tos(cause.tos() & !3);
        match to {
            None => {
                let bytes = came.next(Side::Internet)?;
                agree!(bytes == error.bytes, "told {bytes:02x?}\nexpected {:02x?}", error.bytes);
            }
            Some((b4, own)) => {
                let bytes = came.next(Side::B4)?;
                let expected = self.encapsulated(&error, b4, own);
                agree!(bytes == expected, "told {bytes:02x?}\nexpected {expected:02x?}");
            }
        }
        Ok(())
    }

    /// The same by ICMPv6, about the outer packet.
    pub(crate) fn told6(
        &mut self,
        came: &mut Came,
        reason: DropReason,
        told: Option<(u8, u8, u32)>,
        cause: &[u8],
    ) -> Result<(), Difference> {
        self.drops[reason as usize] += 1;
        let home = self.model.home_of(build::address6(cause, 8));
        let is_told = told.is_some() && self.may_tell(came, &Purse::of_home6(home))?;
        let Some((kind, code, parameter)) = told.filter(|_| is_told) else {
            agree!(came.verdict == Verdict::Drop(reason), "expected {reason:?}, got {:?}", came.verdict);
            return Ok(());
        };
        agree!(came.verdict == Verdict::Reject(reason), "expected {reason:?}, got {:?}", came.verdict);
        let bytes = came.next(Side::B4)?;
        self.is_error6(&bytes, (kind, code, parameter), cause)
    }

    pub(crate) fn is_error6(
        &self,
        bytes: &[u8],
        (kind, code, parameter): (u8, u8, u32),
        cause: &[u8],
    ) -> Result<(), Difference> {
        let expected = build::icmpv6(
            build::address6(cause, 24),
            build::address6(cause, 8),
            [kind, code],
            parameter,
            &cause[..cause.len().min(1232)],
        );
        agree!(bytes == expected, "told {bytes:02x?}\nexpected {expected:02x?}");
        Ok(())
    }

    /// An inner packet as it enters the softwire of a B4.
    pub(crate) fn encapsulated(&self, inner: &Ip, b4: Ipv6Addr, own: usize) -> Vec<u8> {
        let from = self.model.config.softwire.aftr_ipv6_addr[own];
        // The option may be left out: the largest packets have no room for it.
        if self.model.config.softwire.encapsulation_limit && inner.len() + LIMIT.len() <= 65_535 {
            build::ipv6(from, b4, inner.tos(), 60, &[&LIMIT[..], &inner.bytes].concat())
        } else {
            build::ipv6(from, b4, inner.tos(), 4, &inner.bytes)
        }
    }

    /// A transit costs one hop, whichever router takes it.
    pub(crate) fn one_hop_less(&self, ip: Ip) -> Ip {
        let ttl = ip.ttl();
        if self.ttl == TtlBy::Engine { ip.with_ttl(ttl - 1) } else { ip }
    }

    /// This left to the Internet, whole or cut (RFC 4787 REQ-13).
    pub(crate) fn left_to_internet(&mut self, came: &mut Came, expected: &Ip) -> Result<(), Difference> {
        let mtu = usize::from(self.model.config.nat.external_mtu);
        let (payload, mut at) = (expected.payload(), 0);
        if expected.len() <= mtu {
            let bytes = came.next(Side::Internet)?;
            agree!(bytes == expected.bytes, "left as {bytes:02x?}\nexpected {:02x?}", expected.bytes);
            self.remember(bytes, Side::Internet, expected.number);
            return self.received(None, expected.clone());
        }
        agree!(!expected.df(), "a packet with DF is expected to be cut");
        let place = word(&expected.bytes, 6);
        while at < payload.len() {
            let bytes = came.next(Side::Internet)?;
            let header = if at == 0 { expected.header() } else { 20 + copied(expected).len() };
            agree!(bytes.len() > header && bytes.len() <= mtu, "a piece of {} for {mtu}", bytes.len());
            let end = at + bytes.len() - header;
            let is_last = end >= payload.len();
            agree!(is_last || end - at == (mtu - header) & !7, "a piece of {} for {mtu}", bytes.len());
            let options = if at == 0 { expected.bytes[20..header].to_vec() } else { copied(expected) };
            let part = &payload[at..end.min(payload.len())];
            let mut whole = [&expected.bytes[..20], &options, part].concat();
            whole[0] = 0x40 | (header / 4) as u8;
            set_word(&mut whole, 2, bytes.len() as u16);
            let more = if is_last { 0 } else { 0x2000 };
            set_word(&mut whole, 6, (place + (at / 8) as u16) | more);
            let whole = Ip { bytes: whole, number: expected.number }.sealed();
            agree!(bytes == whole.bytes, "a piece left as {bytes:02x?}\nexpected {:02x?}", whole.bytes);
            self.remember(bytes, Side::Internet, expected.number);
            self.received(None, whole)?;
            at = end;
        }
        Ok(())
    }

    /// This left into a softwire, and into no other, whole or in fragments (RFC 6333 section 6.3).
    pub(crate) fn left_to_b4(
        &mut self,
        came: &mut Came,
        softwire: u64,
        expected: &Ip,
    ) -> Result<(), Difference> {
        let (b4, own) = (self.model.softwire(softwire).b4, self.model.softwire(softwire).own);
        let whole = self.encapsulated(expected, b4, own);
        let mtu = self.model.path_mtu(softwire);
        self.whole_left_to_b4(came, &whole, b4, mtu, expected.number)?;
        self.received(Some(b4), expected.clone())
    }

    /// The same for any outer packet.
    pub(crate) fn whole_left_to_b4(
        &mut self,
        came: &mut Came,
        whole: &[u8],
        b4: Ipv6Addr,
        mtu: usize,
        number: u32,
    ) -> Result<(), Difference> {
        if whole.len() <= mtu {
            let bytes = came.next(Side::B4)?;
            agree!(bytes == whole, "arrived as {bytes:02x?}\nexpected {whole:02x?}");
            self.remember(bytes, Side::B4, number);
            return Ok(());
        }
        let mut joined = whole[..40].to_vec();
        let mut first = None;
        while joined.len() < whole.len() {
            let bytes = came.next(Side::B4)?;
            let (offset, at) = (usize::from(word(&bytes, 42) & !7), joined.len() - 40);
            let (is_last, id) = (word(&bytes, 42) & 1 == 0, bytes[44..48].to_vec());
            let expected = [&whole[..4], &((bytes.len() - 40) as u16).to_be_bytes(), &[44], &whole[7..40]];
            agree!(
                bytes[..40] == expected.concat(),
                "a strange fragment {bytes:02x?} of {:02x?}",
                &whole[..40]
            );
            agree!(bytes[40..42] == [whole[6], 0] && word(&bytes, 42) & 6 == 0, "{:02x?}", &bytes[40..48]);
            agree!(offset == at, "the fragment at {offset} of {at}");
            agree!(first.get_or_insert_with(|| id.clone()) == &id, "two identifications in one packet");
            joined.extend_from_slice(&bytes[48..]);
            agree!(is_last == (joined.len() == whole.len()), "ends at {}, not {}", joined.len(), whole.len());
            let fills = bytes.len() - 48 == (mtu - 48) & !7;
            agree!(bytes.len() <= mtu && (is_last || fills), "a fragment of {} for {mtu}", bytes.len());
            self.remember(bytes, Side::B4, number);
        }
        agree!(joined[40..] == whole[40..], "joined to {joined:02x?}\nexpected {whole:02x?}");
        let id = first.expect("one fragment at least");
        agree!(self.ids6.insert((b4, id.clone())), "{b4} gets identification {id:02x?} again");
        Ok(())
    }

    fn remember(&mut self, bytes: Vec<u8>, side: Side, number: u32) {
        if self.lately.len() == 24 {
            self.lately.pop_front();
        }
        self.lately.push_back((bytes, side, number));
    }
}

/// RFC 791 section 3.1: the options of the later pieces.
fn copied(ip: &Ip) -> Vec<u8> {
    let mut options = Vec::new();
    let mut at = 20;
    while at < ip.header() && ip.bytes[at] != 0 {
        let length = if ip.bytes[at] == 1 { 1 } else { usize::from(ip.bytes[at + 1]) };
        if ip.bytes[at] & 0x80 != 0 {
            options.extend_from_slice(&ip.bytes[at..at + length]);
        }
        at += length;
    }
    while !options.len().is_multiple_of(4) {
        options.push(0);
    }
    options
}
