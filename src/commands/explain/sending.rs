//! The way out: size, identification, translation, encapsulation. All of it is read from the bytes that
//! left, beside those that came.

use super::admission::untranslated_by;
use super::outer::leaving_fragment;
use super::packet::{Ends, icmp_class, mss_of};
use super::scene::Scene;
use super::step::{Ended, Passed, Step};
use super::words::class;
use crate::engine::{DropReason, Verdict};
use crate::wire::Side;
use crate::wire::icmpv4::{self, Class, Icmpv4};
use crate::wire::ipv4::{self, Ipv4};
use crate::wire::ipv6::{Ipv6, next_header};
use aftr_config::DfPolicy;

pub(super) const SIZE: &str = "size";

pub(super) const SIZE_TO_INTERNET: Step = Step {
    name: SIZE,
    rule: "nat.external-mtu",
    source: "RFC 4787 REQ-13",
    passed: |scene| {
        let header = whole_header(scene, Verdict::ToInternet)?;
        let (length, mtu) = (header.total_length(), scene.config.nat.external_mtu);
        let cut = if length > mtu { ": without DF it may be cut" } else { "" };
        Some(format!("{length} octets, and the Internet side takes {mtu}{cut}"))
    },
    drops: &[(DropReason::InMtu, |scene| {
        let length = scene.inner_header().map_or(0, Ipv4::total_length);
        format!("{length} octets with DF, and the Internet side takes {}", scene.config.nat.external_mtu)
    })],
    holds: &[],
};

pub(super) const SIZE_TO_B4_RULE: &str =
    "softwire.access-mtu less the outer header, or the path MTU that was learnt; softwire.df-policy";
pub(super) const SIZE_TO_B4_SOURCE: &str = "RFC 2473 section 7.2";

pub(super) const FITS_SOFTWIRE: Passed = |scene| {
    let header = whole_header(scene, Verdict::ToB4)?;
    let looks = scene.config.softwire.df_policy == DfPolicy::Honour && header.dont_fragment();
    looks.then(|| format!("{} octets with DF, which the softwire takes whole", header.total_length()))
};
pub(super) const TOO_LARGE_FOR_SOFTWIRE: Ended = |scene| {
    let length = scene.inner_header().map_or(0, Ipv4::total_length);
    let softwire = &scene.config.softwire;
    let (access, tunnel) = (softwire.access_mtu, softwire.tunnel_mtu());
    let told = scene.leaving().and_then(|error| Icmpv4::view(ipv4::payload(error)));
    let whence = |mtu: u16| match mtu == tunnel {
        true => format!("access-mtu {access} less {}", access - tunnel),
        false => {
            format!("the path MTU that was learnt, {}, less {}", mtu + (access - tunnel), access - tunnel)
        }
    };
    match told.map(|icmp| icmp.sequence.get()) {
        Some(mtu) => format!("{length} octets with DF, and the softwire takes {mtu}: {}", whence(mtu)),
        None => format!("{length} octets with DF are more than the softwire takes: at most {tunnel}"),
    }
};

/// The header of a packet that goes there; the size of an ICMP error is not looked at.
fn whole_header<'s>(scene: &'s Scene<'_>, verdict: Verdict) -> Option<&'s Ipv4> {
    scene.inner_header().filter(|_| scene.verdict == verdict && !scene.is_icmp_error())
}

pub(super) const IDENTIFICATION: Step = Step {
    name: "identification",
    rule: "none again for 120 s from one address to another; nat.ipid-strict",
    source: "RFC 6864 sections 4.1 and 5.3.1",
    passed: |scene| {
        let is_translated = !scene.is_icmp_error() && untranslated_by(scene).is_none();
        let came = scene.inner_header().filter(|_| is_translated)?;
        let left = Ipv4::view(scene.forwarded()?)?;
        let (old, new) = (came.identification(), left.identification());
        Some(if came.dont_fragment() && !came.is_fragment() {
            format!("{old:#06x} stays: with DF it means nothing")
        } else {
            format!("{old:#06x} → {new:#06x}: many hosts send from one address")
        })
    },
    drops: &[(DropReason::NatIpId, |scene| {
        let old = scene.inner_header().map_or(0, Ipv4::identification);
        format!("what would replace {old:#06x} was used less than 120 s ago")
    })],
    holds: &[],
};

pub(super) const TRANSLATION: Step = Step::open(
    "translation",
    "checksums follow by the difference: what was wrong stays wrong",
    "RFC 1624 section 3, RFC 5508 REQ-4 and REQ-5",
    |scene| {
        let (came, left) = (scene.inner()?, scene.forwarded()?);
        let mut changes = match (Ends::of(came), Ends::of(left)) {
            (Some(came), Some(left)) => changes("", &came, &left),
            _ => address_changes(Ipv4::view(came)?, Ipv4::view(left)?),
        };
        if let (Some(came), Some(left)) = (Ends::quoted(came), Ends::quoted(left)) {
            changes.extend(self::changes("quoted ", &came, &left));
        }
        changes.extend(mtu_change(came, left));
        (!changes.is_empty()).then(|| changes.join(", "))
    },
);

