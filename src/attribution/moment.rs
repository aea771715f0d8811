//! Times as people write them: RFC 3339, always told in UTC.

use chrono::{DateTime, SecondsFormat};

use super::record::Millis;

/// The time as `2026-11-21T12:00:00.000Z`.
#[must_use]
pub fn time_text(millis: Millis) -> String {
    let time = i64::try_from(millis).ok().and_then(DateTime::from_timestamp_millis);
    time.map_or_else(
        || "the end of time".to_owned(),
        |time| time.to_rfc3339_opts(SecondsFormat::Millis, true),
    )
}

/// The hour as `2026-11-21T12Z`, for names of files.
pub(crate) fn hour_text(millis: Millis) -> String {
    time_text(millis).chars().take(13).chain(['Z']).collect()
}

/// Reads RFC 3339; a fraction is allowed, an offset is wanted (`Z` or `+01:00`).
///
/// # Errors
/// What is wrong with it.
pub fn parse_time(text: &str) -> Result<Millis, String> {
    let wrong = |why: &str| format!("{why}: write UTC as 2026-11-21T12:00:00Z, or with an offset");
    let time = DateTime::parse_from_rfc3339(text).map_err(|error| wrong(&error.to_string()))?;
    Millis::try_from(time.timestamp_millis()).map_err(|_| wrong("it is before 1970"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(parse_time("1970-01-01T01:00:01.5+01:00"), Ok(1500));
        assert_eq!(time_text(1500), "1970-01-01T00:00:01.500Z");
        assert_eq!(hour_text(1_795_262_400_000), "2026-11-21T12Z");
        for wrong in ["2026-11-21", "2026-11-21T12:00:00", "1969-01-01T00:00:00Z", "now"] {
            assert!(parse_time(wrong).unwrap_err().contains("2026-11-21T12:00:00Z"), "{wrong}");
        }
    }
}
