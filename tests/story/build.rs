//! Packets from the words of a story, made with pnet: nothing here knows the code under test.

use std::net::{Ipv4Addr, Ipv6Addr};

use pnet_packet::icmp::MutableIcmpPacket;
use pnet_packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet_packet::ipv4::MutableIpv4Packet;
use pnet_packet::ipv6::MutableIpv6Packet;
use pnet_packet::tcp::MutableTcpPacket;
use pnet_packet::udp::MutableUdpPacket;
use pnet_packet::util;

use super::language::{Settings, hex, named, named_end, word};

/// Looks a packet up that left before, by the number of the packet that made it leave.
pub(crate) type Outputs<'a> = &'a dyn Fn(u64) -> Option<Vec<u8>>;

/// The packet that `words` tell of: `from-b4 …` or `from-internet …`.
pub(crate) fn packet(words: &[String], outputs: Outputs<'_>) -> Result<Vec<u8>, String> {
    match word(words, 0)? {
        "from-internet" => inner(&words[1..], outputs),
        "from-b4" => {
            let b4 = address6(word(words, 1)?)?;
            let (outer_words, inner_words): (Vec<String>, Vec<String>) =
                words[2..].iter().cloned().partition(|word| word.starts_with("outer-"));
            let mut outer = Settings::parse(&outer_words);
            let payload = match word(&inner_words, 0)? {
                "icmpv6" => icmpv6(&inner_words[1..], b4, &mut outer, outputs)?,
                _ => inner(&inner_words, outputs)?,
            };
            let packet = outer_packet(b4, &payload, &mut outer)?;
            outer.finish()?;
            Ok(packet)
        }
        other => Err(format!("{other}: a packet comes from-b4 or from-internet")),
    }
}

fn outer_packet(b4: Ipv6Addr, payload: &[u8], outer: &mut Settings) -> Result<Vec<u8>, String> {
    if let Some(raw) = outer.bytes("outer-raw")? {
        return Ok(raw);
    }
    let to = address6(&outer.take("outer-to").unwrap_or_else(|| "T".to_owned()))?;
    let mut next = outer.number("outer-next-header")?.unwrap_or(4) as u8;
    // `outer-extensions=60:0001040000000000,43:…`: type and all bytes of each header but the first, which
    // names the next header.
    let mut chain = Vec::new();
    if let Some(list) = outer.take("outer-extensions") {
        for header in list.rsplit(',') {
            let (kind, rest) = header.split_once(':').ok_or("outer-extensions=TYPE:HEX")?;
            let bytes = [vec![next], hex(rest)?].concat();
            chain.splice(0..0, bytes);
            next = kind.parse().map_err(|_| format!("{kind} is no header type"))?;
        }
    }
    let padding = outer.number("outer-padding")?.unwrap_or(0) as usize;
    let mut content = [chain.as_slice(), payload].concat();
    let identification = outer.number("outer-id")?.unwrap_or(0) as u32;
    if let Some((start, end)) = outer.range("outer-part")? {
        let more = end < content.len();
        let word = start as u16 | u16::from(more);
        let header = [&[next, 0][..], &word.to_be_bytes(), &identification.to_be_bytes()].concat();
        let part = content.get(start..end).ok_or("outer-part=START..END is not inside the packet")?;
        content = [header.as_slice(), part].concat();
        next = 44;
    }
    let length = outer.number("outer-length")?.map_or(content.len() as u16, |length| length as u16);
    let mut bytes = vec![0; 40 + content.len()];
    let mut header = MutableIpv6Packet::new(&mut bytes).ok_or("40 bytes")?;
    header.set_version(outer.number("outer-version")?.unwrap_or(6) as u8);
    let dscp = outer.number("outer-dscp")?.unwrap_or(0) as u8;
    header.set_traffic_class(dscp << 2 | ecn(outer, "outer-ecn")?);
    header.set_flow_label(outer.number("outer-label")?.unwrap_or(0) as u32);
    header.set_payload_length(length);
    header.set_next_header(IpNextHeaderProtocol(next));
    header.set_hop_limit(outer.number("outer-hop-limit")?.unwrap_or(64) as u8);
    header.set_source(b4);
    header.set_destination(to);
    bytes[40..].copy_from_slice(&content);
    if let Some(cut) = outer.number("outer-cut")? {
        bytes.truncate(cut as usize);
    }
    bytes.extend(vec![0xee; padding]);
    Ok(bytes)
}

