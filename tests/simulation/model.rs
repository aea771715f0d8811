//! The reference model: slow, obvious, and without a line of the engine's. It knows what RFC 4787, 5382,
//! 6888, 7785 and 7857 ask for, as lists that are searched from front to back. Ports and addresses that
//! the engine chooses by chance are told to it, and it says whether the choice was allowed.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use aftr::engine::{Config, DropReason};
use aftr_config::Filtering;

use crate::story::Kind;

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
    must_hold: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct PortSet {
    pub(crate) first: u16,
    pub(crate) last: u16,
    empty_since: Option<Time>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Home {
    /// Number and B4 address of each softwire, the oldest first.
    pub(crate) softwires: Vec<(u64, Ipv6Addr)>,
    moved: Option<Time>,
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) sets: Vec<PortSet>,
    /// Milli-tokens that are missing, and when they were counted.
    bucket: (u64, Time),
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
    fn is_syn(self) -> bool {
        self.kind == Kind::Tcp && self.flags & 0x12 == 2
    }
}

pub(crate) struct Model {
    pub(crate) config: Config,
    pub(crate) now: Time,
    pub(crate) homes: BTreeMap<u128, Home>,
    pub(crate) mappings: Vec<Mapping>,
    /// Ports that nobody may have yet.
    pub(crate) held: Vec<(SocketAddrV4, Kind, Time)>,
    /// Unsolicited SYNs: attacked, caller, latest copy.
    pub(crate) syns: Vec<(SocketAddrV4, SocketAddrV4, Time)>,
    /// SYNs whose silence is over and that may be answered.
    pub(crate) answerable: Vec<(SocketAddrV4, SocketAddrV4)>,
    softwires: u64,
    /// When time last changed something.
    last_moment: Time,
}

impl Model {
    pub(crate) fn new(config: Config, now: Time) -> Model {
        Model {
            config,
            now,
            homes: BTreeMap::new(),
            mappings: Vec::new(),
            held: Vec::new(),
            syns: Vec::new(),
            answerable: Vec::new(),
            softwires: 0,
            last_moment: 0,
        }
    }

    pub(crate) fn home_of(&self, b4: Ipv6Addr) -> u128 {
        let host_bits = 128 - u32::from(self.config.softwire.subscriber_mask_v6);
        (b4.to_bits() >> host_bits) << host_bits
    }

    // RFC 7785 section 4.

    pub(crate) fn enter(&self, b4: Ipv6Addr) -> Result<Entry, DropReason> {
        let softwire = &self.config.softwire;
        let Some(home) = self.homes.get(&self.home_of(b4)) else { return Ok(Entry::Opens) };
        if let Some((id, _)) = home.softwires.iter().find(|(_, address)| *address == b4) {
            return Ok(Entry::Known(*id));
        }
        if home.softwires.len() < usize::from(softwire.max_softwires_per_subscriber) {
            return Ok(Entry::Opens);
        }
        let limit = u64::from(softwire.b4_address_change_limit) * 1000;
        if home.moved.is_some_and(|moved| self.now < moved + limit) {
            return Err(DropReason::B4Flap);
        }
        Ok(Entry::Moves(home.softwires[0].0))
    }

    /// Makes an entry so; gives the softwire.
    pub(crate) fn settle(&mut self, entry: Entry, b4: Ipv6Addr) -> u64 {
        let (now, prefix) = (self.now, self.home_of(b4));
        match entry {
            Entry::Known(id) => id,
            Entry::Moves(id) => {
                let home = self.homes.get_mut(&prefix).expect("a home");
                home.moved = Some(now);
                home.softwires
                    .iter_mut()
                    .filter(|(softwire, _)| *softwire == id)
                    .for_each(|softwire| softwire.1 = b4);
                id
            }
            Entry::Opens => {
                self.softwires += 1;
                self.homes.entry(prefix).or_default().softwires.push((self.softwires, b4));
                self.softwires
            }
        }
    }

