//! Which of several workers a packet belongs to.
//!
//! A worker owns subscribers and whole external addresses, so that everything about a flow, both ways, is in
//! one engine and nothing is shared. Who owns what follows from the configuration and one secret number
//! alone: the kernel can steer by the same arithmetic before a packet is received.
//!
//! A subscriber belongs to a worker that has addresses for it. Where every worker has some, a keyed hash of
//! its prefix decides; static mappings, deterministic ranges and small pools decide by their addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use aftr_config::{Config, worker_of_address};
use ipnet::{Ipv4Net, Ipv6Net};

use super::mapping::{Layout, every_address, nth_address, subscriber_index};
use super::settings::prefix_mask;
use crate::wire::ipv4::Ipv4;
use crate::wire::ipv6::Ipv6;
use crate::wire::{Packet, Side};

/// A worker's number: the first is 0.
pub type WorkerNumber = u16;

/// The workers of an AFTR, and what each of them owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owners {
    workers: u16,
    key: u32,
    mask: u128,
    mask_length: u8,
    /// Subscribers whose address a static mapping names.
    statics: BTreeMap<u128, WorkerNumber>,
    /// RFC 7422: own ranges of one address, and the addresses in order.
    own_ranges: Option<(u32, Vec<Ipv4Net>)>,
    /// In deterministic mode.
    b4_prefixes: Vec<Ipv6Net>,
    /// Who has addresses for whom; empty when every worker has some for all.
    served: Vec<Served>,
}

/// B4s, and the workers that have addresses for them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Served {
    /// None: all that no longer prefix holds.
    prefix: Option<Ipv6Net>,
    by: Vec<WorkerNumber>,
}