/// `icmpv6 TYPE/CODE query=N seq=N payload=N`, or an error with `mtu=N` or `pointer=N` about what left because
/// of packet `about=N`
fn icmpv6(
    words: &[String],
    b4: Ipv6Addr,
    outer: &mut Settings,
    outputs: Outputs<'_>,
) -> Result<Vec<u8>, String> {
    let to = address6("T")?;
    let (kind, code) = kind_and_code(word(words, 0)?)?;
    let mut settings = Settings::parse(&words[1..]);
    let mut message = vec![kind, code, 0, 0];
    if let Some(number) = settings.number("about")? {
        let parameter = settings.number("mtu")?.or(settings.number("pointer")?).unwrap_or(0);
        message.extend((parameter as u32).to_be_bytes());
        let cause = outputs(number).ok_or_else(|| format!("packet {number} made nothing leave"))?;
        // RFC 4443 section 2.4 c
        message.extend(&cause[..cause.len().min(1232)]);
    } else {
        message.extend((settings.number("query")?.unwrap_or(0) as u16).to_be_bytes());
        message.extend((settings.number("seq")?.unwrap_or(0) as u16).to_be_bytes());
        message.extend(filler(settings.number("payload")?.unwrap_or(8) as usize));
    }
    let checksum = util::ipv6_checksum(&message, 1, &[], &b4, &to, IpNextHeaderProtocols::Icmpv6);
    let wrong = u16::from(settings.has("bad-checksum"));
    message[2..4].copy_from_slice(&(checksum ^ wrong).to_be_bytes());
    settings.finish()?;
    // Only the shape differs from IPv4 inside: the next header says so.
    outer.default("outer-next-header", "58");
    Ok(message)
}

/// An IPv4 packet: `udp`, `tcp`, `icmp` or `ip`, or `raw HEX`.
fn inner(words: &[String], outputs: Outputs<'_>) -> Result<Vec<u8>, String> {
    let kind = word(words, 0)?;
    if kind == "raw" {
        return hex(words.get(1).map_or("", String::as_str));
    }
    if word(words, 2)? != ">" {
        return Err("PROTOCOL SOURCE > DESTINATION".to_owned());
    }
    let (source, source_port) = end(word(words, 1)?)?;
    let (destination, destination_port) = end(word(words, 3)?)?;
    let ports = (source_port, destination_port);
    let rest = &words[4..];
    let (protocol, segment, mut settings) = match kind {
        "udp" => (17, udp(ports, rest)?, Settings::parse(rest)),
        "tcp" => (6, tcp(ports, rest)?, Settings::parse(&rest[1..])),
        "icmp" => (1, icmp(rest, outputs)?, Settings::parse(&rest[1..])),
        "ip" => {
            let mut settings = Settings::parse(rest);
            let protocol = settings.number("protocol")?.ok_or("protocol=N")? as u8;
            (protocol, filler(settings.number("payload")?.unwrap_or(18) as usize), settings)
        }
        other => return Err(format!("{other}: udp, tcp, icmp, ip or raw")),
    };
    for key in SEGMENT_KEYS {
        settings.take(key);
    }
    let mut segment = checksummed(segment, protocol, source, destination, &mut settings)?;
    if let Some((start, end)) = settings.range("part")? {
        if end < segment.len() {
            settings.default("more-fragments", "");
        }
        settings.default("offset", &start.to_string());
        segment = segment.get(start..end).ok_or("part=START..END is not inside the datagram")?.to_vec();
    }
    let packet = ipv4(protocol, source, destination, &segment, &mut settings)?;
    settings.finish()?;
    Ok(packet)
}

/// Keys that `udp`, `tcp`, `icmp` and `ip` read themselves.
const SEGMENT_KEYS: &[&str] = &[
    "payload",
    "data",
    "udp-length",
    "mss",
    "tcp-options",
    "data-offset",
    "seq",
    "ack",
    "query",
    "mtu",
    "pointer",
    "about",
    "quote",
    "bad-quoted-header",
    "bad-quoted-checksum",
    "extension",
    "protocol",
    "segment",
];

fn udp((from, to): (u16, u16), words: &[String]) -> Result<Vec<u8>, String> {
    let mut settings = Settings::parse(words);
    let mut bytes = vec![0; 8];
    bytes.extend(filler(settings.number("payload")?.unwrap_or(18) as usize));
    let length = settings.number("udp-length")?.unwrap_or(bytes.len() as u64) as u16;
    let mut header = MutableUdpPacket::new(&mut bytes).ok_or("8 bytes")?;
    header.set_source(from);
    header.set_destination(to);
    header.set_length(length);
    cut(bytes, &mut settings)
}

