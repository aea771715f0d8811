//! What came up in the stories: a rule that no story touches is not tested.

use std::collections::BTreeMap;

use aftr::engine::{Counters, DropReason};

#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<&'static str, u64>);

/// Reasons that need a configuration, or tables, that no story has.
const NEVER: [DropReason; 4] =
    [DropReason::NatIpId, DropReason::NatMem, DropReason::NatJournal, DropReason::Policy];

impl Tally {
    pub(crate) fn add(&mut self, counters: &Counters) {
        let drops = DropReason::ALL.iter().map(|&reason| (reason.name(), counters.dropped(reason)));
        let others = [
            ("to the Internet", counters.to_internet.packets),
            ("to B4s", counters.to_b4.packets),
            ("from B4 to B4", counters.hairpinned.packets),
            ("pieces to B4s", counters.fragments_to_b4.packets),
            ("pieces to the Internet", counters.fragments_to_internet.packets),
            ("fragments held", counters.fragments_held),
            ("fragments resumed", counters.fragments_resumed),
            ("tunnel errors taken", counters.tunnel_errors),
            ("answers", counters.replies.packets),
            ("SYNs held", counters.held),
            ("ICMPv4 to B4s", counters.icmp_to_b4),
            ("ICMPv4 to the Internet", counters.icmp_to_internet),
            ("ICMPv6", counters.icmpv6_errors),
            ("errors kept back", counters.icmp_suppressed),
        ];
        for (name, count) in drops.chain(others) {
            *self.0.entry(name).or_default() += count;
        }
    }

    /// What should have come up and did not.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let zero = self.0.iter().filter(|(_, count)| **count == 0).map(|(name, _)| *name);
        zero.filter(|name| !NEVER.iter().any(|never| never.name() == *name)).collect()
    }

    pub(crate) fn print(&self) {
        self.0.iter().for_each(|(name, count)| println!("{count:>12} {name}"));
    }
}
