//! ICMP errors of others, on their way through the NAT (RFC 5508 section 4): what they quote is
//! translated back, so that the host recognises its own packet.
//!
//! An error neither refreshes nor ends anything (RFC 5508 REQ-6).

use std::net::{Ipv4Addr, SocketAddrV4};

use super::aftr::Aftr;
use super::egress;
use super::icmp_error::push_error;
use super::inner::{Inner, is_martian};
use super::ip_options;
use super::mapping::Place;
use super::pass_through;
use super::refusal::Answer;
use super::settings::AFTR_IPV4;
use super::softwire::Tunnel;
use super::time::Instant;
use super::toward::Toward;
use super::translate::{End, rewrite_port};
use super::verdict::{DropReason, Verdict};
use crate::wire::icmpv4::{self, Class, Icmpv4};
use crate::wire::ipv4::{self, Ipv4, protocol};
use crate::wire::{Packet, Side, checksum};
use aftr_config::Protocol;

/// The packet that an error quotes.
struct Quoted {
    protocol: Protocol,
    source: Ipv4Addr,
    source_port: u16,
    destination: Ipv4Addr,
    destination_port: u16,
    /// Where it starts in the packet, and where its transport header does.
    at: usize,
    transport_at: usize,
}

impl Quoted {
    fn sender(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.source, self.source_port)
    }

    fn called(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.destination, self.destination_port)
    }
}

/// An error from a host behind a B4, or from a router there, about a packet that it was sent (RFC 5508
/// REQ-5).
pub(super) fn from_b4(
    aftr: &mut Aftr,
    packet: &mut Packet,
    inner: &Inner,
    tunnel: &Tunnel,
    now: Instant,
) -> Result<Verdict, DropReason> {
    let quoted = check(packet.bytes(), inner)?;
    // An error goes to the sender of what it quotes, and quotes no more than may leave (RFC 5508 section
    // 7.3, RFC 7335 section 4).
    let may_leave = ip_options::may_pass(&aftr.settings, &packet.bytes()[quoted.at..quoted.transport_at]);
    if inner.destination != quoted.source || !may_leave {
        return Err(DropReason::IcmpQuoted);
    }
    let admission = aftr.admit(tunnel, now)?;
    let external = admission
        .softwire()
        .and_then(|softwire| external_of_called(aftr, softwire, &quoted))
        .ok_or(DropReason::NatNoMapping)?;
    // A hairpinned packet is quoted with the caller's external address: the error goes back to it
    // (RFC 5508 REQ-7).
    let toward = aftr.toward(inner.destination);
    let home = match toward {
        Toward::Internet | Toward::Worker(_) => None,
        Toward::Address(_) => Some(mapping_of_source(aftr, inner, &quoted)?),
    };
    // RFC 1812 section 4.3.2.7: nobody is told about an error.
    egress::check_external_mtu(aftr, inner, toward).map_err(|refusal| refusal.reason)?;
    // RFC 6864 section 5.3.1: many hosts send from one address.
    let identification = aftr.identification_for(inner, *external.ip(), Protocol::Icmp, now)?;
    let softwire = aftr.settle(admission, tunnel, now);
    aftr.softwires.slab[softwire].from_b4.count(packet.len());

    let bytes = packet.bytes_mut();
    rewrite_quoted(bytes, &quoted, End::Destination, *external.ip(), external.port());
    if let Some(header) = Ipv4::view_mut(bytes) {
        header.set_source(*external.ip());
    }
    egress::write_header(packet, inner.tos, identification);
    match home {
        None => Ok(aftr.send_from_b4(packet, toward)),
        Some(home) => {
            deliver(packet, &quoted, aftr.mappings.slab[home].internal());
            aftr.counters.hairpinned.count(packet.len());
            Ok(aftr.send_hairpinned(packet, home, now))
        }
    }
}

/// An error from the Internet about a packet that left here (RFC 5508 REQ-4). It may come from any
/// router on the way: its source is not filtered (RFC 4787 REQ-12a).
pub(super) fn from_internet(
    aftr: &mut Aftr,
    packet: &mut Packet,
    inner: &Inner,
    now: Instant,
) -> Result<Verdict, DropReason> {
    let quoted = check(packet.bytes(), inner)?;
    let (softwire, internal) = match aftr.pool.find(inner.destination) {
        Some(_) => {
            let home = &aftr.mappings.slab[mapping_of_source(aftr, inner, &quoted)?];
            (home.softwire, home.internal())
        }
        None => untranslated(aftr, inner, &quoted)?,
    };
    if aftr.settings.config.softwire.ptb_clamp {
        clamp_mtu(&mut packet.bytes_mut()[inner.header_length..], aftr.tunnel_mtu(softwire, now));
    }
    deliver(packet, &quoted, internal);
    Ok(aftr.send_into(packet, softwire, now))
}

