//! The chain of IPv6 extension headers (RFC 8200 section 4), walked from left to right until the
//! upper layer, or a fragment header, is reached.

use super::ipv6::{self, Ipv6, next_header};

/// Longest chain that is walked, in headers and in bytes (RFC 9288 asks for a limit).
const MOST_HEADERS: usize = 8;
const MOST_BYTES: usize = 256;

/// Where the chain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upper {
    /// Type of the upper layer, or of the fragment header.
    pub next_header: u8,
    /// Where it starts in the packet.
    pub offset: usize,
    /// Where the field that named it stands: what a Parameter Problem points to.
    pub named_at: usize,
}

/// Why a chain cannot be walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainFault {
    /// Too many headers or bytes, or an option longer than its header.
    Unwalkable,
    /// The packet ends before the chain does.
    CutShort,
    /// An unknown option whose type says: discard (RFC 8200 section 4.2, high bits 01).
    OptionDiscard,
    /// An unknown option whose type says: discard and send a Parameter Problem, code 2, that points there.
    OptionReport(usize),
    /// A routing header with segments left, at this offset of its type field (RFC 5095).
    Routing(usize),
    /// A hop-by-hop header that is not the first; the offset of the field that named it.
    MisplacedHopByHop(usize),
}

/// Walks the chain of a packet whose IPv6 header was checked.
///
/// # Errors
/// [`ChainFault`] for the first header that cannot be passed.
pub fn walk(packet: &[u8]) -> Result<Upper, ChainFault> {
    let next_header = Ipv6::view(packet).ok_or(ChainFault::CutShort)?.next_header();
    walk_from(packet, Upper { next_header, offset: ipv6::HEADER, named_at: 6 })
}

/// Type and place of what stands behind all extension headers, whatever is wrong with them; none when it is not
/// there, as in a fragment that is not the first.
#[must_use]
pub fn upper_layer(packet: &[u8]) -> Option<(u8, usize)> {
    let (mut next, mut at) = (Ipv6::view(packet)?.next_header(), ipv6::HEADER);
    while let next_header::HOP_BY_HOP
    | next_header::ROUTING
    | next_header::DESTINATION
    | next_header::FRAGMENT = next
    {
        let &[following, units, high, low, ..] = packet.get(at..)? else { return None };
        if next == next_header::FRAGMENT && u16::from_be_bytes([high, low]) & !7 != 0 {
            return None;
        }
        at += if next == next_header::FRAGMENT { 8 } else { (usize::from(units) + 1) * 8 };
        next = following;
    }
    Some((next, at))
}

/// Walks the rest of a chain, from a header in it.
///
/// # Errors
/// As [`walk`].
pub fn walk_from(packet: &[u8], start: Upper) -> Result<Upper, ChainFault> {
    let mut upper = start;
    for count in 0.. {
        let is_extension = matches!(
            upper.next_header,
            next_header::HOP_BY_HOP | next_header::ROUTING | next_header::DESTINATION
        );
        if !is_extension {
            return Ok(upper);
        }
        if upper.next_header == next_header::HOP_BY_HOP && upper.named_at != 6 {
            return Err(ChainFault::MisplacedHopByHop(upper.named_at));
        }
        if count == MOST_HEADERS {
            return Err(ChainFault::Unwalkable);
        }
        upper = pass(packet, upper)?;
        if upper.offset - start.offset > MOST_BYTES {
            return Err(ChainFault::Unwalkable);
        }
    }
    Err(ChainFault::Unwalkable)
}

/// Passes one extension header.
fn pass(packet: &[u8], here: Upper) -> Result<Upper, ChainFault> {
    let rest = packet.get(here.offset..).ok_or(ChainFault::CutShort)?;
    let [next, units, ..] = *rest else {
        return Err(ChainFault::CutShort);
    };
    let length = (usize::from(units) + 1) * 8;
    let header = rest.get(..length).ok_or(ChainFault::CutShort)?;
    if here.next_header == next_header::ROUTING {
        // Segments left 0: ignored, whatever its type (RFC 8200 section 4.4).
        if header[3] != 0 {
            return Err(ChainFault::Routing(here.offset + 2));
        }
    } else {
        check_options(header, here.offset)?;
    }
    Ok(Upper { next_header: next, offset: here.offset + length, named_at: here.offset })
}

/// Options of a hop-by-hop or destination header. The Tunnel Encapsulation Limit (RFC 2473 section
/// 4.1.1), which Linux B4s send by default, is known and without meaning at the end of a tunnel.
fn check_options(header: &[u8], offset: usize) -> Result<(), ChainFault> {
    const PAD1: u8 = 0;
    const PADN: u8 = 1;
    const TUNNEL_ENCAPSULATION_LIMIT: u8 = 4;
    const ROUTER_ALERT: u8 = 5;

    let mut at = 2;
    while at < header.len() {
        let kind = header[at];
        if kind == PAD1 {
            at += 1;
            continue;
        }
        let length = usize::from(*header.get(at + 1).ok_or(ChainFault::Unwalkable)?);
        if at + 2 + length > header.len() {
            return Err(ChainFault::Unwalkable);
        }
        if !matches!(kind, PADN | TUNNEL_ENCAPSULATION_LIMIT | ROUTER_ALERT) {
            match kind >> 6 {
                0 => {}
                1 => return Err(ChainFault::OptionDiscard),
                _ => return Err(ChainFault::OptionReport(offset + at)),
            }
        }
        at += 2 + length;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(first: u8, headers: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; ipv6::HEADER];
        bytes[0] = 0x60;
        bytes[6] = first;
        bytes.extend_from_slice(headers);
        bytes
    }

    #[test]
    fn row_2473_3_3_a_hop_by_hop_then_destination_options_then_ipv4() {
        let headers = [60, 0, 1, 4, 0, 0, 0, 0, 4, 0, 4, 1, 4, 1, 1, 0, 0x45];
        assert_eq!(walk(&packet(0, &headers)), Ok(Upper { next_header: 4, offset: 56, named_at: 48 }));
    }

    #[test]
    fn row_m6_an_unknown_option_acts_by_its_high_bits() {
        for (kind, expected) in [
            (0x1e, None),
            (0x5e, Some(ChainFault::OptionDiscard)),
            (0x9e, Some(ChainFault::OptionReport(42))),
            (0xde, Some(ChainFault::OptionReport(42))),
        ] {
            let headers = [4, 0, kind, 4, 0, 0, 0, 0];
            assert_eq!(walk(&packet(60, &headers)).err(), expected, "option {kind:#x}");
        }
    }

    #[test]
    fn row_m8_a_routing_header_with_segments_left_is_refused_and_without_is_passed() {
        assert_eq!(walk(&packet(43, &[4, 0, 0, 1, 0, 0, 0, 0])), Err(ChainFault::Routing(42)));
        assert!(walk(&packet(43, &[4, 0, 0, 0, 0, 0, 0, 0])).is_ok());
    }

    #[test]
    fn row_m9_a_chain_too_long_cut_short_or_with_a_late_hop_by_hop_header() {
        let pad = [60, 0, 1, 4, 0, 0, 0, 0];
        assert_eq!(walk(&packet(60, &pad.repeat(9))), Err(ChainFault::Unwalkable));
        assert_eq!(walk(&packet(60, &[4, 40, 1, 4])), Err(ChainFault::CutShort));
        assert_eq!(walk(&packet(60, &[0, 0, 1, 4, 0, 0, 0, 0])), Err(ChainFault::MisplacedHopByHop(40)));
    }
}
