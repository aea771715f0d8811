//! ICMPv6 to the AFTR itself: what the steps say of errors about its packets (ORD-3), and of its own echo.

use super::scene::{Hold, Scene};
use super::step::Step;
use super::words::count;
use crate::commands::describe;
use crate::engine::DropReason;
use crate::wire::extension;
use crate::wire::icmpv6::{self, kind};
use crate::wire::ipv6::{self, Ipv6, next_header};
use aftr_config::DfPolicy;

/// Seconds that a path MTU is remembered (RFC 8201 section 5.3).
const PATH_MTU_LIFE: u32 = 600;

pub(super) const CHECKSUM: Step = Step {
    name: "ICMPv6 checksum",
    rule: "right, over a whole header",
    source: "RFC 4443 section 2.3",
    passed: |scene| message(scene).map(|message| format!("{} with a right checksum", name_of(message))),
    drops: &[(DropReason::Icmp6Checksum, |scene| match message(scene) {
        Some(message) => format!("the checksum of {} is wrong", name_of(message)),
        None => "shorter than the 8 octets of its header".to_owned(),
    })],
    holds: &[],
};

pub(super) const QUOTATION: Step = Step {
    name: "ICMPv6 quotation",
    rule: "it quotes a packet that we sent into an open softwire, and one that was too big if it says so (M46)",
    source: "RFC 8201 section 4",
    passed: |scene| {
        let quoted = quotation(scene)?;
        Some(format!("it quotes what we sent into the softwire of {}", quoted.destination()))
    },
    drops: &[(DropReason::Icmp6Quote, |scene| match quotation(scene) {
        Some(quoted) => format!(
            "it quotes {} from {} to {}: not what we sent into an open softwire, or not too big for {}",
            count(usize::from(quoted.payload_length()) + ipv6::HEADER, "octet"),
            quoted.source(),
            quoted.destination(),
            message(scene).map_or(0, parameter)
        ),
        None if starts_an_ipv6_packet(scene) => "it quotes less than an IPv6 header".to_owned(),
        None => "it quotes no IPv6 packet".to_owned(),
    })],
    holds: &[],
};

pub(super) const TYPE: Step = Step {
    name: "ICMPv6 type",
    rule: "an error that says something about the tunnel, or an echo request (M46)",
    source: "RFC 2473 section 8, RFC 8201 section 4",
    passed: |scene| {
        let message = message(scene)?;
        (message[0] == kind::ECHO).then(|| "an echo request, which the AFTR answers".to_owned())
    },
    drops: &[
        (DropReason::Icmp6Type, |scene| {
            let name = message(scene).map_or("this type".to_owned(), name_of);
            format!("{name} says nothing to a tunnel end")
        }),
        (DropReason::Icmp6PtbSmall, |scene| {
            format!("MTU {} is below 1280, which every link takes", message(scene).map_or(0, parameter))
        }),
    ],
    holds: &[(Hold::TunnelError, taken)],
};

/// What the AFTR made of an error about its packet.
fn taken(scene: &Scene<'_>) -> String {
    let (Some(message), Some(quoted)) = (message(scene), quotation(scene)) else { return String::new() };
    let b4 = quoted.destination();
    let told = match (scene.followers.first(), scene.counted(|counters| counters.icmp_suppressed)) {
        (Some((_, error)), _) => format!("the sender of the inner packet is told: {}", describe(error)),
        (None, 0) => "nobody is told".to_owned(),
        (None, _) => "a rate limit of [icmp] keeps the error to the sender back".to_owned(),
    };
    if message[0] != kind::PACKET_TOO_BIG {
        return format!("the packet to {b4} was lost; {told}");
    }
    let softwire = &scene.config.softwire;
    let mtu = parameter(message).min(u32::from(softwire.access_mtu));
    let what = format!(
        "the path to {b4} takes {mtu} octets, or what it took before if that was less, for {PATH_MTU_LIFE} s"
    );
    match softwire.df_policy {
        DfPolicy::FragmentOuter => {
            format!("{what}: larger ones are cut")
        }
        DfPolicy::Honour => format!("{what}; {told}"),
    }
}

/// The ICMPv6 message of a packet that has its header.
fn message<'s>(scene: &'s Scene<'_>) -> Option<&'s [u8]> {
    let whole = &scene.whole.as_ref()?.packet;
    let upper = extension::walk(whole).ok()?;
    let is_icmpv6 = upper.next_header == next_header::ICMPV6;
    whole.get(upper.offset..).filter(|message| is_icmpv6 && message.len() >= icmpv6::HEADER)
}

/// The outer header that an error quotes.
fn quotation<'s>(scene: &'s Scene<'_>) -> Option<&'s Ipv6> {
    let message = message(scene)?;
    let is_error = message[0] & 0x80 == 0;
    is_error.then(|| Ipv6::view(&message[icmpv6::HEADER..]))?.filter(|quoted| quoted.version() == 6)
}

/// Whether what an error quotes has the right version at least.
fn starts_an_ipv6_packet(scene: &Scene<'_>) -> bool {
    let first = message(scene).and_then(|message| message.get(icmpv6::HEADER));
    first.is_none_or(|octet| octet >> 4 == 6)
}

/// The four octets behind the checksum.
fn parameter(message: &[u8]) -> u32 {
    message[4..].first_chunk().map_or(0, |word| u32::from_be_bytes(*word))
}

fn name_of(message: &[u8]) -> String {
    let name = match message[0] {
        kind::UNREACHABLE => "unreachable ",
        kind::PACKET_TOO_BIG => "packet too big ",
        kind::TIME_EXCEEDED => "time exceeded ",
        kind::PARAMETER_PROBLEM => "parameter problem ",
        kind::ECHO => "echo request ",
        kind::ECHO_REPLY => "echo reply ",
        _ => "",
    };
    format!("ICMPv6 {name}{}/{} of {}", message[0], message[1], count(message.len(), "octet"))
}
