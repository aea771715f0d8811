//! What can be said of a packet that left, read with pnet: names and texts that `expect` lines match.

use std::collections::BTreeMap;

use pnet_packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet_packet::ipv4::Ipv4Packet;
use pnet_packet::ipv6::Ipv6Packet;
use pnet_packet::tcp::TcpPacket;
use pnet_packet::util;

pub(crate) type Fields = BTreeMap<&'static str, String>;

/// Everything that is known of `packet`.
pub(crate) fn fields(packet: &[u8]) -> Fields {
    let mut fields = Fields::new();
    match packet.first().map(|first| first >> 4) {
        Some(6) => outer(packet, &mut fields),
        Some(4) => inner(packet, &mut fields),
        _ => {}
    }
    fields
}

/// The IPv4 packet in an IPv6 packet with or without one extension header, or by itself.
pub(crate) fn inner_of(packet: &[u8]) -> Option<&[u8]> {
    match (packet.first()? >> 4, packet.get(6)) {
        (4, _) => Some(packet),
        (6, Some(4)) => packet.get(40..),
        (6, Some(60)) if packet.get(40) == Some(&4) => packet.get(48..),
        _ => None,
    }
}

fn outer(packet: &[u8], fields: &mut Fields) {
    let Some(header) = Ipv6Packet::new(packet) else { return };
    fields.insert("outer-from", header.get_source().to_string());
    fields.insert("b4", header.get_destination().to_string());
    fields.insert("outer-dscp", (header.get_traffic_class() >> 2).to_string());
    fields.insert("outer-ecn", ecn_name(header.get_traffic_class() & 3));
    fields.insert("outer-hop-limit", header.get_hop_limit().to_string());
    fields.insert("outer-label", header.get_flow_label().to_string());
    fields.insert("outer-len", packet.len().to_string());
    fields.insert("outer-payload", header.get_payload_length().to_string());
    fields.insert("outer-next-header", header.get_next_header().0.to_string());
    if header.get_next_header().0 == 44 && packet.len() > 48 {
        let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        fields.insert("outer-id", (u32::from(word(44)) << 16 | u32::from(word(46))).to_string());
        fields.insert("outer-part", part(usize::from(word(42) & !7), packet.len() - 48, word(42) & 1 != 0));
    } else if let Some(inside) = inner_of(packet) {
        inner(inside, fields);
    } else if header.get_next_header() == IpNextHeaderProtocols::Icmpv6 && packet.len() >= 48 {
        let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        fields.insert("icmp6", format!("{}/{}", packet[40], packet[41]));
        fields.insert("pointer", (u32::from(word(44)) << 16 | u32::from(word(46))).to_string());
        fields.insert("query", word(44).to_string());
        fields.insert("seq", word(46).to_string());
        fields.insert("quote-len", (packet.len() - 48).to_string());
        let (from, to) = (header.get_source(), header.get_destination());
        let sum = util::ipv6_checksum(&packet[40..], 1, &[], &from, &to, IpNextHeaderProtocols::Icmpv6);
        fields.insert("checksum", goodness(sum == word(42)));
    }
}

