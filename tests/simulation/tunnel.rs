//! ICMPv6 errors from inside the tunnel (RFC 2473 section 8, RFC 8201).

use std::net::{Ipv4Addr, Ipv6Addr};

use aftr::engine::{DropReason, Verdict};
use aftr::wire::Side;

use crate::build;
use crate::errors::{quoted, requoted};
use crate::ip::{End, word};
use crate::judge::{Difference, Judge, agree};
use crate::left::Came;
use crate::limits::Purse;
use crate::story::Kind;

/// A router of the access network that is nobody's B4.
const ROUTER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xfffe, 0, 0, 0, 0, 1);

/// A packet that was lost in the tunnel.
struct Lost {
    softwire: u64,
    /// The inner one, or its front; none in a later fragment.
    inner: Option<Vec<u8>>,
    /// The identification of a later fragment.
    piece: Option<Vec<u8>>,
}

impl Judge {
    /// A router in the access network could not forward one of our packets, or says so.
    pub(crate) fn tunnel_error(
        &mut self,
        nth: u8,
        kind: [u8; 2],
        parameter: u32,
        length: u16,
        forged: u8,
    ) -> Result<(), Difference> {
        // What is too big is a large packet, mostly.
        let large = self.large.get(usize::from(nth >> 1) % self.large.len().max(1)).cloned();
        let large = large.filter(|_| kind[0] == 2 && nth & 1 == 0).map(|bytes| (bytes, Side::B4));
        let Some((mut quotation, Side::B4)) = large.or_else(|| self.pick(nth)) else { return Ok(()) };
        quotation.truncate(usize::from(length).min(1232));
        forge(&mut quotation, forged);
        let to = self.model.config.softwire.aftr_ipv6_addr[usize::from(nth & 1)];
        let mut bytes = build::icmpv6(ROUTER6, to, kind, parameter, &quotation);
        bytes[42] ^= u8::from(forged == 5);
        let mut came = self.offer(&bytes, Side::B4);
        if forged == 5 {
            return self.dropped(&came, DropReason::Icmp6Checksum);
        }
        let Some(Lost { softwire, inner, piece }) = self.sent_by_us(&quotation) else {
            return self.dropped(&came, DropReason::Icmp6Quote);
        };
        let told = match kind {
            [2, _] if parameter < 1280 => return self.dropped(&came, DropReason::Icmp6PtbSmall),
            [2, _] if u32::from(word(&quotation, 4)) + 40 <= parameter => {
                return self.dropped(&came, DropReason::Icmp6Quote);
            }
            [2, _] if !self.may_have_sent(softwire, inner.as_deref(), piece) => {
                return self.dropped(&came, DropReason::Icmp6Quote);
            }
            [2, _] => {
                self.model.learn_path(softwire, parameter);
                let honours = self.model.config.softwire.df_policy == aftr_config::DfPolicy::Honour;
                honours.then(|| (4, self.model.tunnel_mtu(softwire)))
            }
            [1, _] | [3, 0] => Some((1, 0)),
            [4, 0] if parameter == 44 => Some((1, 0)),
            _ => return self.dropped(&came, DropReason::Icmp6Type),
        };
        agree!(came.verdict == Verdict::Hold, "expected it to be taken, got {:?}", came.verdict);
        if let (Some(told), Some(inner)) = (told, inner) {
            self.sender_is_told(&mut came, softwire, &inner, told)?;
        }
        self.nothing_more(&came)
    }

    /// What a quotation says of a packet that we put into an open softwire.
    fn sent_by_us(&self, quotation: &[u8]) -> Option<Lost> {
        if quotation.len() < 40 {
            return None;
        }
        let own = build::address6(quotation, 8);
        if !self.model.config.softwire.aftr_ipv6_addr.contains(&own) {
            return None;
        }
        let softwire = self.model.softwire_at(build::address6(quotation, 24))?;
        let (mut next, mut at, mut piece) = (quotation[6], 40, None);
        if next == 44 {
            let fragment = quotation.get(40..48)?;
            (next, at) = (fragment[0], 48);
            piece = (word(fragment, 2) & !7 != 0).then(|| fragment[4..8].to_vec());
        }
        if piece.is_some() {
            return (next == 4 || next == 60).then_some(Lost { softwire, inner: None, piece });
        }
        if next == 60 {
            (next, at) = (*quotation.get(at)?, at + 8);
        }
        let inner = quotation.get(at..).map(<[u8]>::to_vec);
        (next == 4).then_some(Lost { softwire, inner, piece })
    }