/// Whose packet is quoted that left untranslated (RFC 6888 REQ-6).
fn untranslated(aftr: &Aftr, inner: &Inner, quoted: &Quoted) -> Result<(u32, SocketAddrV4), DropReason> {
    if inner.destination != quoted.source {
        return Err(DropReason::IcmpQuoted);
    }
    let (internal, remote) = (quoted.sender(), quoted.called());
    let softwire = pass_through::softwire_from(aftr, quoted.protocol, internal, remote);
    Ok((softwire.ok_or(DropReason::X4Dst)?, internal))
}

/// Has "fragmentation needed" name at most `most`; the checksum is made anew when the quotation is rewritten.
fn clamp_mtu(message: &mut [u8], most: u16) {
    const FRAGMENTATION_NEEDED: (u8, u8) = (icmpv4::kind::UNREACHABLE, 4);
    if let Some(header) = Icmpv4::view_mut(message)
        && (header.kind, header.code) == FRAGMENTATION_NEEDED
        && header.sequence.get() > most
    {
        header.sequence = most.into();
    }
}

/// Whether a packet that entered a softwire, or the front of one, was sent to somebody who can get packets there.
pub(super) fn is_for_a_mapping(aftr: &Aftr, packet: &[u8], softwire: u32) -> bool {
    quotation(packet, 0).is_some_and(|quoted| external_of_called(aftr, softwire, &quoted).is_some())
}

/// How the Internet knows the host behind a B4 that the quoted packet was for: by its mapping, or as it is.
fn external_of_called(aftr: &Aftr, softwire: u32, quoted: &Quoted) -> Option<SocketAddrV4> {
    if let Some(mapping) = mapping_of_called(aftr, softwire, quoted) {
        return Some(aftr.mappings.slab[mapping].external());
    }
    let called = quoted.called();
    let known = pass_through::softwire_from(aftr, quoted.protocol, called, quoted.sender());
    (known == Some(softwire)).then_some(called)
}

fn mapping_of_called(aftr: &Aftr, softwire: u32, quoted: &Quoted) -> Option<u32> {
    aftr.mappings.find(softwire, quoted.protocol, quoted.destination, quoted.destination_port)
}

/// Tells the sender of a packet that was lost on its way to a B4 (RFC 2473 section 8). `lost` is how the
/// packet entered the softwire: it is quoted as its sender knows it.
pub(super) fn tell_sender(aftr: &mut Aftr, mut lost: Packet, softwire: u32, answer: Answer, now: Instant) {
    let Some(quoted) = quotation(lost.bytes(), 0) else { return };
    let Some(external) = external_of_called(aftr, softwire, &quoted) else { return };
    if !is_known_to_sessions(aftr, softwire, &quoted) {
        return;
    }
    // A call from another home bears that home's external address. Who has an address that is nobody's, or
    // that the Internet does not route, is ourselves (192.0.0.1), gone, or made up.
    let home = match aftr.toward(quoted.source) {
        Toward::Internet if is_martian(quoted.source) => return,
        Toward::Internet | Toward::Worker(_) => None,
        Toward::Address(address) => {
            let place = Place { address, protocol: quoted.protocol, port: quoted.source_port };
            let Some(home) = aftr.ports.mapping_at(place) else { return };
            Some(home)
        }
    };
    let limits = &aftr.settings.config.icmp;
    let may_tell = aftr.limiter.tunnel_error(limits, now)
        && match home {
            Some(home) => {
                let b4 = aftr.softwires.slab[aftr.mappings.slab[home].softwire].b4;
                aftr.limiter.error_to_b4(limits, aftr.settings.subscriber_prefix(b4), now)
            }
            None => aftr.limiter.error_to_internet(limits, quoted.source, now),
        };
    if !may_tell {
        aftr.counters.icmp_suppressed += 1;
        return;
    }
    let source = if home.is_some() { AFTR_IPV4 } else { *external.ip() };
    if !push_error(&mut lost, answer, source) {
        return;
    }
    let Some(quoted) = quotation(lost.bytes(), ipv4::HEADER + icmpv4::HEADER) else { return };
    rewrite_quoted(lost.bytes_mut(), &quoted, End::Destination, *external.ip(), external.port());
    match home {
        None => {
            aftr.counters.icmp_to_internet += 1;
            aftr.send_later(lost, Side::Internet);
        }
        Some(home) => {
            deliver(&mut lost, &quoted, aftr.mappings.slab[home].internal());
            let tunnel = aftr.tunnel_of(aftr.mappings.slab[home].softwire);
            aftr.encapsulate(&mut lost, &tunnel);
            aftr.counters.icmp_to_b4 += 1;
            aftr.send_later(lost, Side::B4);
        }
    }
}

