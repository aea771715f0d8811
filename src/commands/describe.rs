//! One packet in one line, for people: what `replay`, `explain` and `lab` print.
//!
//! Every byte sequence has a line. What is wrong with a packet is said where it stands, so that a drop
//! can be understood from the line alone.

use std::fmt::{self, Display, Formatter};

use crate::engine::Protocol;
use crate::wire::icmpv4::{self, Class, Icmpv4};
use crate::wire::ipv4::{self, Ipv4, protocol};
use crate::wire::ipv6::{self, Ipv6, next_header};
use crate::wire::tcp::{self, Tcp, flag};
use crate::wire::udp::{self, Udp};
use crate::wire::{checksum, extension, icmpv6};

/// The line that describes `packet`, an IPv4 or IPv6 packet or any other bytes.
pub fn describe(packet: &[u8]) -> impl Display + '_ {
    Line(packet)
}

struct Line<'a>(&'a [u8]);

impl Display for Line<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0.first().map(|first| first >> 4) {
            Some(4) => ipv4_packet(f, self.0, Depth::Packet),
            Some(6) => ipv6_packet(f, self.0),
            _ => write!(f, "{} bytes that are no IP packet", self.0.len()),
        }
    }
}

/// Whether a packet is there itself, or its front is quoted by an ICMP error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Packet,
    Quoted,
}

fn ipv6_packet(f: &mut Formatter<'_>, packet: &[u8]) -> fmt::Result {
    let Some(header) = Ipv6::view(packet) else {
        return write!(f, "IPv6 of {} bytes: cut short", packet.len());
    };
    write!(f, "{} > {}", header.source(), header.destination())?;
    class(f, header.traffic_class())?;
    if header.flow_label() != 0 {
        write!(f, " label {:#x}", header.flow_label())?;
    }
    let present = packet.len() - ipv6::HEADER;
    let payload = usize::from(header.payload_length());
    if payload != present {
        write!(f, " payload {payload} of {present}")?;
    }
    let packet = &packet[..ipv6::HEADER + payload.min(present)];
    match extension::walk(packet) {
        Ok(upper) => {
            if upper.offset > ipv6::HEADER {
                write!(f, " extensions {}", upper.offset - ipv6::HEADER)?;
            }
            f.write_str(" | ")?;
            ipv6_upper(f, upper.next_header, packet.get(upper.offset..).unwrap_or_default(), header)
        }
        Err(fault) => write!(f, " | extension headers: {fault:?}"),
    }
}

fn ipv6_upper(f: &mut Formatter<'_>, next: u8, payload: &[u8], header: &Ipv6) -> fmt::Result {
    match next {
        next_header::IPV4 if payload.first().is_none_or(|first| first >> 4 != 4) => {
            write!(f, "{} bytes that are no IPv4 packet", payload.len())
        }
        next_header::IPV4 => ipv4_packet(f, payload, Depth::Packet),
        next_header::ICMPV6 => icmpv6_message(f, payload, header),
        next_header::FRAGMENT => ipv6_fragment(f, payload),
        next_header::UDP => match Udp::view(payload) {
            Some(udp) => write!(f, "UDP port {} > {}", udp.source, udp.destination),
            None => f.write_str("UDP: cut short"),
        },
        next_header::TCP => f.write_str("TCP over IPv6"),
        next_header::NONE => f.write_str("nothing"),
        other => write!(f, "next header {other}"),
    }
}