    pub(crate) fn b4_of(&self, mapping: &Mapping) -> Ipv6Addr {
        let home = &self.homes[&mapping.home];
        home.softwires.iter().find(|(id, _)| *id == mapping.softwire).expect("a softwire").1
    }

    // RFC 4787 REQ-1, RFC 6888 REQ-4.

    pub(crate) fn find(&self, softwire: u64, kind: Kind, internal: SocketAddrV4) -> Option<usize> {
        let is_it = |m: &Mapping| m.softwire == softwire && m.kind == kind && m.internal == internal;
        self.mappings.iter().position(is_it)
    }

    pub(crate) fn at(&self, kind: Kind, external: SocketAddrV4) -> Option<usize> {
        self.mappings.iter().position(|m| m.kind == kind && m.external == external)
    }

    /// Whether a new mapping is within the limits; ports are looked at by [`Model::may_find_port`].
    pub(crate) fn may_create(&self, prefix: u128, kind: Kind) -> Result<(), DropReason> {
        let quota = self.config.nat.port_quota;
        let limit = match kind {
            Kind::Tcp => quota.tcp,
            Kind::Udp => quota.udp,
            Kind::Icmp => quota.icmp,
        };
        let used = self.mappings.iter().filter(|m| m.home == prefix && m.kind == kind).count();
        if used >= limit as usize {
            return Err(DropReason::NatQuota);
        }
        if self.missing(prefix) + 1000 > u64::from(quota.new_mappings_burst) * 1000 {
            return Err(DropReason::NatRate);
        }
        self.may_find_port(prefix, kind)
    }

    fn missing(&self, prefix: u128) -> u64 {
        let (missing, at) = self.homes.get(&prefix).map_or((0, 0), |home| home.bucket);
        missing
            .saturating_sub((self.now - at) * u64::from(self.config.nat.port_quota.new_mappings_per_second))
    }

    fn may_find_port(&self, prefix: u128, kind: Kind) -> Result<(), DropReason> {
        let none = Home::default();
        let home = self.homes.get(&prefix).unwrap_or(&none);
        let has_free = |set: &PortSet| {
            let address = home.address.expect("an address");
            (set.first..=set.last).any(|port| self.is_free(SocketAddrV4::new(address, port), kind))
        };
        if home.sets.iter().any(has_free) {
            return Ok(());
        }
        if home.sets.len() >= usize::from(self.config.nat.port_set.max_port_sets) {
            return Err(DropReason::NatQuota);
        }
        let possible = match home.address {
            Some(address) => self.free_sets(address) > 0,
            None => !self.least_loaded().is_empty(),
        };
        if possible { Ok(()) } else { Err(DropReason::NatPool) }
    }

    fn is_free(&self, external: SocketAddrV4, kind: Kind) -> bool {
        self.at(kind, external).is_none()
            && !self.held.iter().any(|(held, k, _)| *held == external && *k == kind)
    }

    fn addresses(&self) -> Vec<Ipv4Addr> {
        let nets = self.config.nat.external_ip_address_pool.iter().flat_map(|pool| &pool.external_ip_pool);
        nets.flat_map(|net| (net.network().to_bits()..=net.broadcast().to_bits()).map(Ipv4Addr::from))
            .collect()
    }

    fn free_sets(&self, address: Ipv4Addr) -> usize {
        let range = &self.config.nat.external_port_range;
        let sets = (usize::from(*range.end()) + 1 - usize::from(*range.start()))
            / usize::from(self.config.nat.port_set.port_set_size);
        let granted: usize = self
            .homes
            .values()
            .filter(|home| home.address == Some(address))
            .map(|home| home.sets.len())
            .sum();
        sets - granted
    }