impl Owners {
    /// The workers that `config` asks for. `key` is secret, so that no B4 can choose whose it is, and the
    /// same for all workers of a run.
    #[must_use]
    pub fn new(config: &Config, key: u32) -> Owners {
        let workers = config.dataplane.workers;
        let own_ranges = Layout::new(&config.nat).own_ranges();
        let pools = &config.nat.external_ip_address_pool;
        let mask = prefix_mask(config.softwire.subscriber_mask_v6);
        let statics = config.nat.mapping_table.iter().map(|entry| {
            let worker = worker_of_address(entry.external_src_address, workers);
            (entry.b4_ipv6_address.to_bits() & mask, worker)
        });
        Owners {
            workers,
            key,
            mask,
            mask_length: config.softwire.subscriber_mask_v6,
            // The first one pairs the subscriber with its address.
            statics: statics.rev().filter(|_| own_ranges == 0).collect(),
            own_ranges: (own_ranges > 0)
                .then(|| (own_ranges, pools.iter().flat_map(|pool| pool.external_ip_pool.clone()).collect())),
            b4_prefixes: if own_ranges > 0 { config.softwire.b4_prefixes.clone() } else { Vec::new() },
            served: served(config),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn workers(&self) -> u16 {
        self.workers
    }

    /// The secret number.
    #[must_use]
    pub fn key(&self) -> u32 {
        self.key
    }

    /// Leading bits of a B4 address that the hash is made of.
    #[must_use]
    pub fn mask_length(&self) -> u8 {
        self.mask_length
    }

    /// Whether `config` leaves every subscriber where it is.
    ///
    /// # Errors
    /// The keys that would move some.
    pub fn check_unmoved(&self, config: &Config) -> Result<(), Vec<&'static str>> {
        if self.workers == 1 || *self == Owners::new(config, self.key) {
            Ok(())
        } else {
            Err(vec!["nat.external-ip-address-pool (subscribers would move to other workers)"])
        }
    }

    /// Whose packet this is, whatever it is: by the source of one from a B4, by the destination of one from
    /// the Internet.
    #[inline]
    #[must_use]
    pub fn of(&self, packet: &Packet) -> WorkerNumber {
        match packet.side {
            Side::B4 => Ipv6::view(packet.bytes()).map_or(0, |header| self.of_b4(header.source())),
            Side::Internet => {
                Ipv4::view(packet.bytes()).map_or(0, |header| self.of_address(header.destination()))
            }
        }
    }

    /// Who owns an external address.
    #[inline]
    #[must_use]
    pub fn of_address(&self, address: Ipv4Addr) -> WorkerNumber {
        worker_of_address(address, self.workers)
    }

    /// Who owns the subscriber of a B4.
    #[inline]
    #[must_use]
    pub fn of_b4(&self, b4: Ipv6Addr) -> WorkerNumber {
        let prefix = b4.to_bits() & self.mask;
        let follows_from_hash =
            self.statics.is_empty() && self.own_ranges.is_none() && self.served.is_empty();
        if follows_from_hash {
            return scale(self.hash(prefix), self.workers);
        }
        self.of_prefix(prefix, b4)
    }

    fn of_prefix(&self, prefix: u128, b4: Ipv6Addr) -> WorkerNumber {
        if let Some(&worker) = self.statics.get(&prefix) {
            return worker;
        }
        if let Some(address) = self.own_range_address(prefix) {
            return self.of_address(address);
        }
        let holds = |served: &&Served| served.prefix.is_none_or(|prefix| prefix.contains(&b4));
        let length = |served: &&Served| served.prefix.map_or(0, |prefix| u16::from(prefix.prefix_len()) + 1);
        match self.served.iter().filter(holds).max_by_key(length) {
            Some(served) => served.by[usize::from(scale(self.hash(prefix), served.by.len() as u16))],
            None => scale(self.hash(prefix), self.workers),
        }
    }

    /// The address of a subscriber's own range (RFC 7422 section 2).
    fn own_range_address(&self, prefix: u128) -> Option<Ipv4Addr> {
        let (own_ranges, nets) = self.own_ranges.as_ref()?;
        let index = subscriber_index(&self.b4_prefixes, self.mask_length, prefix)?;
        nth_address(nets, index / u64::from(*own_ranges))
    }

    /// The kernel computes this, too: word by word, in 32 bits, without the words that the mask leaves out.
    #[inline]
    fn hash(&self, prefix: u128) -> u32 {
        const MULTIPLIER: u32 = 0x9e37_79b1;
        let words = [(prefix >> 96) as u32, (prefix >> 64) as u32, (prefix >> 32) as u32, prefix as u32];
        let count = usize::from(self.mask_length.div_ceil(32));
        words[..count].iter().fold(self.key, |hash, word| (hash ^ word).wrapping_mul(MULTIPLIER))
    }
}

/// A hash as a number below `count`: of the upper half, which the multiplications have mixed best.
#[inline]
fn scale(hash: u32, count: u16) -> WorkerNumber {
    (((hash >> 16) * u32::from(count)) >> 16) as WorkerNumber
}

/// Pools without prefixes are one.
fn served(config: &Config) -> Vec<Served> {
    let workers = config.dataplane.workers;
    let mut groups: BTreeMap<Option<Ipv6Net>, BTreeSet<WorkerNumber>> = BTreeMap::new();
    for pool in &config.nat.external_ip_address_pool {
        // Neighbours in a row belong to one worker after the other.
        let firsts = pool.external_ip_pool.iter().flat_map(|net| every_address(net).take(workers.into()));
        let owners: Vec<_> = firsts.map(|address| worker_of_address(address, workers)).collect();
        let prefixes = pool.b4_prefixes.iter().copied().map(Some);
        let without_prefix = pool.b4_prefixes.is_empty().then_some(None);
        for prefix in prefixes.chain(without_prefix) {
            groups.entry(prefix).or_default().extend(&owners);
        }
    }
    if groups.values().all(|by| by.len() == usize::from(workers)) {
        return Vec::new();
    }
    groups.into_iter().map(|(prefix, by)| Served { prefix, by: by.into_iter().collect() }).collect()
}

/// One worker's part of the whole.
#[derive(Debug, Clone)]
pub struct Share {
    owners: Arc<Owners>,
    number: WorkerNumber,
}

impl Share {
    /// All there is: the part of the only worker.
    pub(super) fn whole(config: &Config) -> Share {
        let mut config = config.clone();
        config.dataplane.workers = 1;
        Share { owners: Arc::new(Owners::new(&config, 0)), number: 0 }
    }

    /// What the worker of this number, below [`Owners::workers`], owns.
    #[must_use]
    pub fn new(owners: Arc<Owners>, number: WorkerNumber) -> Share {
        Share { owners, number }
    }

    /// Whether somebody else owns anything.
    #[inline]
    pub(super) fn is_all(&self) -> bool {
        self.owners.workers == 1
    }

    /// Whether a packet that another worker has not had is this one's.
    pub(super) fn owns(&self, packet: &Packet) -> bool {
        self.owners.of(packet) == self.number
    }

    /// Who owns an external address, when it is not this worker.
    pub(super) fn other_owner(&self, address: Ipv4Addr) -> Option<WorkerNumber> {
        Some(self.owners.of_address(address)).filter(|&owner| owner != self.number)
    }

    /// Who owns the subscriber of a B4, when it is not this worker.
    pub(super) fn other_owner_of_b4(&self, b4: Ipv6Addr) -> Option<WorkerNumber> {
        Some(self.owners.of_b4(b4)).filter(|&owner| owner != self.number)
    }
}