/// Where TCP's sessions are known, nobody else is told what the called host looks like from outside.
fn is_known_to_sessions(aftr: &Aftr, softwire: u32, quoted: &Quoted) -> bool {
    if quoted.protocol != Protocol::Tcp {
        return true;
    }
    let mapping = mapping_of_called(aftr, softwire, quoted);
    mapping.is_none_or(|id| aftr.sessions.find(id, quoted.source, quoted.source_port).is_some())
}

/// The mapping that sent the quoted packet.
fn mapping_of_source(aftr: &Aftr, inner: &Inner, quoted: &Quoted) -> Result<u32, DropReason> {
    if inner.destination != quoted.source {
        return Err(DropReason::IcmpQuoted);
    }
    let address = aftr.pool.find(quoted.source).ok_or(DropReason::NatNoMapping)?;
    let place = Place { address, protocol: quoted.protocol, port: quoted.source_port };
    aftr.ports.mapping_at(place).ok_or(DropReason::NatNoMapping)
}

/// Translates an error to the host whose packet it quotes.
fn deliver(packet: &mut Packet, quoted: &Quoted, internal: SocketAddrV4) {
    let bytes = packet.bytes_mut();
    rewrite_quoted(bytes, quoted, End::Source, *internal.ip(), internal.port());
    if let Some(header) = Ipv4::view_mut(bytes) {
        header.set_destination(*internal.ip());
    }
}

/// RFC 5508 REQ-3: the error's own checksum and the quoted header must be right; the quoted transport
/// checksum is not looked at. What RFC 4884 appends is carried along untouched.
fn check(packet: &[u8], inner: &Inner) -> Result<Quoted, DropReason> {
    let message = &packet[inner.header_length..];
    if checksum::of(message) != 0 {
        return Err(DropReason::IcmpChecksum);
    }
    quotation(packet, inner.header_length + icmpv4::HEADER).ok_or(DropReason::IcmpQuoted)
}

/// The packet that is quoted at `at`.
fn quotation(packet: &[u8], at: usize) -> Option<Quoted> {
    let quotation = &packet[at..];
    let header = Ipv4::view(quotation)?;
    let length = header.header_length();
    // A piece that is not the first has no ports (RFC 1812 section 4.3.2.7 forbids errors about it).
    let is_usable = header.version() == 4
        && length >= ipv4::HEADER
        && quotation.len() >= length + 8
        && header.fragment_offset() == 0
        && checksum::of(&quotation[..length]) == 0;
    if !is_usable {
        return None;
    }
    let (protocol, source_port, destination_port) = quoted_ports(header.protocol(), &quotation[length..])?;
    Some(Quoted {
        protocol,
        source: header.source(),
        source_port,
        destination: header.destination(),
        destination_port,
        at,
        transport_at: at + length,
    })
}

fn quoted_ports(number: u8, segment: &[u8]) -> Option<(Protocol, u16, u16)> {
    let ports = |protocol| {
        let [a, b, c, d, ..] = *segment else { return None };
        Some((protocol, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
    };
    match number {
        protocol::UDP => ports(Protocol::Udp),
        protocol::TCP => ports(Protocol::Tcp),
        protocol::ICMP => {
            let icmp = Icmpv4::view(segment)?;
            let identifier = icmp.identifier.get();
            let is_query = matches!(icmp.class(), Class::Request | Class::Reply);
            is_query.then_some((Protocol::Icmp, identifier, identifier))
        }
        _ => None,
    }
}

/// Rewrites one end of the quoted packet, and the error's checksum: that was right, so it is made anew.
fn rewrite_quoted(packet: &mut [u8], quoted: &Quoted, end: End, address: Ipv4Addr, port: u16) {
    let Some(header) = Ipv4::view_mut(&mut packet[quoted.at..]) else { return };
    let addresses = match end {
        End::Source => header.set_source(address),
        End::Destination => header.set_destination(address),
    };
    rewrite_port(&mut packet[quoted.transport_at..], quoted.protocol, end, port, addresses);
    let message = &mut packet[quoted.at - icmpv4::HEADER..];
    message[2..4].fill(0);
    let checksum = checksum::of(message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
}