/// `FLAGS` are letters of S A F R P U, or `none`.
fn tcp((from, to): (u16, u16), words: &[String]) -> Result<Vec<u8>, String> {
    let flags = word(words, 0)?;
    let mut settings = Settings::parse(&words[1..]);
    let mut options = settings.bytes("tcp-options")?.unwrap_or_default();
    if let Some(mss) = settings.number("mss")? {
        options.extend([2, 4]);
        options.extend((mss as u16).to_be_bytes());
    }
    options.resize(options.len().next_multiple_of(4), 0);
    let offset = (20 + options.len()) / 4;
    let mut bytes = vec![0; 20];
    bytes.extend(&options);
    bytes.extend(filler(settings.number("payload")?.unwrap_or(0) as usize));
    bytes.extend(settings.bytes("data")?.unwrap_or_default());
    let mut header = MutableTcpPacket::new(&mut bytes).ok_or("20 bytes")?;
    header.set_source(from);
    header.set_destination(to);
    header.set_sequence(settings.number("seq")?.unwrap_or(1000) as u32);
    header.set_acknowledgement(settings.number("ack")?.unwrap_or(0) as u32);
    header.set_data_offset(settings.number("data-offset")?.unwrap_or(offset as u64) as u8);
    header.set_flags(tcp_flags(flags)?);
    header.set_window(65535);
    cut(bytes, &mut settings)
}

fn tcp_flags(letters: &str) -> Result<u8, String> {
    if letters == "none" {
        return Ok(0);
    }
    letters.chars().try_fold(0, |flags, letter| {
        let at = "FSRPAU".find(letter).ok_or_else(|| format!("{letter} is no TCP flag"))?;
        Ok(flags | 1 << at)
    })
}

/// `echo`, `echo-reply`, `timestamp`, `timestamp-reply` with `query=` and `seq=`, or `TYPE/CODE` with
/// `about={N}`: the packet that left as the answer to packet N is quoted, as its receiver saw it.
fn icmp(words: &[String], outputs: Outputs<'_>) -> Result<Vec<u8>, String> {
    let mut settings = Settings::parse(&words[1..]);
    let (kind, code) = match word(words, 0)? {
        "echo" => (8, 0),
        "echo-reply" => (0, 0),
        "timestamp" => (13, 0),
        "timestamp-reply" => (14, 0),
        other => kind_and_code(other)?,
    };
    let mut bytes = vec![0; 8];
    let mut header = MutableIcmpPacket::new(&mut bytes).ok_or("8 bytes")?;
    header.set_icmp_type(pnet_packet::icmp::IcmpType(kind));
    header.set_icmp_code(pnet_packet::icmp::IcmpCode(code));
    if let Some(pointer) = settings.number("pointer")? {
        bytes[4] = pointer as u8;
    }
    if let Some(query) = settings.number("query")? {
        bytes[4..6].copy_from_slice(&(query as u16).to_be_bytes());
    }
    if let Some(number) = settings.number("seq")?.or(settings.number("mtu")?) {
        bytes[6..8].copy_from_slice(&(number as u16).to_be_bytes());
    }
    match settings.number("about")? {
        Some(number) => {
            let cause = outputs(number).ok_or_else(|| format!("packet {number} made nothing leave"))?;
            quotation(&mut bytes, &cause, &mut settings)?;
        }
        None => bytes.extend(filler(settings.number("payload")?.unwrap_or(8) as usize)),
    }
    cut(bytes, &mut settings)
}

/// Appends the front of `cause`: `quote=N` bytes (default: header and 8), with `extension=HEX` behind it
/// as RFC 4884 has it.
fn quotation(message: &mut Vec<u8>, cause: &[u8], settings: &mut Settings) -> Result<(), String> {
    let cause = if cause[0] >> 4 == 6 { &cause[40..] } else { cause };
    let header = usize::from(cause[0] & 0xf) * 4;
    let most = settings.number("quote")?.map_or(header + 8, |quote| quote as usize);
    let mut quote = cause[..most.min(cause.len())].to_vec();
    if settings.has("bad-quoted-header") {
        quote[10] ^= 0x40;
    }
    if settings.has("bad-quoted-checksum") {
        quote[header + 6] ^= 0x40;
    }
    if let Some(extension) = settings.bytes("extension")? {
        // RFC 4884 section 4: the quotation is padded to 128 bytes, and its length given in words.
        quote.resize(128, 0);
        message[5] = 32;
        quote.extend(extension);
    }
    message.extend(quote);
    Ok(())
}

/// `segment=N`: only the first N bytes of the transport layer are there.
fn cut(mut bytes: Vec<u8>, settings: &mut Settings) -> Result<Vec<u8>, String> {
    if let Some(length) = settings.number("segment")? {
        bytes.truncate(length as usize);
    }
    Ok(bytes)
}

