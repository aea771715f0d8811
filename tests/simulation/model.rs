//! The reference model: slow, obvious, and without a line of the engine's. It knows what RFC 4787, 5382,
//! 6888, 7785 and 7857 ask for, as lists that are searched from front to back. Ports and addresses that
//! the engine chooses by chance are told to it, and it says whether the choice was allowed.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use aftr::engine::{Config, DropReason};
use aftr::wire::Side;

use crate::limits::Limits;
use crate::pass_through::Passed;
use crate::pieces::Pieces;
use crate::story::Kind;
use crate::whole::Reassembly;

/// Milliseconds.
pub(crate) type Time = u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not TCP: a peer that may answer.
    Peer,
    Init,
    Established,
    OneFin {
        of_client: bool,
    },
    BothFins,
    Trans,
}

#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) remote: (Ipv4Addr, u16),
    pub(crate) phase: Phase,
    pub(crate) client_is_inside: bool,
    pub(crate) since: Time,
}

#[derive(Debug, Clone)]
pub(crate) struct Mapping {
    pub(crate) softwire: u64,
    pub(crate) home: u128,
    pub(crate) kind: Kind,
    pub(crate) internal: SocketAddrV4,
    pub(crate) external: SocketAddrV4,
    pub(crate) seen: Time,
    pub(crate) sessions: Vec<Session>,
    pub(crate) must_hold: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct PortSet {
    pub(crate) first: u16,
    pub(crate) last: u16,
    pub(crate) empty_since: Option<Time>,
}

#[derive(Debug, Clone)]
pub(crate) struct Softwire {
    pub(crate) id: u64,
    pub(crate) b4: Ipv6Addr,
    /// Which of the AFTR's addresses the B4 used last.
    pub(crate) own: usize,
    /// What the path to it takes, and since when that is known (RFC 8201).
    path: Option<(u16, Time)>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Home {
    /// The oldest first.
    pub(crate) softwires: Vec<Softwire>,
    pub(crate) moved: Option<Time>,
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) sets: Vec<PortSet>,
    /// Milli-tokens that are missing, and when they were counted.
    pub(crate) bucket: (u64, Time),
}

/// An unsolicited SYN.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Syn {
    pub(crate) attacked: SocketAddrV4,
    pub(crate) caller: SocketAddrV4,
    /// Of a caller at home.
    pub(crate) b4: Option<Ipv6Addr>,
    /// When the latest copy came.
    pub(crate) latest: Time,
}

/// How a B4 address is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    Known(u64),
    Moves(u64),
    Opens,
}

/// A packet of a host, or to one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
}

impl Flow {
    pub(crate) fn is_syn(self) -> bool {
        self.kind == Kind::Tcp && self.flags & 0x12 == 2
    }
}

pub(crate) struct Model {
    pub(crate) config: Config,
    pub(crate) now: Time,
    pub(crate) homes: BTreeMap<u128, Home>,
    pub(crate) mappings: Vec<Mapping>,
    pub(crate) passed: Vec<Passed>,
    /// Ports that nobody may have yet.
    pub(crate) held: Vec<(SocketAddrV4, Kind, Time)>,
    pub(crate) syns: Vec<Syn>,
    /// SYNs whose silence is over: they are answered.
    pub(crate) answerable: Vec<Syn>,
    pub(crate) limits: Limits,
    /// Datagrams in pieces, of homes and of the Internet: neither uses up the other's room.
    pub(crate) from_b4: Pieces,
    pub(crate) from_internet: Pieces,
    pub(crate) reassembly: Reassembly,
    /// Identifications that were given, and when: (source, destination, protocol), identification.
    identifications: BTreeMap<(Ipv4Addr, Ipv4Addr, u8, u16), Time>,
    softwires: u64,
    /// When time last changed something.
    pub(crate) last_moment: Time,
}

impl Model {
    pub(crate) fn new(config: Config, now: Time) -> Model {
        Model {
            from_b4: Pieces::new(config.nat.fragments, &config.nat.timers, Side::B4),
            from_internet: Pieces::new(config.nat.fragments, &config.nat.timers, Side::Internet),
            reassembly: Reassembly::new(config.softwire.reassembly),
            identifications: BTreeMap::new(),
            now,
            homes: BTreeMap::new(),
            mappings: Vec::new(),
            passed: Vec::new(),
            held: Vec::new(),
            syns: Vec::new(),
            answerable: Vec::new(),
            limits: Limits::new(config.icmp),
            softwires: 0,
            last_moment: 0,
            config,
        }
    }

    /// The datagrams in pieces that come from a side.
    pub(crate) fn pieces(&mut self, side: Side) -> &mut Pieces {
        match side {
            Side::B4 => &mut self.from_b4,
            Side::Internet => &mut self.from_internet,
        }
    }

    pub(crate) fn home_of(&self, b4: Ipv6Addr) -> u128 {
        let host_bits = 128 - u32::from(self.config.softwire.subscriber_mask_v6);
        (b4.to_bits() >> host_bits) << host_bits
    }

