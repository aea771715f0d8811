//! Notices that the wall clock was set: it no longer runs beside the monotonic one (TIM-2).

use super::record::{ClockChange, Millis, Record};

/// A step of more than this is told.
const STEP: Millis = 100;

/// Compares two clocks, at every alive mark or so.
#[derive(Debug, Default)]
pub struct ClockWatch {
    last: Option<(Millis, Millis)>,
}

impl ClockWatch {
    /// Takes the time of both clocks; gives the record of a step.
    pub fn observe(&mut self, monotonic: Millis, wall: Millis) -> Option<Record> {
        let (last_monotonic, last_wall) = self.last.replace((monotonic, wall))?;
        let before = last_wall + (monotonic - last_monotonic);
        let is_step = before.abs_diff(wall) > STEP;
        is_step.then_some(Record::Clock { at: wall, before, change: ClockChange::Step })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_and_a_drift_is_not() {
        let mut watch = ClockWatch::default();
        assert_eq!(watch.observe(0, 50_000), None);
        assert_eq!(watch.observe(1000, 51_100), None);
        let step = Record::Clock { at: 3_651_100, before: 52_100, change: ClockChange::Step };
        assert_eq!(watch.observe(2000, 3_651_100), Some(step));
        assert_eq!(watch.observe(3000, 3_652_100), None);
    }
}
