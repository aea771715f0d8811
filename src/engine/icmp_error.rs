//! The errors that we originate. Each is built around the packet that it is about, in that packet's own
//! buffer.

use std::net::Ipv4Addr;

use zerocopy::IntoBytes;

use super::aftr::Aftr;
use super::refusal::{Answer, Refusal};
use super::settings::AFTR_IPV4;
use super::softwire::Tunnel;
use super::time::Instant;
use super::tunnel_error;
use super::verdict::{DropReason, Verdict};
use crate::wire::icmpv4::{self, Class, Icmpv4};
use crate::wire::ipv4::{self, Ipv4, protocol};
use crate::wire::ipv6::{self, Ipv6, next_header};
use crate::wire::tcp::{self, Tcp, flag};
use crate::wire::{Packet, checksum, extension, icmpv6};

/// RFC 1812 section 4.3.2.3: an error is at most this long.
const MOST_V4: usize = 576;
/// RFC 4443 section 2.4 c: an error fits the minimum MTU.
const MOST_V6: usize = 1280;
/// The TTL of what we originate.
const TTL: u8 = 64;

impl Aftr {
    /// Ends the path of an outer packet that was refused.
    #[cold]
    pub(super) fn refuse_outer(&mut self, packet: &mut Packet, refusal: Refusal, now: Instant) -> Verdict {
        self.counters.drop(refusal.reason);
        let (kind, code, parameter) = match refusal.answer {
            Answer::Unreachable6(code) => (icmpv6::kind::UNREACHABLE, code, 0),
            Answer::ParameterProblem6 { code, pointer } => (icmpv6::kind::PARAMETER_PROBLEM, code, pointer),
            Answer::Silence | Answer::Icmp4(..) | Answer::TooBig(_) | Answer::Reset => {
                return Verdict::Drop(refusal.reason);
            }
        };
        if self.push_error6(packet, kind, code, parameter, now) {
            Verdict::Reject(refusal.reason)
        } else {
            Verdict::Drop(refusal.reason)
        }
    }

    /// Makes `packet` an ICMPv6 error about itself, when one may be sent.
    pub(super) fn push_error6(
        &mut self,
        packet: &mut Packet,
        kind: u8,
        code: u8,
        parameter: u32,
        now: Instant,
    ) -> bool {
        let Some(&cause) = Ipv6::view(packet.bytes()) else { return false };
        // RFC 4443 section 2.4 e.1
        if let Some((next_header::ICMPV6, at)) = extension::upper_layer(packet.bytes())
            && packet.bytes().get(at..).is_some_and(tunnel_error::is_error)
        {
            return false;
        }
        let subscriber = self.settings.subscriber_prefix(cause.source());
        if !self.limiter.error6(&self.settings.config.icmp, subscriber, now) {
            self.counters.icmp_suppressed += 1;
            return false;
        }
        packet.truncate(MOST_V6 - ipv6::HEADER - icmpv6::HEADER);
        let message = packet.push_front(icmpv6::HEADER);
        message[..4].copy_from_slice(&[kind, code, 0, 0]);
        message[4..8].copy_from_slice(&parameter.to_be_bytes());
        icmpv6::write_checksum(message, cause.destination(), cause.source());
        self.push_ipv6(packet, &cause);
        self.counters.icmpv6_errors += 1;
        true
    }

    /// Puts an IPv6 header in front of an ICMPv6 message that answers `cause`.
    pub(super) fn push_ipv6(&self, packet: &mut Packet, cause: &Ipv6) {
        let length = packet.len() as u16;
        let hop_limit = self.settings.config.softwire.hop_limit;
        let header =
            Ipv6::new(cause.destination(), cause.source(), next_header::ICMPV6, length, hop_limit, 0, 0);
        packet.push_front(ipv6::HEADER)[..ipv6::HEADER].copy_from_slice(header.as_bytes());
    }

    /// Ends the path of an inner packet that was refused: its sender, behind the B4, is told inside its
    /// own softwire, by 192.0.0.1 (RFC 6333 section 6.5, RFC 6888 REQ-11b).
    #[cold]
    pub(super) fn refuse_from_b4(
        &mut self,
        packet: &mut Packet,
        tunnel: &Tunnel,
        refusal: Refusal,
        now: Instant,
    ) -> Verdict {
        self.counters.drop(refusal.reason);
        self.notice_refusal(refusal.reason, now);
        self.notice_limit(packet.bytes(), tunnel, refusal.reason, now);
        if refusal.answer == Answer::Silence || !may_be_answered(packet.bytes()) {
            return Verdict::Drop(refusal.reason);
        }
        let subscriber = self.settings.subscriber_prefix(tunnel.b4);
        if !self.limiter.error_to_b4(&self.settings.config.icmp, subscriber, now) {
            self.counters.icmp_suppressed += 1;
            return Verdict::Drop(refusal.reason);
        }
        let built = if refusal.answer == Answer::Reset {
            write_reset(packet)
        } else {
            push_error(packet, refusal.answer, AFTR_IPV4)
        };
        if !built {
            return Verdict::Drop(refusal.reason);
        }
        self.encapsulate(packet, tunnel);
        self.counters.icmp_to_b4 += 1;
        Verdict::Reject(refusal.reason)
    }