fn inner(packet: &[u8], fields: &mut Fields) {
    let Some(header) = Ipv4Packet::new(packet) else { return };
    let length = usize::from(header.get_header_length()) * 4;
    fields.insert("proto", header.get_next_level_protocol().0.to_string());
    fields.insert("ttl", header.get_ttl().to_string());
    fields.insert("dscp", header.get_dscp().to_string());
    fields.insert("ecn", ecn_name(header.get_ecn()));
    fields.insert("id", header.get_identification().to_string());
    fields.insert("df", (header.get_flags() & 2 != 0).to_string());
    fields.insert("reserved-bit", (header.get_flags() & 4 != 0).to_string());
    fields.insert("len", header.get_total_length().to_string());
    fields.insert("bytes", packet.len().to_string());
    fields.insert("from-address", header.get_source().to_string());
    fields.insert("to-address", header.get_destination().to_string());
    let Some(top) = packet.get(..length) else { return };
    fields.insert("options", top[20..].iter().map(|byte| format!("{byte:02x}")).collect());
    fields.insert("header-checksum", goodness(util::checksum(top, 5) == header.get_checksum()));
    if let Some(data) = data(packet) {
        fields.insert("data", data.iter().map(|byte| format!("{byte:02x}")).collect());
    }
    let segment = &packet[length..];
    let (offset, more) = (usize::from(header.get_fragment_offset()) * 8, header.get_flags() & 1 != 0);
    if offset != 0 || more {
        fields.insert("part", part(offset, segment.len(), more));
        fields.insert("checksum", "fragment".to_owned());
        // Only the first piece has a transport header, and nobody has all of the data.
        fields.remove("data");
        let shown = if offset == 0 { segment } else { &[] };
        return ends(&header, shown, fields, ["from", "to", "from-port", "to-port", "query"]);
    }
    ends(&header, segment, fields, ["from", "to", "from-port", "to-port", "query"]);
    fields.insert("checksum", checksum_of(&header, segment));
    match header.get_next_level_protocol() {
        IpNextHeaderProtocols::Tcp => tcp(segment, fields),
        IpNextHeaderProtocols::Icmp => icmp(segment, fields),
        _ => {}
    }
}

/// Both ends, with ports where the protocol has them, or the identifier of a query.
fn ends(header: &Ipv4Packet<'_>, segment: &[u8], fields: &mut Fields, names: [&'static str; 5]) {
    let [from, to, from_port, to_port, query] = names;
    let word = |at: usize| segment.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]));
    let (source, destination) = (header.get_source(), header.get_destination());
    match (header.get_next_level_protocol(), word(0), word(2)) {
        (IpNextHeaderProtocols::Tcp | IpNextHeaderProtocols::Udp, Some(a), Some(b)) => {
            fields.insert(from, format!("{source}:{a}"));
            fields.insert(to, format!("{destination}:{b}"));
            fields.insert(from_port, a.to_string());
            fields.insert(to_port, b.to_string());
        }
        (IpNextHeaderProtocols::Icmp, ..) => {
            fields.insert(from, source.to_string());
            fields.insert(to, destination.to_string());
            if let Some(identifier) = word(4) {
                fields.insert(query, identifier.to_string());
            }
        }
        _ => {
            fields.insert(from, source.to_string());
            fields.insert(to, destination.to_string());
        }
    }
}

/// `START..END`, with a `+` when more follows.
fn part(offset: usize, length: usize, more: bool) -> String {
    format!("{offset}..{}{}", offset + length, if more { "+" } else { "" })
}

fn tcp(segment: &[u8], fields: &mut Fields) {
    let Some(header) = TcpPacket::new(segment) else { return };
    let letters = [("S", 2), ("A", 16), ("F", 1), ("R", 4), ("P", 8), ("U", 32)];
    let flags = header.get_flags();
    let present: String =
        letters.iter().filter(|(_, bit)| flags & bit != 0).map(|(letter, _)| *letter).collect();
    fields.insert("flags", present);
    fields.insert("seq", header.get_sequence().to_string());
    fields.insert("ack", header.get_acknowledgement().to_string());
    let options = segment.get(20..usize::from(header.get_data_offset()) * 4).unwrap_or_default();
    fields.insert("tcp-options", options.iter().map(|byte| format!("{byte:02x}")).collect());
    // Stories put the option at the front, or behind NOPs.
    let mss = match options.iter().position(|&kind| kind != 1).map(|at| &options[at..]) {
        Some([2, 4, high, low, ..]) => u16::from_be_bytes([*high, *low]).to_string(),
        _ => "none".to_owned(),
    };
    fields.insert("mss", mss);
}

