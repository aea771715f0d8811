//! Time, and the tables of the two entry by entry.

use aftr::engine::DropReason;
use aftr::wire::Side;

use crate::ip::Ip;
use crate::judge::{Difference, Judge, agree};

impl Judge {
    /// Time passes until at least then: further, while some timer may or may not have ended.
    pub(crate) fn wait(&mut self, millis: u32) -> Result<(), Difference> {
        let start = self.bed.now.millis();
        let mut end = start + u64::from(millis);
        self.model.wait_until(end);
        while self.model.is_doubtful() {
            end += 500;
            self.model.wait_until(end);
        }
        let sent = self.bed.advance_millis(end - start);
        self.bed.events.clear();
        let answerable = std::mem::take(&mut self.model.answerable);
        let mut given_up = std::mem::take(&mut self.model.reassembly.given_up);
        let (told6, told): (Vec<_>, Vec<_>) =
            sent.into_iter().partition(|(bytes, side)| *side == Side::B4 && bytes[6] == 58);
        agree!(told.len() <= answerable.len(), "{} errors for {} silent SYNs", told.len(), answerable.len());
        for (bytes, side) in told {
            let front = if self.model.config.softwire.encapsulation_limit { 48 } else { 40 };
            let inner = if side == Side::B4 { &bytes[front..] } else { &bytes[..] };
            let seen = Ip::read(inner, 0).map_err(|why| format!("{why:?}: {inner:02x?}"))?;
            agree!(seen.is_sound() && seen.payload()[..2] == [3, 3], "not a port unreachable: {seen:?}");
            let known = answerable.iter().any(|(attacked, caller)| {
                *attacked.ip() == seen.source() && (side == Side::B4 || *caller.ip() == seen.destination())
            });
            agree!(known, "an error that answers nothing: {seen:?}");
        }
        for (bytes, _) in told6 {
            let is_it = |cause: &Vec<u8>| self.is_error6(&bytes, (3, 1, 0), cause).is_ok();
            let Some(at) = given_up.iter().position(is_it) else {
                return Err(format!("an error about no fragment that was given up: {bytes:02x?}"));
            };
            given_up.remove(at);
        }
        self.compare_gauges()
    }

    fn compare_gauges(&self) -> Result<(), Difference> {
        let (theirs, ours) = (self.bed.aftr.gauges(), &self.model);
        let sessions = ours.mappings.iter().map(|m| m.sessions.len()).sum();
        let theirs =
            [theirs.subscribers, theirs.mappings, theirs.sessions, theirs.reassembling, theirs.fragmented];
        let ours = [
            ours.homes.len(),
            ours.mappings.len(),
            sessions,
            ours.reassembly.len(),
            ours.pieces.contexts.len(),
        ];
        agree!(
            theirs == ours,
            "subscribers, mappings, sessions, packets and datagrams in pieces: {theirs:?}, expected {ours:?}"
        );
        Ok(())
    }

    /// After a silence that is longer than every timer nothing is left.
    pub(crate) fn silence(&mut self) -> Result<(), Difference> {
        for _ in 0..3 {
            self.wait(9_000_000)?;
        }
        let gauges = self.bed.aftr.gauges();
        agree!(gauges == Default::default(), "after a long silence there are {gauges:?}");
        Ok(())
    }

    /// Every table, entry by entry, and every count of what was dropped or kept.
    pub(crate) fn compare_everything(&self) -> Result<(), Difference> {
        let mut theirs: Vec<_> = self
            .bed
            .aftr
            .mappings(self.bed.now)
            .map(|m| (m.external, m.internal, m.b4, m.sessions))
            .collect();
        let ours = self.model.mappings.iter();
        let mut ours: Vec<_> = ours
            .map(|m| (m.external, m.internal, self.model.softwire(m.softwire).b4, m.sessions.len() as u32))
            .collect();
        theirs.sort_unstable();
        ours.sort_unstable();
        agree!(theirs == ours, "mappings are {theirs:?}\nexpected {ours:?}");
        self.compare_subscribers()?;
        self.compare_gauges()?;
        let counters = self.bed.aftr.counters();
        for &reason in DropReason::ALL {
            let (theirs, ours) = (counters.dropped(reason), self.drops[reason as usize]);
            agree!(theirs == ours, "{} is {theirs}, expected {ours}", reason.name());
        }
        let theirs = (counters.fragments_held, counters.fragments_resumed);
        agree!(
            theirs == (self.held, self.resumed),
            "fragments held and resumed {theirs:?}, expected {:?}",
            (self.held, self.resumed)
        );
        Ok(())
    }

    fn compare_subscribers(&self) -> Result<(), Difference> {
        let mut theirs: Vec<_> = self
            .bed
            .aftr
            .subscribers()
            .map(|view| {
                let mut sets = view.port_sets.clone();
                sets.sort_unstable();
                (view.prefix.network().to_bits(), view.external, sets, view.softwires.len())
            })
            .collect();
        theirs.sort();
        let ours: Vec<_> = self
            .model
            .homes
            .iter()
            .map(|(prefix, home)| {
                let mut sets: Vec<_> = home.sets.iter().map(|set| (set.first, set.last)).collect();
                sets.sort_unstable();
                (*prefix, home.address, sets, home.softwires.len())
            })
            .collect();
        agree!(theirs == ours, "subscribers are {theirs:x?}\nexpected {ours:x?}");
        Ok(())
    }
}
