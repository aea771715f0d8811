//! `[softwire.reassembly]` and `[nat.fragments]`: how much may wait for the rest of its datagram, so that a
//! flood of fragments hurts nobody but its sender (RFC 4787 REQ-14a).

use std::ops::RangeInclusive;

use crate::reader::Table;

const DATAGRAMS: RangeInclusive<u32> = 1..=1 << 20;
/// The engine walks through those of one subscriber to find the oldest.
const OF_ONE: RangeInclusive<u32> = 1..=1024;
/// A datagram has up to 65535 octets, in up to 64 pieces that cost some room of their own.
const OCTETS: RangeInclusive<u32> = 131_072..=u32::MAX;

/// Datagrams of which only a part has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FragmentLimits {
    /// `limit-per-subscriber`: datagrams of one subscriber, 1 to 1024.
    pub limit_per_subscriber: u32,
    /// `octets-per-subscriber`: octets that these keep.
    pub octets_per_subscriber: u32,
    /// `limit`: datagrams of all subscribers.
    pub limit: u32,
    /// `octets`: octets that these keep.
    pub octets: u32,
}

/// Defaults of `[softwire.reassembly]`.
pub(crate) const REASSEMBLY: FragmentLimits = FragmentLimits {
    limit_per_subscriber: 32,
    octets_per_subscriber: 256 << 10,
    limit: 65_536,
    octets: 256 << 20,
};

/// Defaults of `[nat.fragments]`.
pub(crate) const FRAGMENTS: FragmentLimits =
    FragmentLimits { limit_per_subscriber: 64, octets: 64 << 20, ..REASSEMBLY };

impl FragmentLimits {
    pub(crate) fn read(mut table: Table<'_>, default: &FragmentLimits) -> FragmentLimits {
        let limits = FragmentLimits {
            limit_per_subscriber: table.number("limit-per-subscriber", OF_ONE, default.limit_per_subscriber),
            octets_per_subscriber: table.number(
                "octets-per-subscriber",
                OCTETS,
                default.octets_per_subscriber,
            ),
            limit: table.number("limit", DATAGRAMS, default.limit),
            octets: table.number("octets", OCTETS, default.octets),
        };
        for (one, all, one_key, all_key) in [
            (limits.limit_per_subscriber, limits.limit, "limit-per-subscriber", "limit"),
            (limits.octets_per_subscriber, limits.octets, "octets-per-subscriber", "octets"),
        ] {
            if one > all {
                let key = if table.has(one_key) { one_key } else { all_key };
                let problem = format!("lets one subscriber have {one}, more than the {all} of all");
                let cure = format!("give {all_key} at least {one_key}");
                table.report().wrong(&table.key(key), problem, cure);
            }
        }
        table.finish();
        limits
    }
}