fn icmp(segment: &[u8], fields: &mut Fields) {
    let [kind, code, _, _, a, b, c, d, quoted @ ..] = segment else { return };
    fields.insert("icmp", format!("{kind}/{code}"));
    fields.insert("seq", u16::from_be_bytes([*c, *d]).to_string());
    fields.insert("mtu", u16::from_be_bytes([*c, *d]).to_string());
    fields.insert("pointer", a.to_string());
    fields.insert("quoted-words", b.to_string());
    let is_error = matches!(kind, 3 | 11 | 12);
    let Some(header) = Ipv4Packet::new(quoted).filter(|_| is_error) else { return };
    let length = usize::from(header.get_header_length()) * 4;
    fields.insert("quote-len", quoted.len().to_string());
    fields.insert("quoted-ttl", header.get_ttl().to_string());
    fields.insert("quoted-dscp", header.get_dscp().to_string());
    let Some(top) = quoted.get(..length) else { return };
    fields.insert("quoted-header-checksum", goodness(util::checksum(top, 5) == header.get_checksum()));
    let names = ["quoted-from", "quoted-to", "quoted-from-port", "quoted-to-port", "quoted-query"];
    ends(&header, &quoted[length..], fields, names);
    let is_whole = quoted.len() >= usize::from(header.get_total_length());
    if is_whole {
        let segment = &quoted[length..usize::from(header.get_total_length())];
        fields.insert("quoted-checksum", checksum_of(&header, segment));
    }
    if *b != 0 && quoted.len() > usize::from(*b) * 4 {
        let extension = &quoted[usize::from(*b) * 4..];
        fields.insert("extension", extension.iter().map(|byte| format!("{byte:02x}")).collect());
    }
}

/// `good`, `bad`, or `none`.
fn checksum_of(header: &Ipv4Packet<'_>, segment: &[u8]) -> String {
    let (source, destination) = (header.get_source(), header.get_destination());
    let with_pseudo = |at: usize, number: IpNextHeaderProtocol| {
        let there = segment.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]))?;
        Some((there, util::ipv4_checksum(segment, at / 2, &[], &source, &destination, number)))
    };
    let pair = match header.get_next_level_protocol() {
        IpNextHeaderProtocols::Tcp => with_pseudo(16, IpNextHeaderProtocols::Tcp),
        IpNextHeaderProtocols::Udp => match with_pseudo(6, IpNextHeaderProtocols::Udp) {
            Some((0, _)) => None,
            Some((there, 0)) => Some((there, 0xffff)),
            other => other,
        },
        IpNextHeaderProtocols::Icmp if segment.len() >= 4 => {
            Some((u16::from_be_bytes([segment[2], segment[3]]), util::checksum(segment, 1)))
        }
        _ => None,
    };
    pair.map_or_else(|| "none".to_owned(), |(there, right)| goodness(there == right))
}

/// The bytes behind the transport header: nobody may touch them.
pub(crate) fn data(inner: &[u8]) -> Option<&[u8]> {
    let header = Ipv4Packet::new(inner)?;
    let length = usize::from(header.get_header_length()) * 4;
    let segment = inner.get(length..usize::from(header.get_total_length()).min(inner.len()))?;
    match header.get_next_level_protocol() {
        IpNextHeaderProtocols::Udp => segment.get(8..),
        IpNextHeaderProtocols::Tcp => {
            segment.get(usize::from(TcpPacket::new(segment)?.get_data_offset()) * 4..)
        }
        IpNextHeaderProtocols::Icmp if matches!(segment.first(), Some(0 | 8 | 13 | 14)) => segment.get(8..),
        _ => None,
    }
}

fn goodness(good: bool) -> String {
    if good { "good" } else { "bad" }.to_owned()
}

fn ecn_name(bits: u8) -> String {
    ["not-ect", "ect1", "ect0", "ce"][usize::from(bits & 3)].to_owned()
}

/// Whether `text` is what `pattern` says: `*` stands for anything, `!` in front turns it round, `1..9` is
/// a range of numbers with both ends.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    if let Some(rest) = pattern.strip_prefix('!') {
        return !matches(rest, text);
    }
    if let Some((low, high)) = pattern.split_once("..")
        && let (Ok(low), Ok(high), Ok(number)) = (low.parse::<u64>(), high.parse(), text.parse())
    {
        return (low..=high).contains(&number);
    }
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}