    /// Ends the path of a packet from the Internet that was refused. The answer, when there is one, comes
    /// from the pool address that it was sent to: a packet with an address that the host itself owns
    /// would be dropped on its way from a tun.
    #[cold]
    pub(super) fn refuse_from_internet(
        &mut self,
        packet: &mut Packet,
        refusal: Refusal,
        now: Instant,
    ) -> Verdict {
        self.counters.drop(refusal.reason);
        // Whoever is outside learns of a used-up TTL, of a packet that is too large, and of a closed port where
        // the operator says so.
        let is_told =
            matches!(refusal.reason, DropReason::X4Ttl | DropReason::X4Mtu | DropReason::NatNoMapping);
        if !is_told || refusal.answer == Answer::Silence || !may_be_answered(packet.bytes()) {
            return Verdict::Drop(refusal.reason);
        }
        let to = Ipv4::view(packet.bytes()).map_or(Ipv4Addr::UNSPECIFIED, Ipv4::source);
        if !self.limiter.error_to_internet(&self.settings.config.icmp, to, now) {
            self.counters.icmp_suppressed += 1;
            return Verdict::Drop(refusal.reason);
        }
        let source = Ipv4::view(packet.bytes()).map_or(Ipv4Addr::UNSPECIFIED, Ipv4::destination);
        if !push_error(packet, refusal.answer, source) {
            return Verdict::Drop(refusal.reason);
        }
        self.counters.icmp_to_internet += 1;
        Verdict::Reject(refusal.reason)
    }
}

/// RFC 1812 section 4.3.2.7: never about an ICMP error, nor about a fragment that is not the first.
/// Multicast, broadcast and impossible sources were refused in silence before.
fn may_be_answered(packet: &[u8]) -> bool {
    let Some(header) = Ipv4::view(packet) else { return false };
    if header.fragment_offset() != 0 {
        return false;
    }
    if header.protocol() != protocol::ICMP {
        return true;
    }
    Icmpv4::view(ipv4::payload(packet))
        .is_some_and(|icmp| matches!(icmp.class(), Class::Request | Class::Reply))
}

/// Makes `packet` an ICMPv4 error about itself, sent by `source`; false when `answer` is none.
pub(super) fn push_error(packet: &mut Packet, answer: Answer, source: Ipv4Addr) -> bool {
    const FRAGMENTATION_NEEDED: u8 = 4;
    let (kind, code, mtu) = match answer {
        Answer::Icmp4(kind, code) => (kind, code, 0),
        Answer::TooBig(mtu) => (icmpv4::kind::UNREACHABLE, FRAGMENTATION_NEEDED, mtu),
        Answer::Silence | Answer::Reset | Answer::Unreachable6(_) | Answer::ParameterProblem6 { .. } => {
            return false;
        }
    };
    let Some(&cause) = Ipv4::view(packet.bytes()) else { return false };
    packet.truncate(MOST_V4 - ipv4::HEADER - icmpv4::HEADER);
    let message = packet.push_front(icmpv4::HEADER);
    let [high, low] = mtu.to_be_bytes();
    message[..icmpv4::HEADER].copy_from_slice(&[kind, code, 0, 0, 0, 0, high, low]);
    let checksum = checksum::of(message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let length = (packet.len() + ipv4::HEADER) as u16;
    // RFC 5508 section 7.7: in the class of the packet that caused it.
    let header = Ipv4::new(protocol::ICMP, source, cause.source(), length, TTL, cause.tos() & !3);
    packet.push_front(ipv4::HEADER)[..ipv4::HEADER].copy_from_slice(header.as_bytes());
    true
}

/// Makes `packet`, a TCP segment, the reset that answers it (RFC 9293 section 3.5.2).
fn write_reset(packet: &mut Packet) -> bool {
    let Some(&cause) = Ipv4::view(packet.bytes()) else { return false };
    let payload = ipv4::payload(packet.bytes());
    let Some(&segment) = Tcp::view(payload) else { return false };
    if segment.flags & flag::RST != 0 {
        return false;
    }
    let data = payload.len() - segment.header_length().min(payload.len());
    let length =
        data as u32 + u32::from(segment.flags & flag::SYN != 0) + u32::from(segment.flags & flag::FIN != 0);
    let has_ack = segment.flags & flag::ACK != 0;
    let mut reset = Tcp {
        source: segment.destination,
        destination: segment.source,
        sequence: if has_ack { segment.acknowledgement } else { 0.into() },
        acknowledgement: if has_ack {
            0.into()
        } else {
            (segment.sequence.get().wrapping_add(length)).into()
        },
        data_offset: 5 << 4,
        flags: if has_ack { flag::RST } else { flag::RST | flag::ACK },
        window: 0.into(),
        checksum: 0.into(),
        urgent: 0.into(),
    };
    let (source, destination) = (cause.destination(), cause.source());
    let pseudo = checksum::pseudo_header_v4(source, destination, tcp::HEADER as u16, protocol::TCP);
    reset.checksum = checksum::finish(pseudo + checksum::sum(reset.as_bytes())).into();
    let total = ipv4::HEADER + tcp::HEADER;
    let header = Ipv4::new(protocol::TCP, source, destination, total as u16, TTL, cause.tos() & !3);
    packet.truncate(total);
    let bytes = packet.bytes_mut();
    bytes[..ipv4::HEADER].copy_from_slice(header.as_bytes());
    bytes[ipv4::HEADER..].copy_from_slice(reset.as_bytes());
    true
}