    /// RFC 6888 REQ-13: the addresses with the fewest subscribers that have a set to give.
    fn least_loaded(&self) -> Vec<Ipv4Addr> {
        let most = usize::from(self.config.nat.external_ip_address_pool[0].max_subscribers_per_address);
        let load =
            |address: Ipv4Addr| self.homes.values().filter(|home| home.address == Some(address)).count();
        let open: Vec<_> =
            self.addresses().into_iter().filter(|&a| self.free_sets(a) > 0 && load(a) < most).collect();
        let least = open.iter().map(|&address| load(address)).min();
        open.into_iter().filter(|&address| Some(load(address)) == least).collect()
    }

    /// The engine says which ports it granted: they must be one whole free set of the right address.
    pub(crate) fn granted(
        &mut self,
        b4: Ipv6Addr,
        address: Ipv4Addr,
        first: u16,
        last: u16,
    ) -> Result<(), String> {
        let prefix = self.home_of(b4);
        let (size, start) =
            (u32::from(self.config.nat.port_set.port_set_size), *self.config.nat.external_port_range.start());
        let aligned = u32::from(first - start) % size == 0 && u32::from(last - first) + 1 == size;
        let taken = self.homes.values().any(|home| {
            home.address == Some(address)
                && home.sets.iter().any(|set| set.first <= last && first <= set.last)
        });
        let paired = self.homes.get(&prefix).and_then(|home| home.address);
        let right_address = match paired {
            Some(paired) => paired == address,
            None => self.least_loaded().contains(&address),
        };
        if !aligned || taken || !right_address {
            return Err(format!(
                "grant of {address} {first}-{last}: aligned {aligned}, taken {taken}, paired with {paired:?}"
            ));
        }
        let home = self.homes.entry(prefix).or_default();
        home.address = Some(address);
        home.sets.push(PortSet { first, last, empty_since: None });
        Ok(())
    }

    /// The engine chose this external address and port: INV-1, INV-2, INV-6 and INV-10.
    pub(crate) fn create(
        &mut self,
        softwire: u64,
        b4: Ipv6Addr,
        kind: Kind,
        internal: SocketAddrV4,
        external: SocketAddrV4,
    ) -> Result<usize, String> {
        let prefix = self.home_of(b4);
        if !self.is_free(external, kind) {
            return Err(format!("{external} {kind:?} is taken or held"));
        }
        let missing = self.missing(prefix);
        let now = self.now;
        let home = self.homes.get_mut(&prefix).expect("settled before");
        home.bucket = (missing + 1000, now);
        let set = home.sets.iter_mut().find(|set| (set.first..=set.last).contains(&external.port()));
        let (Some(set), true) = (set, home.address == Some(*external.ip())) else {
            return Err(format!("{external} was never granted to {b4}"));
        };
        set.empty_since = None;
        self.mappings.push(Mapping {
            softwire,
            home: prefix,
            kind,
            internal,
            external,
            seen: now,
            sessions: Vec::new(),
            must_hold: false,
        });
        Ok(self.mappings.len() - 1)
    }

    // RFC 4787 REQ-8, RFC 5382, RFC 7857 section 2.

    /// The port that a session of this kind is known by; none when peers are not looked at.
    fn tracked(&self, kind: Kind, port: u16) -> Option<u16> {
        let types = &self.config.nat.filtering_type;
        match (kind, if kind == Kind::Udp { types.udp } else { types.icmp }) {
            (Kind::Tcp, _) => Some(port),
            (_, Filtering::EndpointIndependent) => None,
            (Kind::Udp, Filtering::AddressAndPortDependent) => Some(port),
            _ => Some(0),
        }
    }

    fn session(&self, mapping: usize, kind: Kind, remote: SocketAddrV4) -> Option<usize> {
        let port = self.tracked(kind, remote.port())?;
        self.mappings[mapping].sessions.iter().position(|session| session.remote == (*remote.ip(), port))
    }