fn icmpv6_message(f: &mut Formatter<'_>, message: &[u8], header: &Ipv6) -> fmt::Result {
    let [kind, code, _, _, rest @ ..] = message else { return f.write_str("ICMPv6: cut short") };
    write!(f, "ICMPv6 {kind}/{code}")?;
    let word = rest.first_chunk::<4>().map_or(0, |word| u32::from_be_bytes(*word));
    match *kind {
        icmpv6::kind::UNREACHABLE => f.write_str(" unreachable")?,
        icmpv6::kind::PACKET_TOO_BIG => write!(f, " packet too big, mtu {word}")?,
        icmpv6::kind::TIME_EXCEEDED => f.write_str(" time exceeded")?,
        icmpv6::kind::PARAMETER_PROBLEM => write!(f, " parameter problem at {word}")?,
        icmpv6::kind::ECHO => write!(f, " echo request id {} seq {}", word >> 16, word & 0xffff)?,
        icmpv6::kind::ECHO_REPLY => write!(f, " echo reply id {} seq {}", word >> 16, word & 0xffff)?,
        _ => {}
    }
    if !icmpv6::checksum_is_right(message, header.source(), header.destination()) {
        f.write_str(", bad ICMPv6 checksum")?;
    }
    if *kind < icmpv6::kind::ECHO && message.len() > icmpv6::HEADER {
        write!(f, " about [{}]", Line(&message[icmpv6::HEADER..]))?;
    }
    Ok(())
}

fn ipv6_fragment(f: &mut Formatter<'_>, header: &[u8]) -> fmt::Result {
    let [next, _, high, low, a, b, c, d, rest @ ..] = header else {
        return f.write_str("fragment: cut short");
    };
    let field = u16::from_be_bytes([*high, *low]);
    let id = u32::from_be_bytes([*a, *b, *c, *d]);
    let more = if field & 1 != 0 { " more" } else { "" };
    write!(f, "fragment of {next} id {id:#x} at {} len {}{more}", field & !7, rest.len())
}

fn ipv4_packet(f: &mut Formatter<'_>, packet: &[u8], depth: Depth) -> fmt::Result {
    let Some(header) = Ipv4::view(packet) else {
        return write!(f, "IPv4 of {} bytes: cut short", packet.len());
    };
    let (length, total) = (header.header_length(), usize::from(header.total_length()));
    let is_whole = length >= ipv4::HEADER && length <= packet.len() && total >= length;
    let segment = if is_whole { &packet[length..packet.len().min(total)] } else { &[] };
    let is_first = header.fragment_offset() == 0;
    if is_first && is_whole {
        flow(f, header, segment)?;
    } else {
        write!(f, "protocol {} {} > {}", header.protocol(), header.source(), header.destination())?;
    }
    write!(f, " ttl {} len {total}", header.ttl())?;
    if depth == Depth::Packet && total != packet.len() {
        write!(f, " of {}", packet.len())?;
    }
    class(f, header.tos())?;
    details(f, header, packet)?;
    // What was cut off, as in an ICMPv6 error, is not known to be wrong.
    if depth == Depth::Packet && is_whole && total <= packet.len() && !header.is_fragment() {
        wrong_checksum(f, header, segment)?;
    }
    if is_first && is_whole { icmp_quotation(f, header, segment, depth) } else { Ok(()) }
}

/// What the header says beyond the ordinary.
fn details(f: &mut Formatter<'_>, header: &Ipv4, packet: &[u8]) -> fmt::Result {
    let length = header.header_length();
    if header.version() != 4 {
        write!(f, ", version {}", header.version())?;
    }
    if length != ipv4::HEADER {
        write!(f, ", header of {length}")?;
    }
    if header.identification() != 0 {
        write!(f, " id {}", header.identification())?;
    }
    if header.dont_fragment() {
        f.write_str(" df")?;
    }
    if header.is_fragment() {
        write!(f, " fragment at {}", header.fragment_offset())?;
    }
    match packet.get(..length) {
        Some(bytes) if length >= ipv4::HEADER && checksum::of(bytes) != 0 => {
            f.write_str(", bad header checksum")
        }
        _ => Ok(()),
    }
}