    /// RFC 8201 section 4: the packet is for a mapping, or a later piece of one that left.
    fn may_have_sent(&self, softwire: u64, inner: Option<&[u8]>, piece: Option<Vec<u8>>) -> bool {
        if let Some(id) = piece {
            return self.ids6.contains(&(self.model.softwire(softwire).b4, id));
        }
        let lost = inner.and_then(quoted);
        lost.is_some_and(|lost| self.model.external_of(softwire, &lost).is_some())
    }

    fn sender_is_told(
        &mut self,
        came: &mut Came,
        softwire: u64,
        inner: &[u8],
        (code, mtu): (u8, usize),
    ) -> Result<(), Difference> {
        let Some(lost) = quoted(inner) else { return Ok(()) };
        let Some(external) = self.model.external_of(softwire, &lost) else { return Ok(()) };
        // Where sessions are known, nobody else learns what the host looks like from outside.
        let called = self.model.find(softwire, lost.kind, lost.destination);
        let is_strange = |called| self.model.session(called, lost.kind, lost.source).is_none();
        if lost.kind == Kind::Tcp && called.is_some_and(is_strange) {
            return Ok(());
        }
        let home = self.model.at(lost.kind, lost.source);
        // A packet of our own, or of a mapping that is no more: nobody waits for the error.
        if *lost.source.ip() == Ipv4Addr::new(192, 0, 0, 1)
            || (home.is_none() && self.model.has_address(*lost.source.ip()))
        {
            return Ok(());
        }
        let purses = match home {
            Some(home) => Purse::of_home(self.model.mappings[home].home),
            None => Purse::of_recipient(*lost.source.ip()),
        };
        if !self.may_tell(came, &[vec![Purse::Tunnel], purses].concat())? {
            return Ok(());
        }
        let source = if home.is_some() { Ipv4Addr::new(192, 0, 0, 1) } else { *external.ip() };
        let start = [3, code, 0, 0, 0, 0, (mtu >> 8) as u8, mtu as u8];
        let quotation = &inner[..inner.len().min(548)];
        let error = build::message(source, *lost.source.ip(), start, quotation).with_tos(inner[1] & !3);
        let error = requoted(&error, End::Destination, external);
        let Some(home) = home else {
            let bytes = came.next(Side::Internet)?;
            agree!(bytes == error.bytes, "told {bytes:02x?}\nexpected {:02x?}", error.bytes);
            return Ok(());
        };
        let caller = self.model.mappings[home].clone();
        let error = requoted(&error, End::Source, caller.internal);
        let error = error.with_address(End::Destination, *caller.internal.ip());
        let softwire = self.model.softwire(caller.softwire);
        let expected = self.encapsulated(&error, softwire.b4, softwire.own);
        let bytes = came.next(Side::B4)?;
        agree!(bytes == expected, "told {bytes:02x?}\nexpected {expected:02x?}");
        Ok(())
    }
}

/// Makes a quotation one of something that we never sent.
fn forge(quotation: &mut Vec<u8>, forged: u8) {
    match forged {
        // A B4 without a softwire, a source that is not ours, another payload, and too little of it.
        1 if quotation.len() >= 40 => quotation[30] = 0x7f,
        2 if quotation.len() >= 40 => quotation[23] ^= 0x40,
        3 if quotation.len() >= 40 => quotation[6] = 58,
        4 => quotation.truncate(39),
        // A piece that never was.
        6 if quotation.len() >= 48 && quotation[6] == 44 => quotation[44] ^= 0x80,
        _ => {}
    }
}
