//! What is wrong with a configuration: where, what, and the cure.

use std::fmt;

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Path of the key, as `nat.external-ip-address-pool[1].drain[0]`; empty when the text is no TOML.
    pub key: String,
    /// Line in the text, from 1; of the table around it when the key is missing.
    pub line: usize,
    /// Column of the key in that line, in characters, from 1.
    pub column: usize,
    /// What is wrong, as the rest of a sentence that begins with the key.
    pub problem: String,
    /// What to write instead; may be empty for a syntax error.
    pub cure: String,
}

impl ConfigError {
    pub(crate) fn syntax(text: &str, error: &toml::de::Error) -> ConfigError {
        let (line, column) = line_and_column(text, error.span().map_or(0, |span| span.start));
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        let problem = format!("{message}: {}", text.lines().nth(line - 1).unwrap_or_default().trim());
        ConfigError { key: String::new(), line, column, problem, cure: String::new() }
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "line {}, column {}: {}", self.line, self.column, self.problem)?,
            key => write!(f, "line {}: {key} {}", self.line, self.problem)?,
        }
        if self.cure.is_empty() { Ok(()) } else { write!(f, "; {}", self.cure) }
    }
}

/// Line and column, from 1, of a byte offset.
pub(crate) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_and_a_column_count_from_one_and_in_characters() {
        assert_eq!(line_and_column("", 0), (1, 1));
        assert_eq!(line_and_column("a\nb = 1", 2), (2, 1));
        assert_eq!(line_and_column("ä = ö", "ä = ".len()), (1, 5));
        assert_eq!(line_and_column("a\n", 2), (2, 1));
    }
}