/// Protocol, and both ends with their ports where there are any.
fn flow(f: &mut Formatter<'_>, header: &Ipv4, segment: &[u8]) -> fmt::Result {
    let (source, destination) = (header.source(), header.destination());
    match (header.protocol(), segment) {
        (protocol::UDP, [a, b, c, d, ..]) => {
            let (from, to) = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
            write!(f, "UDP {source}:{from} > {destination}:{to}")
        }
        (protocol::TCP, [a, b, c, d, ..]) => {
            let (from, to) = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
            write!(f, "TCP {source}:{from} > {destination}:{to}")?;
            Tcp::view(segment).map_or(Ok(()), |header| tcp_details(f, header, segment))
        }
        (protocol::ICMP, _) => {
            write!(f, "ICMP {source} > {destination}")?;
            match Icmpv4::view(segment) {
                Some(header) => icmp_kind(f, header),
                None => f.write_str(" cut short"),
            }
        }
        (number, _) => write!(f, "protocol {number} {source} > {destination}"),
    }
}

/// A protocol as configuration writes it.
pub(super) fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Icmp => "icmp",
    }
}

/// The names of the TCP flags that are set, in the order of a conversation.
pub(super) fn tcp_flags(bits: u8) -> impl Iterator<Item = &'static str> {
    const NAMES: [(u8, &str); 6] = [
        (flag::SYN, "SYN"),
        (flag::FIN, "FIN"),
        (flag::RST, "RST"),
        (flag::PSH, "PSH"),
        (flag::ACK, "ACK"),
        (flag::URG, "URG"),
    ];
    NAMES.into_iter().filter(move |(bit, _)| bits & bit != 0).map(|(_, name)| name)
}

fn tcp_details(f: &mut Formatter<'_>, header: &Tcp, segment: &[u8]) -> fmt::Result {
    if tcp_flags(header.flags).next().is_none() {
        f.write_str(" no-flags")?;
    }
    for name in tcp_flags(header.flags) {
        write!(f, " {name}")?;
    }
    if let Some(mss) = mss(segment.get(tcp::HEADER..header.header_length()).unwrap_or_default()) {
        write!(f, " mss {mss}")?;
    }
    Ok(())
}

/// The MSS that TCP options ask for.
pub(super) fn mss(mut options: &[u8]) -> Option<u16> {
    loop {
        match options {
            [1, rest @ ..] => options = rest,
            [2, 4, high, low, ..] => return Some(u16::from_be_bytes([*high, *low])),
            [kind, length, ..] if *kind != 0 && *length >= 2 => {
                options = options.get(usize::from(*length)..)?;
            }
            _ => return None,
        }
    }
}

fn icmp_kind(f: &mut Formatter<'_>, header: &Icmpv4) -> fmt::Result {
    let name = match header.kind {
        icmpv4::kind::ECHO_REPLY => "echo reply",
        icmpv4::kind::UNREACHABLE => "unreachable",
        icmpv4::kind::ECHO => "echo request",
        icmpv4::kind::TIME_EXCEEDED => "time exceeded",
        icmpv4::kind::PARAMETER_PROBLEM => "parameter problem",
        icmpv4::kind::TIMESTAMP => "timestamp request",
        icmpv4::kind::TIMESTAMP_REPLY => "timestamp reply",
        _ => "type",
    };
    match header.class() {
        Class::Request | Class::Reply => {
            write!(f, " {name} id {} seq {}", header.identifier, header.sequence)
        }
        Class::Error if (header.kind, header.code) == (icmpv4::kind::UNREACHABLE, 4) => {
            write!(f, " {name} {}/{} mtu {}", header.kind, header.code, header.sequence)
        }
        Class::Error | Class::Other => write!(f, " {name} {}/{}", header.kind, header.code),
    }
}

fn icmp_quotation(f: &mut Formatter<'_>, header: &Ipv4, segment: &[u8], depth: Depth) -> fmt::Result {
    let is_error = header.protocol() == protocol::ICMP
        && Icmpv4::view(segment).is_some_and(|icmp| icmp.class() == Class::Error);
    if !is_error || depth == Depth::Quoted {
        return Ok(());
    }
    f.write_str(" about [")?;
    ipv4_packet(f, &segment[icmpv4::HEADER..], Depth::Quoted)?;
    f.write_str("]")
}

