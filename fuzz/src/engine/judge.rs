//! What every packet that leaves must be, whatever came in.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use aftr::engine::{Counters, Verdict};
use aftr::wire::Side;
use aftr_config::Config;

use super::ledger::{is_allowed, is_external};
use super::packet;
use super::view::{V4, V6};
use super::whole::{datagrams, ipv4_packets, join_v6};

/// A packet that came, what was said of it, and all that left because of it: the packet itself first.
pub(super) struct Fate<'a> {
    pub(super) came: &'a [u8],
    pub(super) side: Side,
    pub(super) verdict: Verdict,
    pub(super) left: &'a [(Vec<u8>, Side)],
}

/// Packets that came, or went on after they were held; and those that left, were dropped or kept: INV-7.
pub(super) fn balance(counters: &Counters) -> (u64, u64) {
    let came = counters.from_b4.packets + counters.from_internet.packets + counters.from_workers.packets;
    let came = came + counters.fragments_resumed;
    let left = counters.to_internet.packets
        + counters.to_b4.packets
        + counters.to_workers.packets
        + counters.replies.packets;
    let kept = counters.held + counters.fragments_held + counters.tunnel_errors;
    (came, left + kept + counters.dropped_in_total())
}

/// All that left because of a packet.
pub(super) fn judge(fate: &Fate<'_>, config: &Config, kernel_ttl: bool) {
    judge_all(fate.left, config, Some(fate));
    if !matches!(fate.verdict, Verdict::ToInternet | Verdict::ToB4) {
        return;
    }
    let from = match fate.side {
        Side::Internet => V4::read(fate.came),
        Side::B4 => V6::read(fate.came).and_then(|outer| outer.inner()),
    };
    let left = ipv4_packets(fate.left);
    let to = if from.is_none_or(|from| from.is_fragment()) { left } else { datagrams(&left) };
    assert!(!to.is_empty(), "not all pieces left");
    if let (Some(from), [to]) = (from, &to[..]) {
        let to = V4::read(to).unwrap_or_else(|| panic!("not a right IPv4 packet: {to:02x?}"));
        let is_hairpin = fate.side == Side::B4 && fate.verdict == Verdict::ToB4;
        assert_eq!(to.ttl(), from.ttl() - if kernel_ttl && !is_hairpin { 0 } else { 1 }, "TTL");
        crossed(from, to);
    }
}

/// A datagram that came in pieces, all of them honest, and what became of them.
pub(super) fn judge_pieces(came: &[u8], left: &[(Vec<u8>, Side)]) {
    if let (Some(from), [to]) = (V4::read(came), &datagrams(&ipv4_packets(left))[..])
        && let Some(to) = V4::read(to)
        && to.protocol() == from.protocol()
        && to.is_icmp_error() == from.is_icmp_error()
    {
        crossed(from, to);
    }
}

/// Packets that left at once, or because of time.
pub(super) fn judge_all(left: &[(Vec<u8>, Side)], config: &Config, fate: Option<&Fate<'_>>) {
    let mut pieces = BTreeMap::<(Ipv6Addr, Ipv6Addr, [u8; 4]), Vec<V6<'_>>>::new();
    for (bytes, side) in left {
        match side {
            Side::Internet => to_internet(bytes, config),
            Side::B4 => {
                let outer = V6::read(bytes).filter(|outer| outer.bytes.len() == bytes.len());
                let outer = outer.unwrap_or_else(|| panic!("not an IPv6 packet: {bytes:02x?}"));
                to_b4(outer, config, fate);
                if outer.bytes[6] == 44 {
                    let [a, b, c, d] = [44, 45, 46, 47].map(|at| bytes[at]);
                    pieces
                        .entry((outer.source(), outer.destination(), [a, b, c, d]))
                        .or_default()
                        .push(outer);
                }
            }
        }
    }
    for pieces in pieces.values() {
        let whole = join_v6(pieces);
        let outer = V6::read(&whole).expect("pieces of one packet");
        let (next, at) = outer.upper();
        carried(outer, next, at, config);
    }
}

/// A packet that crossed is the same but for what a NAT changes.
fn crossed(from: V4<'_>, to: V4<'_>) {
    if from.is_fragment() || to.is_fragment() {
        return;
    }
    assert_eq!(to.protocol(), from.protocol());
    if from.header() == to.header() {
        assert_eq!(to.bytes.len(), from.bytes.len(), "length");
        assert_eq!(to.transport_is_right(), from.transport_is_right(), "transport checksum");
    }
    if !from.is_icmp_error() {
        assert!(to.data() == from.data(), "the data changed");
    }
}

