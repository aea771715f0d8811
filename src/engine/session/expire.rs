//! The end of a session, and of the TCP mapping that it was the last of.

use super::table::Session;
use super::tcp::State;
use crate::engine::aftr::Aftr;
use crate::engine::table::NONE;
use crate::engine::time::Instant;
use aftr_config::Protocol;

impl Aftr {
    /// Seconds that a session lives in its state. An established one passes through TRANS, so that both
    /// together make `tcp-idle-timeout` (RFC 5382 REQ-5, RFC 6146 section 4).
    pub(super) fn session_timeout(&self, session: &Session) -> u32 {
        let timers = &self.settings.config.nat.timers;
        match session.state {
            State::Peer => self.idle_timeout(self.mappings.slab[session.mapping].protocol),
            State::Init => timers.tcp_trans_open_timeout,
            State::Established => timers.tcp_idle_timeout.saturating_sub(timers.tcp_trans_close_timeout),
            State::ClientFin | State::ServerFin => timers.tcp_idle_timeout,
            State::BothFin | State::Trans => timers.tcp_trans_close_timeout,
        }
    }

    /// Ends one session whose timer came due, or arms the timer again when it was used since.
    pub(in crate::engine) fn expire_session(&mut self, id: u32, now: Instant) {
        let session = &self.sessions.slab[id];
        let deadline = session.since.plus_secs(self.session_timeout(session), now);
        if deadline > now {
            self.sessions.timers.arm(id, deadline);
        } else if session.state == State::Established {
            let session = &mut self.sessions.slab[id];
            session.state = State::Trans;
            session.since = deadline.stamp();
            let close = self.settings.config.nat.timers.tcp_trans_close_timeout;
            self.sessions.timers.arm(id, deadline.plus_secs(close));
        } else {
            self.end_session(id, now);
        }
    }

    fn end_session(&mut self, id: u32, now: Instant) {
        let session = self.sessions.remove(id);
        // RFC 6888 REQ-8a: the tracked state machine saw the end.
        let is_clean = matches!(session.state, State::BothFin | State::Trans);
        let mapping = &mut self.mappings.slab[session.mapping];
        if mapping.first_session == id {
            mapping.first_session = session.next;
        }
        mapping.must_hold |= !is_clean;
        self.uncount_session(&session);
        let mapping = &self.mappings.slab[session.mapping];
        // What the Internet opens and nobody answers keeps no port of the subscriber's.
        let is_idle = mapping.sessions == mapping.inbound_half_open;
        if mapping.protocol == Protocol::Tcp && is_idle && !mapping.is_static {
            let hold = mapping.must_hold || mapping.sessions > 0;
            self.remove_mapping(session.mapping, hold, now);
        }
    }

    /// Ends the sessions of a mapping that ends.
    pub(in crate::engine) fn drop_sessions_of(&mut self, mapping: u32) {
        let mut id = self.mappings.slab[mapping].first_session;
        while id != NONE {
            let session = self.sessions.remove(id);
            self.uncount_session(&session);
            id = session.next;
        }
        self.mappings.slab[mapping].first_session = NONE;
    }

    pub(super) fn count_session(&mut self, mapping: u32, half_open: bool) {
        let record = &mut self.mappings.slab[mapping];
        record.sessions += 1;
        let subscriber = self.softwires.slab[record.softwire].subscriber;
        self.subscribers.slab[subscriber].sessions += 1;
        if half_open {
            self.change_half_open(mapping, true);
        }
    }

    fn uncount_session(&mut self, session: &Session) {
        let record = &mut self.mappings.slab[session.mapping];
        record.sessions -= 1;
        let subscriber = self.softwires.slab[record.softwire].subscriber;
        self.subscribers.slab[subscriber].sessions -= 1;
        if session.is_inbound_half_open() {
            self.change_half_open(session.mapping, false);
        }
    }

    pub(super) fn change_half_open(&mut self, mapping: u32, one_more: bool) {
        let record = &mut self.mappings.slab[mapping];
        let subscriber = &mut self.subscribers.slab[self.softwires.slab[record.softwire].subscriber];
        let change = |count: u32| if one_more { count + 1 } else { count - 1 };
        record.inbound_half_open = change(record.inbound_half_open);
        subscriber.inbound_half_open = change(subscriber.inbound_half_open);
    }
}
