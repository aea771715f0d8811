//! Address ranges: which overlap, and which no operator may give away.

use std::net::Ipv4Addr;

use ipnet::{Ipv4Net, Ipv6Net};

use crate::report::Report;

/// The B4 and AFTR addresses inside every softwire (RFC 6333 section 5.7, RFC 7335).
pub(crate) const WELL_KNOWN: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 0, 0), 29);

/// Blocks that are nobody's unicast address, and why (RFC 6890).
const NOT_UNICAST: [(Ipv4Net, &str); 6] = [
    (Ipv4Net::new_assert(Ipv4Addr::new(0, 0, 0, 0), 8), "0.0.0.0/8, this network"),
    (Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8), "127.0.0.0/8, loopback"),
    (Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16), "169.254.0.0/16, link-local"),
    (WELL_KNOWN, "192.0.0.0/29, the addresses inside every softwire (RFC 6333 section 5.7)"),
    (Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4), "224.0.0.0/4, multicast"),
    (Ipv4Net::new_assert(Ipv4Addr::new(240, 0, 0, 0), 4), "240.0.0.0/4, reserved"),
];

/// Private and shared space: the Internet does not route it (RFC 1918, RFC 6598).
pub(crate) const PRIVATE: [Ipv4Net; 4] = [
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10),
];

/// The block without unicast addresses that a prefix touches.
pub(crate) fn not_unicast(net: Ipv4Net) -> Option<&'static str> {
    NOT_UNICAST.iter().find(|(block, _)| touch(net, *block)).map(|&(_, name)| name)
}

pub(crate) fn touch(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other) || other.contains(&one)
}

pub(crate) fn range_v4(net: Ipv4Net) -> (u128, u128) {
    (u128::from(net.network().to_bits()), u128::from(net.broadcast().to_bits()))
}

pub(crate) fn range_v6(net: Ipv6Net) -> (u128, u128) {
    (net.network().to_bits(), net.broadcast().to_bits())
}

/// Pairs of ranges, first and last, that overlap: the place of the later one, then of an earlier one.
pub(crate) fn overlaps(ranges: &[(u128, u128)]) -> Vec<(usize, usize)> {
    let mut sorted: Vec<usize> = (0..ranges.len()).collect();
    sorted.sort_by_key(|&at| ranges[at]);
    let mut found = Vec::new();
    let mut widest: Option<usize> = None;
    for at in sorted {
        if let Some(other) = widest.filter(|&other| ranges[at].0 <= ranges[other].1) {
            found.push((at.max(other), at.min(other)));
        }
        if widest.is_none_or(|other| ranges[at].1 > ranges[other].1) {
            widest = Some(at);
        }
    }
    found
}

/// Reports the prefixes of one list that overlap another of it.
pub(crate) fn refuse_overlaps(report: &Report<'_>, key: &str, ranges: &[(u128, u128)]) {
    for (later, earlier) in overlaps(ranges) {
        let (later, earlier) = (report.element(key, later), report.element(key, earlier));
        let problem = format!("overlaps {} of {earlier}", report.source(&earlier));
        report.wrong_value(&later, problem, "leave one of the two out");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_are_found_whatever_the_order() {
        assert_eq!(overlaps(&[]), []);
        assert_eq!(overlaps(&[(1, 2), (3, 4)]), []);
        assert_eq!(overlaps(&[(3, 9), (1, 3)]), [(1, 0)]);
        // The widest one is remembered behind a narrow one.
        assert_eq!(overlaps(&[(0, 100), (1, 2), (50, 60)]), [(1, 0), (2, 0)]);
        assert_eq!(overlaps(&[(7, 7), (7, 7)]), [(1, 0)]);
    }

    #[test]
    fn a_wide_prefix_touches_what_is_inside_it() {
        assert!(not_unicast("0.0.0.0/0".parse().unwrap()).is_some());
        assert!(not_unicast("192.0.0.5/32".parse().unwrap()).is_some());
        assert!(not_unicast("192.0.0.8/29".parse().unwrap()).is_none());
        assert!(not_unicast("203.0.113.0/24".parse().unwrap()).is_none());
    }
}
