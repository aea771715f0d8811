//! `[journal]`: the evidence of who held which ports.

use std::path::PathBuf;

use crate::reader::Table;

/// `[journal]`; without the section there is no journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    /// `directory`: an absolute path; needed.
    pub directory: PathBuf,
    /// `retention-days`: how long records are kept, 1 to 730; default 180.
    pub retention_days: u32,
    /// `on-loss`: what happens while records cannot be kept; default `"alarm"`.
    pub on_loss: OnLoss,
}

/// `on-loss`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLoss {
    /// `"alarm"`: subscribers are served; the journal has a gap and says so.
    Alarm,
    /// `"refuse-new-blocks"`: nobody is given ports of which no record can be kept; what lives goes on.
    RefuseNewBlocks,
}

const POLICIES: &[(&str, OnLoss)] =
    &[("alarm", OnLoss::Alarm), ("refuse-new-blocks", OnLoss::RefuseNewBlocks)];

impl Journal {
    /// Nothing where the directory is missing or wrong, which is reported.
    pub(crate) fn read(mut table: Table<'_>) -> Option<Journal> {
        const CURE: &str = "name a directory: directory = \"/var/lib/aftr/journal\"";
        let directory = table.required::<String>("directory", CURE).map(PathBuf::from);
        if directory.as_ref().is_some_and(|directory| !directory.is_absolute()) {
            let key = table.key("directory");
            table.report().wrong_value(&key, "is no absolute path", CURE);
        }
        let retention_days = table.number("retention-days", 1..=730, 180);
        let on_loss = table.choice("on-loss", POLICIES).unwrap_or(OnLoss::Alarm);
        table.finish();
        Some(Journal { directory: directory?, retention_days, on_loss })
    }
}
