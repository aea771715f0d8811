//! The way out: TTL, type of service, size, and the verdict.

use super::aftr::{Aftr, TtlBy};
use super::inner::Inner;
use super::refusal::{Answer, Refusal};
use super::time::Instant;
use super::toward::Toward;
use super::transport::Flow;
use super::verdict::{DropReason, Verdict};
use crate::wire::ipv4::Ipv4;
use crate::wire::tcp::{self, Tcp, flag};
use crate::wire::{Packet, Side};
use aftr_config::{DfPolicy, Protocol};

/// RFC 1812 section 5.3.1: a packet that would leave with TTL 0 goes no further.
#[inline(always)]
pub(super) fn check_ttl(inner: &Inner, reason: DropReason) -> Result<(), DropReason> {
    if inner.ttl <= 1 { Err(reason) } else { Ok(()) }
}

/// The same for a packet from the Internet: where the kernel routes, it has taken its hop already, and
/// what is left may be 1.
#[inline]
pub(super) fn check_ttl_from_internet(aftr: &Aftr, inner: &Inner) -> Result<(), DropReason> {
    let used_up = match aftr.settings.ttl {
        TtlBy::Engine => inner.ttl <= 1,
        TtlBy::Kernel => inner.ttl == 0,
    };
    if used_up { Err(DropReason::X4Ttl) } else { Ok(()) }
}

/// Writes the type of service that a packet leaves with.
#[inline(always)]
pub(super) fn write_tos(packet: &mut Packet, tos: u8) {
    if let Some(header) = Ipv4::view_mut(packet.bytes_mut()) {
        header.set_tos(tos);
    }
}

/// Writes the type of service that decapsulation decided, and the identification.
#[inline(always)]
pub(super) fn write_header(packet: &mut Packet, tos: u8, identification: u16) {
    if let Some(header) = Ipv4::view_mut(packet.bytes_mut()) {
        header.set_tos(tos);
        header.set_identification(identification);
    }
}

/// RFC 4787 REQ-13: a packet that is too large for the Internet side and must not be cut goes back. Looked at
/// before anything is changed: the error quotes what came.
#[inline(always)]
pub(super) fn check_external_mtu(aftr: &Aftr, inner: &Inner, toward: Toward) -> Result<(), Refusal> {
    let mtu = aftr.settings.config.nat.external_mtu;
    if inner.total_length > usize::from(mtu) && inner.dont_fragment && toward == Toward::Internet {
        return Err(Refusal { reason: DropReason::InMtu, answer: Answer::TooBig(mtu) });
    }
    Ok(())
}

/// RFC 2473 section 7.2 a, where the operator wants it: the same for a softwire.
#[inline(always)]
pub(super) fn check_tunnel_mtu(
    aftr: &Aftr,
    inner: &Inner,
    softwire: u32,
    reason: DropReason,
    now: Instant,
) -> Result<(), Refusal> {
    if aftr.settings.config.softwire.df_policy == DfPolicy::FragmentOuter || !inner.dont_fragment {
        return Ok(());
    }
    let mtu = aftr.tunnel_mtu(softwire, now);
    if inner.total_length > usize::from(mtu) {
        return Err(Refusal { reason, answer: Answer::TooBig(mtu) });
    }
    Ok(())
}

#[inline(always)]
fn decrement_ttl(packet: &mut Packet) {
    if let Some(header) = Ipv4::view_mut(packet.bytes_mut()) {
        header.decrement_ttl();
    }
}

impl Aftr {
    /// To the Internet. A transit costs one hop, whichever router takes it (RFC 2473 section 3.1); where
    /// another worker goes on, it is there.
    #[inline(always)]
    pub(super) fn send_from_b4(&mut self, packet: &mut Packet, toward: Toward) -> Verdict {
        if let Toward::Worker(worker) = toward {
            return self.hand_over(packet, Side::Internet, worker);
        }
        if self.settings.ttl == TtlBy::Engine {
            decrement_ttl(packet);
        }
        let mtu = usize::from(self.settings.config.nat.external_mtu);
        if packet.len() > mtu {
            self.cut_for_internet(packet, mtu);
        }
        Verdict::ToInternet
    }

    /// From the Internet into a softwire.
    #[inline(always)]
    pub(super) fn send_into(&mut self, packet: &mut Packet, softwire: u32, now: Instant) -> Verdict {
        if packet.is_from_worker() {
            self.counters.hairpinned.count(packet.len());
        }
        // No kernel has seen what another worker translated first.
        if self.settings.ttl == TtlBy::Engine || packet.is_from_worker() {
            decrement_ttl(packet);
        }
        self.enter_softwire(packet, softwire, now)
    }

