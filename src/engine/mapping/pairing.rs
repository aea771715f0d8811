//! Which external address a new subscriber is paired with, for as long as it has mappings (RFC 4787 REQ-2).

use std::cmp::Reverse;
use std::net::Ipv6Addr;

use super::pool::{Group, Pool};
use crate::engine::seed::Random;

impl Pool {
    /// The address for a new subscriber: the least loaded of its pool, at random among equals
    /// (RFC 6888 REQ-13).
    pub(in crate::engine) fn least_loaded(&self, b4: Ipv6Addr, random: &mut Random) -> Option<u32> {
        let group = self.group_for(b4)?;
        let equals = self.groups[group].by_load.iter().find(|list| !list.is_empty())?;
        Some(equals[random.below(equals.len() as u32) as usize])
    }

    /// The pool whose prefix is the longest that holds the B4; a pool without prefixes holds any.
    fn group_for(&self, b4: Ipv6Addr) -> Option<usize> {
        let length = |group: &Group| {
            if group.b4_prefixes.is_empty() {
                return Some(0);
            }
            group
                .b4_prefixes
                .iter()
                .filter(|net| net.contains(&b4))
                .map(|net| u16::from(net.prefix_len()) + 1)
                .max()
        };
        let fits = self.groups.iter().enumerate().filter_map(|(at, group)| Some((length(group)?, at)));
        // Several pools without prefixes are one: the emptiest of them serves.
        fits.max_by_key(|&(length, at)| (length, Reverse(self.lightest(at)))).map(|(_, at)| at)
    }

    fn lightest(&self, group: usize) -> usize {
        let by_load = &self.groups[group].by_load;
        by_load.iter().position(|list| !list.is_empty()).unwrap_or(usize::MAX)
    }

    /// `pool-id` of the pool that serves a B4.
    pub(in crate::engine) fn pool_for(&self, b4: Ipv6Addr) -> Option<u32> {
        Some(self.groups[self.group_for(b4)?].pool_id)
    }

    pub(in crate::engine) fn pair(&mut self, address: u32) {
        self.change_load(address, |subscribers| subscribers + 1);
    }

    pub(in crate::engine) fn unpair(&mut self, address: u32) {
        self.change_load(address, |subscribers| subscribers - 1);
    }

    fn change_load(&mut self, number: u32, change: impl Fn(u32) -> u32) {
        self.unlist(number);
        let address = &mut self.addresses[number as usize];
        address.subscribers = change(address.subscribers);
        self.list(number);
    }

    /// Enters an address where new subscribers look, when it takes one.
    pub(super) fn list(&mut self, number: u32) {
        let address = &mut self.addresses[number as usize];
        // The group of a retired address may be gone.
        if address.retired {
            return;
        }
        let group = &mut self.groups[address.group];
        let takes_one =
            !address.drained && !address.free_sets.is_empty() && address.subscribers < group.most_subscribers;
        if !takes_one {
            return;
        }
        let load = address.subscribers as usize;
        if group.by_load.len() <= load {
            group.by_load.resize_with(load + 1, Vec::new);
        }
        address.listed_at = Some(group.by_load[load].len());
        group.by_load[load].push(number);
    }

    pub(super) fn unlist(&mut self, number: u32) {
        let address = &mut self.addresses[number as usize];
        let Some(at) = address.listed_at.take() else { return };
        let list = &mut self.groups[address.group].by_load[address.subscribers as usize];
        list.swap_remove(at);
        if let Some(&moved) = list.get(at) {
            self.addresses[moved as usize].listed_at = Some(at);
        }
    }
}
