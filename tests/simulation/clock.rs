//! What time does: expiry, hold-down, port sets that go back, datagrams that are given up.

use crate::model::{Mapping, Model, Phase, Session, Syn, Time};
use crate::story::Kind;

impl Model {
    pub(crate) fn life(&self, m: &Mapping) -> Option<Time> {
        let timers = &self.config.nat.timers;
        match m.kind {
            Kind::Tcp => None,
            Kind::Udp => Some(m.seen + u64::from(timers.udp_timeout) * 1000),
            Kind::Icmp => Some(m.seen + u64::from(timers.icmp_timeout) * 1000),
        }
    }

    pub(crate) fn session_end(&self, m: &Mapping, s: &Session) -> Time {
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

    pub(crate) fn set_wait(&self) -> Time {
        u64::from(self.config.nat.port_set.port_set_timeout.max(self.config.nat.timers.hold_down_timeout))
            * 1000
    }

    /// Every moment at which time changes something.
    pub(crate) fn moments(&self) -> impl Iterator<Item = Time> + '_ {
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
        let syns = self.syns.iter().map(move |syn| syn.latest + silence);
        let pieces = self.from_b4.ends().chain(self.from_internet.ends());
        let passed = self.passed.iter().map(|passed| self.passed_end(passed));
        mappings
            .chain(passed)
            .chain(holds)
            .chain(sets)
            .chain(syns)
            .chain(pieces)
            .chain(self.reassembly.ends())
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

    pub(crate) fn pass(&mut self, moment: Time) {
        self.held.retain(|(_, _, until)| *until > moment);
        let silence = u64::from(self.config.nat.timers.tcp_in_syn_timeout) * 1000;
        let over = |syn: &Syn| syn.latest + silence <= moment;
        self.answerable.extend(self.syns.iter().filter(|syn| over(syn)));
        self.syns.retain(|syn| !over(syn));
        for at in (0..self.mappings.len()).rev() {
            let has_ended = self.pass_sessions(at, moment);
            let m = &self.mappings[at];
            let is_over = match m.kind {
                // What the Internet opens and nobody answers keeps no port.
                Kind::Tcp => has_ended && m.sessions.iter().all(Session::is_inbound_half_open),
                Kind::Udp | Kind::Icmp => self.life(m).is_some_and(|end| end <= moment),
            };
            if is_over {
                let hold = m.kind != Kind::Tcp || m.must_hold || !m.sessions.is_empty();
                self.remove(at, hold, moment);
            }
        }
        let ends: Vec<Time> = self.passed.iter().map(|passed| self.passed_end(passed)).collect();
        let mut ends = ends.into_iter();
        self.passed.retain(|_| ends.next().is_some_and(|end| end > moment));
        let wait = self.set_wait();
        for home in self.homes.values_mut() {
            home.sets.retain(|set| set.empty_since.is_none_or(|since| since + wait > moment));
        }
        self.forget_empty_homes();
        self.from_b4.pass(moment);
        self.from_internet.pass(moment);
        self.reassembly.pass(moment);
    }

    /// Gives whether one ended.
    fn pass_sessions(&mut self, at: usize, moment: Time) -> bool {
        let ends: Vec<Time> =
            self.mappings[at].sessions.iter().map(|s| self.session_end(&self.mappings[at], s)).collect();
        let m = &mut self.mappings[at];
        let before = m.sessions.len();
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
        m.sessions.len() < before
    }

    /// Ends a mapping.
    pub(crate) fn remove(&mut self, at: usize, hold: bool, moment: Time) {
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

    pub(crate) fn forget_empty_homes(&mut self) {
        let mappings = &self.mappings;
        let passed = &self.passed;
        self.homes.retain(|prefix, home| {
            !home.sets.is_empty()
                || mappings.iter().any(|m| m.home == *prefix)
                || passed.iter().any(|p| p.home == *prefix)
        });
    }

    /// RFC 7785 section 4.6; gives how many mappings ended.
    pub(crate) fn purge(&mut self, prefix: u128) -> usize {
        let now = self.now;
        let mut count = 0;
        self.passed.retain(|passed| passed.home != prefix);
        for at in (0..self.mappings.len()).rev() {
            if self.mappings[at].home == prefix {
                self.remove(at, true, now);
                count += 1;
            }
        }
        self.forget_empty_homes();
        count
    }
}