    /// Whether an address is in the pool.
    pub(crate) fn has_address(&self, address: Ipv4Addr) -> bool {
        let mut nets =
            self.config.nat.external_ip_address_pool.iter().flat_map(|pool| &pool.external_ip_pool);
        nets.any(|net| net.contains(&address))
    }

    // RFC 7785 section 4.

    pub(crate) fn enter(&self, b4: Ipv6Addr) -> Result<Entry, DropReason> {
        let softwire = &self.config.softwire;
        let Some(home) = self.homes.get(&self.home_of(b4)) else { return Ok(Entry::Opens) };
        if let Some(known) = home.softwires.iter().find(|known| known.b4 == b4) {
            return Ok(Entry::Known(known.id));
        }
        if home.softwires.len() < usize::from(softwire.max_softwires_per_subscriber) {
            return Ok(Entry::Opens);
        }
        let limit = u64::from(softwire.b4_address_change_limit) * 1000;
        if home.moved.is_some_and(|moved| self.now < moved + limit) {
            return Err(DropReason::B4Flap);
        }
        Ok(Entry::Moves(home.softwires[0].id))
    }

    /// Makes an entry so; gives the softwire.
    pub(crate) fn settle(&mut self, entry: Entry, b4: Ipv6Addr, own: usize) -> u64 {
        let (now, prefix) = (self.now, self.home_of(b4));
        let id = match entry {
            Entry::Known(id) => id,
            Entry::Moves(id) => {
                self.homes.get_mut(&prefix).expect("a home").moved = Some(now);
                let softwire = self.softwire_mut(id);
                (softwire.b4, softwire.path) = (b4, None);
                id
            }
            Entry::Opens => {
                self.softwires += 1;
                let opened = Softwire { id: self.softwires, b4, own, path: None };
                self.homes.entry(prefix).or_default().softwires.push(opened);
                self.softwires
            }
        };
        self.softwire_mut(id).own = own;
        id
    }

    pub(crate) fn softwire(&self, id: u64) -> &Softwire {
        let mut all = self.homes.values().flat_map(|home| &home.softwires);
        all.find(|softwire| softwire.id == id).expect("a softwire")
    }

    fn softwire_mut(&mut self, id: u64) -> &mut Softwire {
        let mut all = self.homes.values_mut().flat_map(|home| &mut home.softwires);
        all.find(|softwire| softwire.id == id).expect("a softwire")
    }

    /// The softwire that ends at this address.
    pub(crate) fn softwire_at(&self, b4: Ipv6Addr) -> Option<u64> {
        let mut all = self.homes.values().flat_map(|home| &home.softwires);
        all.find(|softwire| softwire.b4 == b4).map(|softwire| softwire.id)
    }

    // RFC 8201, RFC 2473 section 6.7.

    /// An error never raises it.
    pub(crate) fn learn_path(&mut self, softwire: u64, mtu: u32) {
        let now = self.now;
        let path = &mut self.softwire_mut(softwire).path;
        let known = path.filter(|(_, at)| now < at + 600_000).map_or(u16::MAX, |(mtu, _)| mtu);
        if mtu <= u32::from(known) {
            *path = Some((mtu as u16, now));
        }
    }

    fn path_of(&self, softwire: u64) -> Option<u16> {
        self.softwire(softwire).path.filter(|(_, at)| self.now < at + 600_000).map(|(mtu, _)| mtu)
    }

    /// The largest outer packet to a B4.
    pub(crate) fn path_mtu(&self, softwire: u64) -> usize {
        let access = self.config.softwire.access_mtu;
        usize::from(self.path_of(softwire).map_or(access, |path| path.min(access)))
    }

    /// The largest inner packet that goes whole.
    pub(crate) fn tunnel_mtu(&self, softwire: u64) -> usize {
        self.path_mtu(softwire) - if self.config.softwire.encapsulation_limit { 48 } else { 40 }
    }

    /// The most that a SYN may ask for.
    pub(crate) fn most_mss(&self, softwire: u64) -> u16 {
        let clamping = &self.config.softwire.mss_clamping;
        let path = self.path_of(softwire).map_or(usize::MAX, |_| self.tunnel_mtu(softwire) - 40);
        if clamping.enable { usize::from(clamping.mss_value).min(path) as u16 } else { u16::MAX }
    }

    // RFC 6864.

    /// The engine gave this identification to a datagram: no other that may still live has it. In a story
    /// there are fewer datagrams than identifications.
    pub(crate) fn identified(
        &mut self,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        protocol: u8,
        id: u16,
    ) -> Result<(), String> {
        let now = self.now;
        let before = self.identifications.insert((source, destination, protocol, id), now);
        match before.filter(|before| now < before + 120_000) {
            Some(before) => Err(format!(
                "identification {id} of {source} to {destination} again after {} ms",
                now - before
            )),
            None => Ok(()),
        }
    }
}