    /// Whether the host may send this at all.
    pub(crate) fn may_send(
        &self,
        prefix: u128,
        mapping: Option<usize>,
        flow: Flow,
        remote: SocketAddrV4,
    ) -> Result<(), DropReason> {
        if self.tracked(flow.kind, remote.port()).is_none() {
            return Ok(());
        }
        if mapping.is_some_and(|m| self.session(m, flow.kind, remote).is_some()) {
            return Ok(());
        }
        if flow.kind == Kind::Tcp && !flow.is_syn() {
            return if mapping.is_some() { Ok(()) } else { Err(DropReason::TcpNoSession) };
        }
        self.room_for_session(prefix, mapping)
    }

    fn room_for_session(&self, prefix: u128, mapping: Option<usize>) -> Result<(), DropReason> {
        let limits = &self.config.nat.session_limits;
        let of_home: usize =
            self.mappings.iter().filter(|m| m.home == prefix).map(|m| m.sessions.len()).sum();
        let of_mapping = mapping.map_or(0, |m| self.mappings[m].sessions.len());
        let full = of_home >= limits.limit_per_subscriber as usize
            || of_mapping >= limits.limit_per_mapping as usize;
        if full { Err(DropReason::NatQuota) } else { Ok(()) }
    }

    /// Whether a remote side is let in. `caller` is none for a home that has no external port yet.
    pub(crate) fn may_enter(
        &self,
        mapping: usize,
        flow: Flow,
        remote: SocketAddrV4,
    ) -> Result<(), DropReason> {
        if self.tracked(flow.kind, remote.port()).is_none()
            || self.session(mapping, flow.kind, remote).is_some()
        {
            return Ok(());
        }
        let m = &self.mappings[mapping];
        let types = &self.config.nat.filtering_type;
        let admitted = match if m.kind == Kind::Tcp {
            types.tcp
        } else if m.kind == Kind::Udp {
            types.udp
        } else {
            types.icmp
        } {
            Filtering::EndpointIndependent => true,
            Filtering::AddressDependent => m.sessions.iter().any(|session| session.remote.0 == *remote.ip()),
            Filtering::AddressAndPortDependent => false,
        };
        if !admitted {
            return Err(DropReason::NatFilter);
        }
        if flow.is_syn() {
            let limits = &self.config.nat.session_limits;
            let waits = |m: &Mapping| {
                m.sessions.iter().filter(|s| s.phase == Phase::Init && !s.client_is_inside).count()
            };
            let of_home: usize = self.mappings.iter().filter(|other| other.home == m.home).map(waits).sum();
            if waits(m) >= limits.inbound_half_open_per_mapping as usize
                || of_home >= limits.inbound_half_open_per_subscriber as usize
            {
                return Err(DropReason::TcpInFlood);
            }
            self.room_for_session(m.home, Some(mapping))?;
        }
        Ok(())
    }

    /// A packet passed between the host of a mapping and a remote side.
    pub(crate) fn passed(&mut self, mapping: usize, flow: Flow, remote: SocketAddrV4, from_inside: bool) {
        let (now, tracked) = (self.now, self.tracked(flow.kind, remote.port()));
        let known = self.session(mapping, flow.kind, remote);
        let m = &mut self.mappings[mapping];
        if from_inside || flow.kind == Kind::Tcp {
            m.seen = now;
        }
        let Some(port) = tracked else { return };
        match known {
            Some(at) => m.sessions[at].packet(flow, from_inside, now),
            None if flow.kind == Kind::Tcp && !flow.is_syn() => {}
            None if flow.kind != Kind::Tcp && !from_inside => {}
            None => {
                let phase = if flow.kind == Kind::Tcp { Phase::Init } else { Phase::Peer };
                m.sessions.push(Session {
                    remote: (*remote.ip(), port),
                    phase,
                    client_is_inside: from_inside,
                    since: now,
                });
            }
        }
        if flow.is_syn() && from_inside {
            let external = m.external;
            self.syns.retain(|(attacked, caller, _)| (*attacked, *caller) != (external, remote));
        }
    }

