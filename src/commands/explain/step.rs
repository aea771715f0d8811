//! A step of a path: what it decides, by which rule, and how a packet can end at it.

use super::explanation::{Outcome, StepTaken};
use super::from_b4::{FROM_B4, TO_B4, TO_INTERNET};
use super::from_internet::FROM_INTERNET;
use super::scene::{Hold, Scene};
use crate::engine::DropReason;
use crate::wire::Side;

/// What a step says when the packet passes it; none when it does not concern the packet.
pub(super) type Passed = fn(&Scene<'_>) -> Option<String>;
/// What it says of a packet that ends there.
pub(super) type Ended = fn(&Scene<'_>) -> String;

/// One step.
pub(super) struct Step {
    pub(super) name: &'static str,
    /// The configuration key that it goes by, or the rule in a few words.
    pub(super) rule: &'static str,
    /// Where the rule comes from.
    pub(super) source: &'static str,
    pub(super) passed: Passed,
    /// Every reason that a packet is dropped for here.
    pub(super) drops: &'static [(DropReason, Ended)],
    /// Every reason that a packet waits for here.
    pub(super) holds: &'static [(Hold, Ended)],
}

impl Step {
    /// A step that no packet ends at.
    pub(super) const fn open(
        name: &'static str,
        rule: &'static str,
        source: &'static str,
        passed: Passed,
    ) -> Step {
        Step { name, rule, source, passed, drops: &[], holds: &[] }
    }

    fn ended(&self, scene: &Scene<'_>) -> Option<(Outcome, String)> {
        let dropped = self.drops.iter().find(|(reason, _)| scene.reason() == Some(*reason));
        if let Some((_, say)) = dropped {
            return Some((Outcome::Dropped, say(scene)));
        }
        let held = self.holds.iter().find(|(hold, _)| scene.hold() == Some(*hold))?;
        let outcome = if held.0 == Hold::TunnelError { Outcome::Taken } else { Outcome::Held };
        Some((outcome, (held.1)(scene)))
    }
}

/// The steps that the packet of a scene took, in order, up to the one that it ended at.
pub(super) fn walk(scene: &Scene<'_>) -> Vec<StepTaken> {
    let (path, rest): (&[Step], &[Step]) = match scene.side {
        Side::B4 if scene.turns_around() => (FROM_B4, TO_B4),
        Side::B4 => (FROM_B4, TO_INTERNET),
        Side::Internet => (FROM_INTERNET, &[]),
    };
    let mut taken: Vec<StepTaken> = Vec::new();
    for step in path.iter().chain(rest) {
        let mut ended = step.ended(scene);
        if let Some((_, sentence)) = &mut ended
            && is_of_first_piece(scene, &taken)
        {
            *sentence = "the first fragment of its datagram was dropped here; the others are, too".to_owned();
        }
        let is_end = ended.is_some();
        let passed = || (step.passed)(scene).map(|sentence| (Outcome::Passed, sentence));
        if let Some((outcome, sentence)) = ended.or_else(passed) {
            let Step { name, rule, source, .. } = *step;
            taken.push(StepTaken { name, rule, source, outcome, sentence });
        }
        if is_end {
            break;
        }
    }
    taken
}

/// Whether the packet, a later piece, is dropped for what its datagram's first piece met: only the size of
/// a piece is its own.
fn is_of_first_piece(scene: &Scene<'_>, taken: &[StepTaken]) -> bool {
    let is_behind = taken.iter().any(|step| step.name == super::fragments::STEP.name);
    let is_own = matches!(scene.reason(), Some(DropReason::InMtu | DropReason::X4Mtu));
    is_behind && scene.is_later_piece() && !is_own
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every way through the tables.
    fn ways() -> [Vec<&'static Step>; 3] {
        let way = |path: &'static [Step], rest: &'static [Step]| path.iter().chain(rest).collect();
        [way(FROM_B4, TO_INTERNET), way(FROM_B4, TO_B4), way(FROM_INTERNET, &[])]
    }

    /// How often a way has a reason.
    fn places(way: &[&Step], reason: DropReason) -> usize {
        way.iter().flat_map(|step| step.drops).filter(|(other, _)| *other == reason).count()
    }

    #[test]
    fn every_drop_reason_belongs_to_one_step_of_its_path() {
        for &reason in DropReason::ALL {
            let name = reason.name();
            let [to_internet, to_b4, from_internet] = ways().map(|way| places(&way, reason));
            assert_eq!(to_internet, to_b4, "{name} is on one of the ways from a B4 only");
            assert!(to_internet + from_internet > 0, "{name} belongs to no step");
            assert!(to_internet <= 1, "{name} belongs to {to_internet} steps of the path from a B4");
            assert!(from_internet <= 1, "{name} belongs to {from_internet} steps from the Internet");
            let is_external = name.starts_with("drop.x4.");
            let is_tunnel =
                ["drop.v6.", "drop.icmp6.", "drop.in.", "drop.b4."].iter().any(|part| name.starts_with(part));
            assert!(!is_external || to_internet == 0, "{name} is on the path from a B4");
            assert!(!is_tunnel || from_internet == 0, "{name} is on the path from the Internet");
        }
    }

    #[test]
    fn sizes_and_limits_stand_as_the_engine_asks_for_them() {
        let order = |way: &[&Step]| -> Vec<&str> {
            way.iter().map(|step| step.name).filter(|name| ["size", "limits"].contains(name)).collect()
        };
        let [to_internet, to_b4, _] = ways();
        assert_eq!((order(&to_internet), order(&to_b4)), (vec!["limits", "size"], vec!["size", "limits"]));
    }

    #[test]
    fn every_step_names_its_rule_and_its_source() {
        for way in ways() {
            for (at, step) in way.iter().enumerate() {
                assert!(!step.rule.is_empty() && !step.source.is_empty(), "{}", step.name);
                assert!(way[..at].iter().all(|other| other.name != step.name), "{} twice", step.name);
            }
        }
    }

    #[test]
    fn every_configuration_key_of_a_rule_exists() {
        let reference = include_str!("../../../aftr-config/examples/reference.toml");
        for step in ways().into_iter().flatten() {
            for key in step.rule.split([' ', ',']).filter(|word| word.contains('.') && !word.contains("…"))
            {
                let (section, leaf) = key.rsplit_once('.').unwrap_or_default();
                let leaf = leaf.trim_matches(|c: char| !c.is_ascii_alphanumeric());
                assert!(reference.contains(leaf), "{}: no key {section}.{leaf}", step.name);
            }
        }
    }
}