    /// From a softwire into the softwire of a mapping: no other router sees it.
    pub(super) fn send_hairpinned(&mut self, packet: &mut Packet, mapping: u32, now: Instant) -> Verdict {
        decrement_ttl(packet);
        self.enter_softwire(packet, self.mappings.slab[mapping].softwire, now)
    }

    #[inline(always)]
    fn enter_softwire(&mut self, packet: &mut Packet, softwire: u32, now: Instant) -> Verdict {
        if let Some(dscp) = self.settings.config.policy.downstream_dscp {
            let tos = Ipv4::view(packet.bytes()).map_or(0, Ipv4::tos);
            write_tos(packet, dscp << 2 | tos & 3);
        }
        self.softwires.slab[softwire].to_b4.count(packet.len());
        let tunnel = self.tunnel_of(softwire);
        self.encapsulate(packet, &tunnel);
        let mtu = usize::from(self.path_mtu(softwire, now));
        if packet.len() > mtu {
            self.fragment(packet, mtu);
        }
        Verdict::ToB4
    }

    /// IPv6 MTU of the path to the B4 of a softwire (RFC 8201).
    #[inline(always)]
    pub(super) fn path_mtu(&self, softwire: u32, now: Instant) -> u16 {
        let access = self.settings.config.softwire.access_mtu;
        self.softwires.slab[softwire].path_mtu(now).map_or(access, |path| path.min(access))
    }

    /// The largest inner packet that a softwire takes whole (RFC 2473 section 6.7).
    pub(super) fn tunnel_mtu(&self, softwire: u32, now: Instant) -> u16 {
        let config = &self.settings.config.softwire;
        self.path_mtu(softwire, now) - (config.access_mtu - config.tunnel_mtu())
    }

    /// Lowers the MSS of a SYN or SYN-ACK that enters or left this softwire.
    #[inline(always)]
    pub(super) fn clamp_mss(&self, packet: &mut Packet, flow: &Flow, softwire: u32, now: Instant) {
        if flow.flags & flag::SYN == 0 {
            return;
        }
        if let Some(limit) = self.mss_limit(softwire, now) {
            let segment = &mut packet.bytes_mut()[flow.offset..];
            if Tcp::view(segment).is_some() {
                tcp::clamp_mss(segment, limit);
            }
        }
    }

    /// What a SYN may ask for at most; none leaves it alone. A path that takes less asks for less.
    fn mss_limit(&self, softwire: u32, now: Instant) -> Option<u16> {
        const TCP_AND_IPV4: u16 = 40;
        let limit = self.settings.mss_limit()?;
        let is_narrow = self.softwires.slab[softwire].path_mtu(now).is_some();
        Some(if is_narrow { limit.min(self.tunnel_mtu(softwire, now) - TCP_AND_IPV4) } else { limit })
    }

    /// A packet from the B4 keeps its mapping (RFC 4787 REQ-6).
    #[inline(always)]
    pub(super) fn refresh(&mut self, mapping: u32, flow: &Flow, now: Instant) {
        let lifetime = self.lifetime(flow);
        let record = &mut self.mappings.slab[mapping];
        // RFC 4787 REQ-5a: a port with a shorter timer never shortens what another port was promised.
        let promised = record.lifetime.saturating_sub(record.last_seen.age(now) / 1000);
        if lifetime >= promised {
            record.last_seen = now.stamp();
            record.lifetime = lifetime;
        }
    }

    /// A packet from the Internet keeps a mapping only where sessions do (TCP), or the operator says so
    /// (RFC 4787 REQ-6).
    #[inline(always)]
    pub(super) fn seen_from_internet(&mut self, mapping: u32, flow: &Flow, now: Instant) {
        let keeps = match flow.protocol {
            Protocol::Tcp => true,
            Protocol::Udp => self.settings.config.nat.udp_inbound_refresh,
            Protocol::Icmp => false,
        };
        if keeps {
            self.mappings.slab[mapping].last_seen = now.stamp();
        }
    }

    /// Seconds that a mapping lives after this packet from a B4.
    pub(super) fn lifetime(&self, flow: &Flow) -> u32 {
        let timers = &self.settings.config.nat.timers;
        if flow.protocol == Protocol::Udp && !timers.per_port_timeout.is_empty() {
            let special =
                timers.per_port_timeout.iter().find(|entry| entry.port_number == flow.destination_port);
            if let Some(entry) = special {
                return entry.timeout;
            }
        }
        self.idle_timeout(flow.protocol)
    }
}
