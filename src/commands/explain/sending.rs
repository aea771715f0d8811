//! The way out: size, identification, translation, encapsulation. All of it is read from the bytes that
//! left, beside those that came.

use super::admission::untranslated_by;
use super::outer::leaving_fragment;
use super::packet::{Ends, mss_of};
use super::scene::Scene;
use super::step::{Ended, Passed, Step};
use super::words::class;
use crate::engine::Verdict;
use crate::wire::Side;
use crate::wire::icmpv4::Icmpv4;
use crate::wire::ipv4::{self, Ipv4};
use crate::wire::ipv6::{Ipv6, next_header};
use aftr_config::DfPolicy;

pub(super) const SIZE_RULE: &str = "nat.external-mtu, softwire.df-policy";
pub(super) const SIZE_SOURCE: &str = "RFC 4787 REQ-13, RFC 2473 section 7.2";

pub(super) const FITS: Passed = |scene| {
    let header = scene.inner_header().filter(|_| scene.forwarded().is_some() && !scene.is_icmp_error())?;
    let length = header.total_length();
    let mtu = scene.config.nat.external_mtu;
    match scene.verdict {
        Verdict::ToInternet if length > mtu => {
            Some(format!("{length} octets, and the Internet side takes {mtu}: without DF it may be cut"))
        }
        Verdict::ToInternet => Some(format!("{length} octets, and the Internet side takes {mtu}")),
        Verdict::ToB4 if scene.config.softwire.df_policy == DfPolicy::Honour && header.dont_fragment() => {
            Some(format!("{length} octets with DF, which the softwire takes whole"))
        }
        Verdict::ToB4 | Verdict::Reply | Verdict::Hold | Verdict::Drop(_) | Verdict::Reject(_) => None,
    }
};
pub(super) const TOO_LARGE: Ended = |scene| {
    let length = scene.inner_header().map_or(0, Ipv4::total_length);
    let told = scene.leaving().and_then(|error| Icmpv4::view(ipv4::payload(error)));
    match told {
        Some(icmp) => format!("{length} octets with DF, and the way on takes {}", icmp.sequence),
        None => format!("{length} octets with DF are more than the way on takes"),
    }
};

pub(super) const IDENTIFICATION_RULE: &str =
    "none again for 120 s from one address to another; nat.ipid-strict";
pub(super) const IDENTIFICATION_SOURCE: &str = "RFC 6864 sections 4.1 and 5.3.1";

pub(super) const IDENTIFICATION: Passed = |scene| {
    let came = scene.inner_header().filter(|_| !scene.is_icmp_error() && untranslated_by(scene).is_none())?;
    let left = Ipv4::view(scene.forwarded()?)?;
    let (old, new) = (came.identification(), left.identification());
    Some(if came.dont_fragment() && !came.is_fragment() {
        format!("{old:#06x} stays: with DF it means nothing")
    } else {
        format!("{old:#06x} → {new:#06x}: many hosts send from one address")
    })
};
pub(super) const REPEATED: Ended = |scene| {
    let old = scene.inner_header().map_or(0, Ipv4::identification);
    format!("what would replace {old:#06x} was used less than 120 s ago")
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
        (!changes.is_empty()).then(|| changes.join(", "))
    },
);

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
        Some(format!("it leaves in pieces of {} octets", sizes.join(", ")))
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