/// Writes the transport checksum, right, or as `bad-checksum` and `no-checksum` ask.
fn checksummed(
    mut segment: Vec<u8>,
    protocol: u8,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    settings: &mut Settings,
) -> Result<Vec<u8>, String> {
    let at = match protocol {
        1 => 2,
        6 => 16,
        17 => 6,
        _ => return Ok(segment),
    };
    let (bad, none) = (settings.has("bad-checksum"), settings.has("no-checksum"));
    if segment.len() < at + 2 {
        return Ok(segment);
    }
    let number = IpNextHeaderProtocol(protocol);
    let right = match protocol {
        1 => util::checksum(&segment, at / 2),
        _ => util::ipv4_checksum(&segment, at / 2, &[], &source, &destination, number),
    };
    let sent = match (protocol, right) {
        (17, 0) => 0xffff,
        (_, right) => right,
    };
    let value = if none { 0 } else { sent ^ u16::from(bad) };
    segment[at..at + 2].copy_from_slice(&value.to_be_bytes());
    Ok(segment)
}

fn ipv4(
    protocol: u8,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    segment: &[u8],
    settings: &mut Settings,
) -> Result<Vec<u8>, String> {
    let mut options = settings.bytes("options")?.unwrap_or_default();
    options.resize(options.len().next_multiple_of(4), 0);
    let length = 20 + options.len();
    let mut bytes = vec![0; length];
    bytes.extend(segment);
    let total = settings.number("length")?.unwrap_or(bytes.len() as u64) as u16;
    let mut flags = 0;
    flags |= if settings.has("df") { 2 } else { 0 };
    flags |= if settings.has("reserved-bit") { 4 } else { 0 };
    flags |= if settings.has("more-fragments") { 1 } else { 0 };
    let ecn = ecn(settings, "ecn")?;
    let mut header = MutableIpv4Packet::new(&mut bytes).ok_or("20 bytes")?;
    header.set_version(4);
    header.set_header_length((length / 4) as u8);
    header.set_dscp(settings.number("dscp")?.unwrap_or(0) as u8);
    header.set_ecn(ecn);
    header.set_total_length(total);
    header.set_identification(settings.number("id")?.unwrap_or(0) as u16);
    header.set_flags(flags);
    header.set_fragment_offset(settings.number("offset")?.unwrap_or(0) as u16 / 8);
    header.set_ttl(settings.number("ttl")?.unwrap_or(64) as u8);
    header.set_next_level_protocol(IpNextHeaderProtocol(protocol));
    header.set_source(source);
    header.set_destination(destination);
    bytes[20..length].copy_from_slice(&options);
    let checksum = util::checksum(&bytes[..length], 5);
    bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
    deform(&mut bytes, settings)?;
    Ok(bytes)
}

/// What a good header is spoilt by afterwards.
fn deform(bytes: &mut Vec<u8>, settings: &mut Settings) -> Result<(), String> {
    if settings.has("bad-header-checksum") {
        bytes[11] ^= 1;
    }
    if let Some(version) = settings.number("version")? {
        bytes[0] = (version as u8) << 4 | bytes[0] & 0xf;
    }
    if let Some(words) = settings.number("ihl")? {
        bytes[0] = bytes[0] & 0xf0 | words as u8;
    }
    if let Some(length) = settings.number("cut")? {
        bytes.truncate(length as usize);
    }
    bytes.extend(vec![0xee; settings.number("trailing")?.unwrap_or(0) as usize]);
    Ok(())
}

fn ecn(settings: &mut Settings, key: &str) -> Result<u8, String> {
    match settings.take(key).as_deref() {
        None | Some("not-ect") => Ok(0),
        Some("ect1") => Ok(1),
        Some("ect0") => Ok(2),
        Some("ce") => Ok(3),
        Some(other) => Err(format!("{key}={other}: not-ect, ect0, ect1 or ce")),
    }
}

fn kind_and_code(word: &str) -> Result<(u8, u8), String> {
    let wrong = || format!("{word}: TYPE/CODE");
    let (kind, code) = word.split_once('/').ok_or_else(wrong)?;
    Ok((kind.parse().map_err(|_| wrong())?, code.parse().map_err(|_| wrong())?))
}

fn address6(word: &str) -> Result<Ipv6Addr, String> {
    named(word).parse().map_err(|_| format!("{word} is no IPv6 address"))
}

/// `ADDRESS` or `ADDRESS:PORT`.
fn end(word: &str) -> Result<(Ipv4Addr, u16), String> {
    let wrong = || format!("{word} is no IPv4 address with or without a port");
    let text = named_end(word);
    let (address, port) = text.split_once(':').unwrap_or((&text, "0"));
    Ok((address.parse().map_err(|_| wrong())?, port.parse().map_err(|_| wrong())?))
}

/// Bytes that are easy to recognise.
fn filler(length: usize) -> Vec<u8> {
    (0..length).map(|at| b"0123456789abcdef"[at % 16]).collect()
}
