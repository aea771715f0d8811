//! Errors from the access network about packets that we put into a softwire. A smaller path MTU is
//! remembered (RFC 8201); what else went wrong in the tunnel is told to who sent the inner packet (RFC 2473
//! section 8). They come from any router on the way: it is what they quote that makes them ours.

use aftr_config::DfPolicy;

use super::aftr::Aftr;
use super::icmp_relay::{is_for_a_mapping, tell_sender};
use super::owners::WorkerNumber;
use super::refusal::Answer;
use super::time::Instant;
use super::verdict::{DropReason, Verdict};
use crate::wire::fragment::{self, Fragment};
use crate::wire::icmpv4;
use crate::wire::icmpv6::{self, kind};
use crate::wire::ipv6::{self, Ipv6, next_header};
use crate::wire::{Packet, Side};

/// RFC 8200 section 5: every path takes this much.
const LEAST_MTU: u32 = 1280;
/// RFC 2473 section 8.3: host unreachable.
const LOST: Answer = Answer::Icmp4(icmpv4::kind::UNREACHABLE, 1);
/// Where the value of our Tunnel Encapsulation Limit stands (RFC 2473 section 4.1.1).
const LIMIT_AT: u32 = ipv6::HEADER as u32 + 4;

/// Whether the payload of an outer packet is an ICMPv6 error.
pub(super) fn is_error(message: &[u8]) -> bool {
    message.first().is_some_and(|kind| kind & 0x80 == 0)
}

/// Whose softwire an error is about, when it is another worker's: errors come from routers, which are nobody's.
pub(super) fn other_worker(aftr: &Aftr, packet: &Packet, message: &[u8]) -> Option<WorkerNumber> {
    let quoted = Ipv6::view(message.get(icmpv6::HEADER..)?)?;
    // What we cannot have sent is nobody's: a flood of it is to cost this worker alone.
    aftr.settings.aftr_address(quoted.source())?;
    if !aftr.settings.allows_b4(quoted.destination()) {
        return None;
    }
    aftr.share.other_owner_of_b4(quoted.destination()).filter(|_| !packet.is_from_worker())
}

/// Takes an ICMPv6 error whose checksum is right.
pub(super) fn take(aftr: &mut Aftr, message: &[u8], now: Instant) -> Result<Verdict, DropReason> {
    let parameter = u32::from_be_bytes([message[4], message[5], message[6], message[7]]);
    let quote = Quote::read(aftr, &message[icmpv6::HEADER..]).ok_or(DropReason::Icmp6Quote)?;
    let answer = match (message[0], message[1]) {
        (kind::PACKET_TOO_BIG, _) => {
            if parameter < LEAST_MTU {
                return Err(DropReason::Icmp6PtbSmall);
            }
            if !quote.is_believable(aftr, parameter) {
                return Err(DropReason::Icmp6Quote);
            }
            aftr.softwires.learn_mtu(quote.softwire, parameter, now);
            let tells = aftr.settings.config.softwire.df_policy == DfPolicy::Honour;
            tells.then(|| Answer::TooBig(aftr.tunnel_mtu(quote.softwire, now)))
        }
        (kind::UNREACHABLE, _) | (kind::TIME_EXCEEDED, 0) => Some(LOST),
        (kind::PARAMETER_PROBLEM, 0) if parameter == LIMIT_AT => Some(LOST),
        _ => return Err(DropReason::Icmp6Type),
    };
    aftr.counters.tunnel_errors += 1;
    if let (Some(answer), Some(inner)) = (answer, quote.inner) {
        let lost = Packet::copied_from(inner, Side::Internet);
        tell_sender(aftr, lost, quote.softwire, answer, now);
    }
    Ok(Verdict::Hold)
}

/// A packet of ours, as an error quotes it.
struct Quote<'m> {
    softwire: u32,
    /// Octets that the outer packet had.
    length: u32,
    /// Its identification, of a piece that is not the first.
    piece: Option<u32>,
    /// The inner packet, or its front; none in a fragment that is not the first.
    inner: Option<&'m [u8]>,
}

impl<'m> Quote<'m> {
    /// What was not sent by us into an open softwire is nobody's.
    fn read(aftr: &Aftr, quotation: &'m [u8]) -> Option<Quote<'m>> {
        let header = Ipv6::view(quotation)?;
        aftr.settings.aftr_address(header.source())?;
        let softwire = aftr.softwires.find(header.destination())?;
        let (mut next, mut at) = (header.next_header(), ipv6::HEADER);
        let length = u32::from(header.payload_length()) + ipv6::HEADER as u32;
        let mut piece = None;
        if next == next_header::FRAGMENT {
            let fragment = Fragment::view(&quotation[at..])?;
            piece = (fragment.offset() > 0).then(|| fragment.identification.get());
            (next, at) = (fragment.next_header, at + fragment::HEADER);
        }
        // The only header that we put between is eight octets long.
        if next == next_header::DESTINATION && piece.is_none() {
            (next, at) = (*quotation.get(at)?, at + 8);
        }
        let inner = match (next, piece) {
            (next_header::IPV4, None) => quotation.get(at..),
            (next_header::IPV4 | next_header::DESTINATION, Some(_)) => None,
            _ => return None,
        };
        Some(Quote { softwire, length, piece, inner })
    }

    /// RFC 8201 section 4: a packet that we sent and that was too big: one that somebody behind the B4 has a
    /// mapping for, or a piece whose identification is one of our latest.
    fn is_believable(&self, aftr: &Aftr, mtu: u32) -> bool {
        let b4 = aftr.softwires.slab[self.softwire].b4;
        let was_sent = match (self.inner, self.piece) {
            (Some(inner), _) => is_for_a_mapping(aftr, inner, self.softwire),
            (None, Some(identification)) => aftr.identifications.is_recent(b4, identification),
            (None, None) => false,
        };
        was_sent && self.length > mtu
    }
}