fn wrong_checksum(f: &mut Formatter<'_>, header: &Ipv4, segment: &[u8]) -> fmt::Result {
    let pseudo = checksum::pseudo_header_v4(
        header.source(),
        header.destination(),
        segment.len() as u16,
        header.protocol(),
    );
    let covered = checksum::finish(pseudo + checksum::sum(segment));
    match header.protocol() {
        protocol::UDP if segment.len() >= udp::HEADER => {
            if segment[6..8] == [0, 0] {
                f.write_str(", no UDP checksum")?;
            } else if covered != 0 {
                f.write_str(", bad UDP checksum")?;
            }
        }
        protocol::TCP if segment.len() >= tcp::HEADER && covered != 0 => f.write_str(", bad TCP checksum")?,
        protocol::ICMP if segment.len() >= icmpv4::HEADER && checksum::of(segment) != 0 => {
            f.write_str(", bad ICMP checksum")?;
        }
        _ => {}
    }
    Ok(())
}

/// DSCP and ECN, when they are not 0.
fn class(f: &mut Formatter<'_>, octet: u8) -> fmt::Result {
    if octet >> 2 != 0 {
        write!(f, " dscp {}", octet >> 2)?;
    }
    match octet & 3 {
        1 => f.write_str(" ect1"),
        2 => f.write_str(" ect0"),
        3 => f.write_str(" ce"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UDP: [u8; 28] = [
        0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0xf4, 0xcd, 10, 0, 0, 2, 203, 0, 113, 1, 0x13, 0x88, 0, 80, 0,
        8, 0, 0,
    ];

    fn line(packet: &[u8]) -> String {
        describe(packet).to_string()
    }

    #[test]
    fn a_packet_and_what_is_odd_about_it_fit_in_a_line() {
        assert_eq!(line(&UDP), "UDP 10.0.0.2:5000 > 203.0.113.1:80 ttl 64 len 28 df, no UDP checksum");
        let mut wrong = UDP;
        wrong[1] = 46 << 2 | 3;
        wrong[27] = 1;
        let expected = "UDP 10.0.0.2:5000 > 203.0.113.1:80 ttl 64 len 28 dscp 46 ce df, bad header checksum, bad UDP checksum";
        assert_eq!(line(&wrong), expected);
        assert_eq!(line(&UDP[..27]), "UDP 10.0.0.2:5000 > 203.0.113.1:80 ttl 64 len 28 of 27 df");
        assert_eq!(line(&[]), "0 bytes that are no IP packet");
        assert_eq!(line(&[0x60, 0]), "IPv6 of 2 bytes: cut short");
    }

    #[test]
    fn a_softwire_packet_shows_both_headers() {
        let (b4, aftr) = ("2001:db8::a".parse().unwrap(), "2001:db8:ff::1".parse().unwrap());
        let outer = Ipv6::new(b4, aftr, next_header::IPV4, UDP.len() as u16, 64, 0, 0);
        let packet = [zerocopy::IntoBytes::as_bytes(&outer), &UDP].concat();
        assert!(
            line(&packet).starts_with("2001:db8::a > 2001:db8:ff::1 | UDP 10.0.0.2:5000 > "),
            "{}",
            line(&packet)
        );
    }

    #[test]
    fn every_byte_sequence_has_a_line() {
        let outer = Ipv6::new(std::net::Ipv6Addr::LOCALHOST, std::net::Ipv6Addr::LOCALHOST, 60, 900, 1, 3, 9);
        let whole = [zerocopy::IntoBytes::as_bytes(&outer), &[4, 0, 1, 4, 0, 0, 0, 0], &UDP].concat();
        for packet in [whole.as_slice(), &UDP] {
            for at in 0..packet.len() {
                for value in 0..=255 {
                    let mut spoilt = packet.to_vec();
                    spoilt[at] = value;
                    assert!(!line(&spoilt).is_empty());
                    assert!(!line(&spoilt[..at]).is_empty());
                }
            }
        }
    }
}
