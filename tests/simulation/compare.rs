//! Time, and the tables of the two entry by entry.

use aftr::engine::DropReason;
use aftr::wire::Side;

use crate::build;
use crate::errors::{Quoted, front_of, quoted};
use crate::ip::Ip;
use crate::judge::{Difference, Judge, agree};
use crate::limits::Purse;
use crate::model::{Model, Syn, Time};
use crate::story::Kind;

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
        let kept_back = self.bed.aftr.counters().icmp_suppressed;
        let sent = self.bed.advance_millis(end - start);
        let kept_back = self.bed.aftr.counters().icmp_suppressed - kept_back;
        self.bed.events.clear();
        self.late_errors(&sent, kept_back, (start, end))?;
        self.compare_gauges()
    }

    /// What time has sent: answers to SYNs after their silence, and errors about packets that did not become
    /// whole. Each is sent once, or kept back.
    fn late_errors(
        &mut self,
        sent: &[(Vec<u8>, Side)],
        kept_back: u64,
        span: (Time, Time),
    ) -> Result<(), Difference> {
        let mut syns = std::mem::take(&mut self.model.answerable);
        let mut given_up = std::mem::take(&mut self.model.reassembly.given_up);
        let of_syn = |model: &Model, syn: &Syn| match syn.b4 {
            Some(b4) => Purse::of_home(model.home_of(b4)),
            None => [vec![Purse::Syns], Purse::of_recipient(*syn.caller.ip())].concat(),
        };
        let of_piece =
            |model: &Model, cause: &Vec<u8>| Purse::of_home6(model.home_of(build::address6(cause, 8)));
        let may: Vec<_> = syns
            .iter()
            .map(|syn| of_syn(&self.model, syn))
            .chain(given_up.iter().map(|cause| of_piece(&self.model, cause)))
            .collect();
        let mut left = Vec::new();
        for (bytes, side) in sent {
            if *side == Side::B4 && bytes[6] == 58 {
                let is_it = |cause: &Vec<u8>| self.is_error6(bytes, (3, 1, 0), cause).is_ok();
                let at = given_up.iter().position(is_it);
                let at = at.ok_or_else(|| format!("about no fragment that was given up: {bytes:02x?}"))?;
                left.push(of_piece(&self.model, &given_up.remove(at)));
                continue;
            }
            let at = syns.iter().position(|syn| self.answers(bytes, *side, syn));
            let at = at.ok_or_else(|| format!("an error that answers nothing: {bytes:02x?}"))?;
            left.push(of_syn(&self.model, &syns.remove(at)));
        }
        agree!(
            (syns.len() + given_up.len()) as u64 == kept_back,
            "{kept_back} errors were kept back; not answered are {syns:?} and {} fragments",
            given_up.len()
        );
        self.model.limits.some(&left, &may, kept_back, span)
    }

    /// Whether this is the error about an unsolicited SYN.
    fn answers(&self, bytes: &[u8], side: Side, syn: &Syn) -> bool {
        let inner = match (side, syn.b4) {
            (Side::Internet, None) => Some(bytes),
            (Side::B4, Some(b4)) if build::address6(bytes, 24) == b4 => front_of(bytes),
            (Side::Internet | Side::B4, _) => None,
        };
        let Some(Ok(seen)) = inner.map(|inner| Ip::read(inner, 0)) else { return false };
        let is_about = |quoted: Quoted| {
            (quoted.kind, quoted.source, quoted.destination) == (Kind::Tcp, syn.caller, syn.attacked)
        };
        seen.is_sound()
            && seen.payload()[..2] == [3, 3]
            && (seen.source(), seen.destination()) == (*syn.attacked.ip(), *syn.caller.ip())
            && quoted(&seen.payload()[8..]).is_some_and(is_about)
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
            ours.from_b4.contexts.len() + ours.from_internet.contexts.len(),
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