    pub(crate) fn hold_syn(&mut self, attacked: SocketAddrV4, caller: SocketAddrV4) {
        let now = self.now;
        match self.syns.iter_mut().find(|(a, c, _)| (*a, *c) == (attacked, caller)) {
            Some(syn) => syn.2 = now,
            None => self.syns.push((attacked, caller, now)),
        }
    }

    // Time.

    fn life(&self, m: &Mapping) -> Option<Time> {
        let timers = &self.config.nat.timers;
        match m.kind {
            Kind::Tcp => None,
            Kind::Udp => Some(m.seen + u64::from(timers.udp_timeout) * 1000),
            Kind::Icmp => Some(m.seen + u64::from(timers.icmp_timeout) * 1000),
        }
    }

    fn session_end(&self, m: &Mapping, s: &Session) -> Time {
        let timers = &self.config.nat.timers;
        let seconds = match s.phase {
            Phase::Peer if m.kind == Kind::Icmp => timers.icmp_timeout,
            Phase::Peer => timers.udp_timeout,
            Phase::Init => timers.tcp_trans_open_timeout,
            Phase::Established => timers.tcp_idle_timeout - timers.tcp_trans_close_timeout,
            Phase::OneFin { .. } => timers.tcp_idle_timeout,
            Phase::BothFins | Phase::Trans => timers.tcp_trans_close_timeout,
        };
        s.since + u64::from(seconds) * 1000
    }

    fn set_wait(&self) -> Time {
        u64::from(self.config.nat.port_set.port_set_timeout.max(self.config.nat.timers.hold_down_timeout))
            * 1000
    }