/// What "fragmentation needed" names less than its sender wrote.
fn mtu_change(came: &[u8], left: &[u8]) -> Option<String> {
    const FRAGMENTATION_NEEDED: (u8, u8) = (icmpv4::kind::UNREACHABLE, 4);
    icmp_class(came).filter(|class| *class == Class::Error)?;
    let mtu = |packet| {
        let icmp = Icmpv4::view(ipv4::payload(packet))?;
        ((icmp.kind, icmp.code) == FRAGMENTATION_NEEDED).then(|| icmp.sequence.get())
    };
    let (came, left) = (mtu(came)?, mtu(left)?);
    (came != left).then(|| format!("MTU {came} → {left}: softwire.ptb-clamp"))
}

fn changes(what: &str, came: &Ends, left: &Ends) -> Vec<String> {
    let ends = [("source", came.source, left.source), ("destination", came.destination, left.destination)];
    let changed = ends.into_iter().filter(|(_, came, left)| came != left);
    changed.map(|(end, came, left)| format!("{what}{end} {came} → {left}")).collect()
}

fn address_changes(came: &Ipv4, left: &Ipv4) -> Vec<String> {
    let ends =
        [("source", came.source(), left.source()), ("destination", came.destination(), left.destination())];
    let changed = ends.into_iter().filter(|(_, came, left)| came != left);
    changed.map(|(end, came, left)| format!("{end} {came} → {left}")).collect()
}

pub(super) const MSS: Step =
    Step::open("MSS", "softwire.mss-clamping", "RFC 8513, RFC 6333 section 6.3", |scene| {
        let (came, left) = (mss_of(scene.inner()?)?, mss_of(scene.forwarded()?)?);
        Some(match came == left {
            true => format!("{came} stays"),
            false => format!("{came} → {left}: with it, segments need no fragments"),
        })
    });

pub(super) const CUT_IPV4: Step =
    Step::open("cutting", "nat.external-mtu", "RFC 791 section 3.2, RFC 4787 REQ-13", |scene| {
        let pieces = scene.counted(|counters| counters.fragments_to_internet.packets);
        let (_, first) = scene.output.filter(|_| scene.verdict == Verdict::ToInternet && pieces > 0)?;
        let sizes =
            scene.followers.iter().filter(|(side, _)| *side == Side::Internet).map(|(_, bytes)| bytes.len());
        let sizes: Vec<String> =
            std::iter::once(first.len()).chain(sizes).map(|size| size.to_string()).collect();
        Some(format!("it leaves in fragments of {} octets", sizes.join(", ")))
    });

pub(super) const ENCAPSULATION: Step = Step::open(
    "encapsulation",
    "softwire.hop-limit, softwire.ecn, softwire.flow-label; from the address that the B4 uses",
    "RFC 2473 section 3.1, RFC 6040 section 4.1",
    |scene| {
        let header = Ipv6::view(into_softwire(scene)?)?;
        let limit = match header.next_header() {
            next_header::DESTINATION => ", with an encapsulation limit",
            _ => "",
        };
        Some(format!(
            "{} > {}, hop limit {}, {}, label {:#x}{limit}",
            header.source(),
            header.destination(),
            header.hop_limit(),
            class(header.traffic_class()),
            header.flow_label()
        ))
    },
);

pub(super) const CUT_IPV6: Step = Step::open(
    "fragmentation",
    "softwire.access-mtu, or the path MTU that was learnt; behind the encapsulation",
    "RFC 6333 section 6.3, RFC 8201",
    |scene| {
        let first = into_softwire(scene)?;
        let identification = leaving_fragment(first)?;
        let others =
            scene.followers.iter().filter(|(_, bytes)| leaving_fragment(bytes) == Some(identification));
        let sizes = std::iter::once(first.len()).chain(others.map(|(_, bytes)| bytes.len()));
        let sizes: Vec<String> = sizes.map(|size| size.to_string()).collect();
        Some(format!("the IPv6 packet leaves in fragments of {} octets", sizes.join(", ")))
    },
);

/// What enters a softwire: a packet that crosses, or an answer.
fn into_softwire<'s>(scene: &Scene<'s>) -> Option<&'s [u8]> {
    let (side, bytes) = scene.output?;
    let enters = matches!(scene.verdict, Verdict::ToB4 | Verdict::Reply) && *side == Side::B4;
    enters.then_some(bytes.as_slice())
}
