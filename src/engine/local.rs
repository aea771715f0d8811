//! Packets to the AFTR itself: its IPv6 address outside, 192.0.0.1 inside every softwire (RFC 6333
//! section 6.5, RFC 6908 section 3.2.2). Nothing here makes state.

use super::aftr::Aftr;
use super::inner::Inner;
use super::refusal::{Answer, Refusal};
use super::softwire::{Outer, Tunnel};
use super::time::Instant;
use super::tunnel_error;
use super::verdict::{DropReason, Verdict};
use crate::wire::checksum::Delta;
use crate::wire::icmpv4::{self, Icmpv4};
use crate::wire::ipv4::{self, Ipv4, protocol};
use crate::wire::ipv6::{Ipv6, next_header};
use crate::wire::tcp::{Tcp, flag};
use crate::wire::{Packet, Side, icmpv6};

/// An outer packet whose payload is not IPv4 (V6-LOCAL-1).
pub(super) fn outer(
    aftr: &mut Aftr,
    packet: &mut Packet,
    outer: &Outer,
    now: Instant,
) -> Result<Verdict, Refusal> {
    const PORT_UNREACHABLE: u8 = 4;
    const UNRECOGNISED_NEXT_HEADER: u8 = 1;
    let reason = DropReason::V6NextHeader;
    match outer.upper.next_header {
        next_header::ICMPV6 => icmpv6(aftr, packet, outer, now),
        next_header::UDP => Err(Refusal { reason, answer: Answer::Unreachable6(PORT_UNREACHABLE) }),
        next_header::TCP | next_header::NONE => Err(reason.into()),
        _ => {
            let pointer = outer.upper.named_at as u32;
            Err(Refusal {
                reason,
                answer: Answer::ParameterProblem6 { code: UNRECOGNISED_NEXT_HEADER, pointer },
            })
        }
    }
}

fn icmpv6(aftr: &mut Aftr, packet: &mut Packet, outer: &Outer, now: Instant) -> Result<Verdict, Refusal> {
    let Some(&cause) = Ipv6::view(packet.bytes()) else { return Err(DropReason::V6Short.into()) };
    let message = &packet.bytes()[outer.upper.offset..];
    if message.len() < icmpv6::HEADER
        || !icmpv6::checksum_is_right(message, cause.source(), cause.destination())
    {
        return Err(DropReason::Icmp6Checksum.into());
    }
    if tunnel_error::is_error(message) {
        if let Some(worker) = tunnel_error::other_worker(aftr, packet, message) {
            return Ok(aftr.hand_over(packet, Side::B4, worker));
        }
        return Ok(tunnel_error::take(aftr, message, now)?);
    }
    if message[..2] != [icmpv6::kind::ECHO, 0] {
        return Err(DropReason::Icmp6Type.into());
    }
    if !aftr.limiter.echo(&aftr.settings.config.icmp, aftr.settings.subscriber_prefix(cause.source()), now) {
        return Err(DropReason::Local.into());
    }
    packet.strip_front(outer.upper.offset);
    let message = packet.bytes_mut();
    message[0] = icmpv6::kind::ECHO_REPLY;
    icmpv6::write_checksum(message, cause.destination(), cause.source());
    aftr.push_ipv6(packet, &cause);
    cut_reply(aftr, packet, &outer.tunnel, now);
    Ok(Verdict::Reply)
}

/// An inner packet to 192.0.0.1.
pub(super) fn inner(
    aftr: &mut Aftr,
    packet: &mut Packet,
    inner: &Inner,
    tunnel: &Tunnel,
    now: Instant,
) -> Result<Verdict, Refusal> {
    const PROTOCOL_UNREACHABLE: Answer = Answer::Icmp4(icmpv4::kind::UNREACHABLE, 2);
    const PORT_UNREACHABLE: Answer = Answer::Icmp4(icmpv4::kind::UNREACHABLE, 3);
    let reason = DropReason::Local;
    if inner.is_fragment {
        return Err(reason.into());
    }
    let payload = &packet.bytes()[inner.header_length..];
    match inner.protocol {
        protocol::ICMP => {
            let is_echo =
                Icmpv4::view(payload).is_some_and(|icmp| (icmp.kind, icmp.code) == (icmpv4::kind::ECHO, 0));
            if !is_echo
                || !aftr.limiter.echo(
                    &aftr.settings.config.icmp,
                    aftr.settings.subscriber_prefix(tunnel.b4),
                    now,
                )
            {
                return Err(reason.into());
            }
            write_echo_reply(packet, inner.header_length);
            aftr.encapsulate(packet, tunnel);
            cut_reply(aftr, packet, tunnel, now);
            Ok(Verdict::Reply)
        }
        protocol::UDP => Err(Refusal { reason, answer: PORT_UNREACHABLE }),
        protocol::TCP => {
            let is_syn =
                Tcp::view(payload).is_some_and(|tcp| tcp.flags & (flag::SYN | flag::ACK) == flag::SYN);
            Err(Refusal { reason, answer: if is_syn { Answer::Reset } else { Answer::Silence } })
        }
        _ => Err(Refusal { reason, answer: PROTOCOL_UNREACHABLE }),
    }
}

/// An answer is as large as the question, which may have come in pieces.
fn cut_reply(aftr: &mut Aftr, packet: &mut Packet, tunnel: &Tunnel, now: Instant) {
    let access = aftr.settings.config.softwire.access_mtu;
    let mtu = usize::from(tunnel.softwire.map_or(access, |softwire| aftr.path_mtu(softwire, now)));
    if packet.len() > mtu {
        aftr.fragment(packet, mtu);
    }
}

/// Makes an echo request the reply to itself.
pub(super) fn write_echo_reply(packet: &mut Packet, header_length: usize) {
    const TTL: u8 = 64;
    let bytes = packet.bytes_mut();
    if let Some(header) = Ipv4::view_mut(bytes) {
        let (source, destination) = (header.source(), header.destination());
        header.set_source(destination);
        header.set_destination(source);
        header.set_ttl(TTL);
    }
    if let Some(icmp) = Icmpv4::view_mut(&mut bytes[header_length..]) {
        let delta = Delta::NONE.word(u16::from(icmp.kind) << 8, u16::from(icmpv4::kind::ECHO_REPLY) << 8);
        icmp.kind = icmpv4::kind::ECHO_REPLY;
        icmp.checksum = delta.apply(icmp.checksum.get()).into();
    }
    debug_assert!(ipv4::HEADER <= header_length);
}