fn to_internet(bytes: &[u8], config: &Config) {
    let packet = V4::read(bytes).filter(|packet| packet.bytes.len() == bytes.len());
    let packet = packet.unwrap_or_else(|| panic!("not a right IPv4 packet: {bytes:02x?}"));
    assert_ne!(packet.ttl(), 0, "INV-4");
    let mtu = usize::from(config.nat.external_mtu);
    assert!(bytes.len() <= mtu, "{} bytes where {mtu} fit", bytes.len());
    let (source, destination) = (packet.source(), packet.destination());
    let passes = passes_through(config, destination)
        && config.softwire.internal_prefixes.iter().any(|net| net.contains(&source))
        || passes_through(config, destination) && is_own_range(source);
    if passes {
        return;
    }
    assert!(is_external(config, source), "{source} is in no pool");
    assert!(!is_private(destination) || passes_through(config, destination), "nobody is at {destination}");
    if packet.is_icmp_error()
        && let Some(quoted) = quoted_destination(packet)
    {
        assert!(is_external(config, quoted) || quoted == source, "tells the Internet of {quoted}");
    }
}

fn quoted_destination(packet: V4<'_>) -> Option<Ipv4Addr> {
    let quoted = packet.payload().get(8..)?;
    let [a, b, c, d] = *quoted.get(16..20)?.as_array()?;
    Some(Ipv4Addr::new(a, b, c, d))
}

fn to_b4(outer: V6<'_>, config: &Config, fate: Option<&Fate<'_>>) {
    let (source, destination) = (outer.source(), outer.destination());
    assert!(config.softwire.aftr_ipv6_addr.contains(&source), "{source} is not ours");
    assert_eq!(outer.hop_limit(), config.softwire.hop_limit);
    let mtu = usize::from(config.softwire.access_mtu);
    assert!(outer.bytes.len() <= mtu, "{} bytes where {mtu} fit", outer.bytes.len());
    let (next, at) = outer.upper();
    // An error to whoever sent the packet; of time, it may be about one that an earlier configuration let in.
    let is_answer = next == 58
        && fate.is_none_or(|fate| {
            fate.verdict.drop_reason().is_some()
                && V6::read(fate.came).is_some_and(|came| came.source() == destination)
        });
    // RFC 4443 section 2.4 e.1.
    let is_error = next == 58 && outer.bytes.get(at).is_some_and(|&kind| kind < 128);
    let about = fate.and_then(|fate| V6::read(fate.came)?.icmp_type());
    assert!(!is_error || about.is_none_or(|kind| kind >= 128), "an error about an error");
    assert!(is_allowed(config, destination) || is_answer, "{destination} may have no softwire");
    if next == 44 {
        assert_eq!(outer.bytes[at + 1], 0, "reserved");
    } else {
        carried(outer, next, at, config);
    }
}

/// What a whole outer packet carries.
fn carried(outer: V6<'_>, next: u8, at: usize, config: &Config) {
    let message = &outer.bytes[at..];
    match next {
        4 => inside(outer, at, config),
        58 => {
            assert!(message.len() >= 8 && packet::icmp6_sum(outer.bytes, message) == 0, "ICMPv6 checksum");
            let is_error = message[0] < 128 && outer.bytes.len() <= 1280;
            assert!(message[0] == 129 || is_error, "ICMPv6 type {}", message[0]);
        }
        other => panic!("next header {other} to a B4"),
    }
}

/// The IPv4 packet in a whole outer packet.
fn inside(outer: V6<'_>, at: usize, config: &Config) {
    let inner = outer.inner().unwrap_or_else(|| panic!("not a right inner packet: {:02x?}", outer.bytes));
    assert_eq!(inner.bytes.len(), outer.bytes.len() - at, "inner length");
    assert_ne!(inner.ttl(), 0, "INV-4");
    let destination = inner.destination();
    let is_internal = config.softwire.internal_prefixes.iter().any(|net| net.contains(&destination));
    assert!(is_internal || is_own_range(destination), "{destination} is not behind a B4");
}

pub(super) fn passes_through(config: &Config, destination: Ipv4Addr) -> bool {
    config.nat.nat_pass_through.iter().any(|rule| rule.prefix.contains(&destination))
}

/// 192.0.0.0/29 (RFC 6333 section 5.7).
fn is_own_range(address: Ipv4Addr) -> bool {
    address.to_bits() & !7 == Ipv4Addr::new(192, 0, 0, 0).to_bits()
}

fn is_private(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    address.is_private()
        || address.is_link_local()
        || is_own_range(address)
        || a == 100 && b & 0xc0 == 64
        || a == 0
        || a == 127
        || a >= 224
}