    /// Every moment at which time changes something.
    fn moments(&self) -> impl Iterator<Item = Time> + '_ {
        let mappings = self
            .mappings
            .iter()
            .flat_map(|m| self.life(m).into_iter().chain(m.sessions.iter().map(|s| self.session_end(m, s))));
        let holds = self.held.iter().map(|(_, _, until)| *until);
        let sets = self
            .homes
            .values()
            .flat_map(|home| home.sets.iter().filter_map(|set| Some(set.empty_since? + self.set_wait())));
        let silence = u64::from(self.config.nat.timers.tcp_in_syn_timeout) * 1000;
        mappings.chain(holds).chain(sets).chain(self.syns.iter().map(move |(_, _, latest)| latest + silence))
    }

    /// Whether a timer may or may not have ended by now: inside [T, T + 1 s] both are right, and what
    /// follows from its end is as doubtful.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.now < self.last_moment + 1500
    }

    /// Lets time pass until `time`, one moment after the other.
    pub(crate) fn wait_until(&mut self, time: Time) {
        while let Some(moment) = self.moments().filter(|&moment| moment <= time).min() {
            self.now = moment.max(self.now);
            self.last_moment = self.now;
            self.pass(moment);
        }
        self.now = time;
    }

    fn pass(&mut self, moment: Time) {
        self.held.retain(|(_, _, until)| *until > moment);
        let silence = u64::from(self.config.nat.timers.tcp_in_syn_timeout) * 1000;
        let over = |syn: &(SocketAddrV4, SocketAddrV4, Time)| syn.2 + silence <= moment;
        self.answerable.extend(self.syns.iter().filter(|syn| over(syn)).map(|syn| (syn.0, syn.1)));
        self.syns.retain(|syn| !over(syn));
        for at in (0..self.mappings.len()).rev() {
            self.pass_sessions(at, moment);
            let m = &self.mappings[at];
            let is_over = match m.kind {
                Kind::Tcp => m.sessions.is_empty(),
                Kind::Udp | Kind::Icmp => self.life(m).is_some_and(|end| end <= moment),
            };
            if is_over {
                let hold = m.kind != Kind::Tcp || m.must_hold;
                self.remove(at, hold, moment);
            }
        }
        let wait = self.set_wait();
        for home in self.homes.values_mut() {
            home.sets.retain(|set| set.empty_since.is_none_or(|since| since + wait > moment));
        }
        self.forget_empty_homes();
    }

    fn pass_sessions(&mut self, at: usize, moment: Time) {
        let ends: Vec<Time> =
            self.mappings[at].sessions.iter().map(|s| self.session_end(&self.mappings[at], s)).collect();
        let m = &mut self.mappings[at];
        let mut must_hold = m.must_hold;
        let mut ends = ends.into_iter();
        m.sessions.retain_mut(|session| {
            let end = ends.next().expect("one for each");
            if end > moment {
                return true;
            }
            if session.phase == Phase::Established {
                session.phase = Phase::Trans;
                session.since = end;
                return true;
            }
            // RFC 6888 REQ-8a
            must_hold |= !matches!(session.phase, Phase::BothFins | Phase::Trans);
            false
        });
        m.must_hold = must_hold;
    }

    /// Ends a mapping.
    fn remove(&mut self, at: usize, hold: bool, moment: Time) {
        let m = self.mappings.remove(at);
        let hold_down = u64::from(self.config.nat.timers.hold_down_timeout) * 1000;
        if hold && hold_down > 0 {
            self.held.push((m.external, m.kind, moment + hold_down));
        }
        let home = self.homes.get_mut(&m.home).expect("a home");
        let set = home
            .sets
            .iter_mut()
            .find(|set| (set.first..=set.last).contains(&m.external.port()))
            .expect("its set");
        let is_empty = !self
            .mappings
            .iter()
            .any(|other| other.home == m.home && (set.first..=set.last).contains(&other.external.port()));
        if is_empty {
            set.empty_since = Some(moment);
        }
    }

    fn forget_empty_homes(&mut self) {
        let mappings = &self.mappings;
        self.homes.retain(|prefix, home| !home.sets.is_empty() || mappings.iter().any(|m| m.home == *prefix));
    }

    /// RFC 7785 section 4.6; gives how many mappings ended.
    pub(crate) fn purge(&mut self, prefix: u128) -> usize {
        let now = self.now;
        let mut count = 0;
        for at in (0..self.mappings.len()).rev() {
            if self.mappings[at].home == prefix {
                self.remove(at, true, now);
                count += 1;
            }
        }
        count
    }
}

impl Session {
    /// The table of section 7, row by row.
    fn packet(&mut self, flow: Flow, from_inside: bool, now: Time) {
        if self.phase == Phase::Peer {
            if from_inside {
                self.since = now;
            }
            return;
        }
        let by_client = from_inside == self.client_is_inside;
        let (fin, syn, rst) = (flow.flags & 1 != 0, flow.flags & 2 != 0, flow.flags & 4 != 0);
        let (phase, restarts) = match self.phase {
            Phase::Peer => unreachable!(),
            Phase::Init if syn && !by_client => (Phase::Established, true),
            Phase::Init => (Phase::Init, rst || (flow.is_syn() && by_client)),
            Phase::BothFins if flow.is_syn() && by_client => (Phase::Init, true),
            Phase::BothFins => (Phase::BothFins, rst),
            Phase::Trans if flow.is_syn() && by_client => (Phase::Init, true),
            Phase::Trans if rst => (Phase::Trans, true),
            Phase::Trans => (Phase::Established, true),
            Phase::Established | Phase::OneFin { .. } if rst => (Phase::Trans, true),
            Phase::Established if fin => (Phase::OneFin { of_client: by_client }, true),
            Phase::OneFin { of_client } if fin && of_client != by_client => (Phase::BothFins, true),
            same @ (Phase::Established | Phase::OneFin { .. }) => (same, true),
        };
        self.phase = phase;
        if restarts {
            self.since = now;
        }
    }
}
