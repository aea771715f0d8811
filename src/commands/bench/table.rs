//! A table, for a terminal or for a page.

use std::fmt::Write as _;

/// Cells of text under a title.
pub(super) struct Table {
    title: String,
    cells: Vec<Vec<String>>,
}

/// How it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Terminal,
    Markdown,
}

impl Table {
    pub(super) fn new(title: String, header: &[&str]) -> Table {
        Table { title, cells: vec![header.iter().map(|&cell| cell.to_owned()).collect()] }
    }

    /// Adds a row, with as many cells as the header.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.cells.push(cells);
    }

    /// The first column is text, the others are figures.
    pub(super) fn render(&self, style: Style) -> String {
        let columns = self.cells.first().map_or(0, Vec::len);
        let width =
            |column: usize| self.cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = match style {
            Style::Terminal => format!("{}\n", self.title),
            Style::Markdown => format!("**{}**\n\n", self.title),
        };
        for (number, row) in self.cells.iter().enumerate() {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(
                    |(column, (cell, &width))| {
                        if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                    },
                )
                .collect();
            let _ = match style {
                Style::Terminal => writeln!(text, "  {}", cells.join("  ")),
                Style::Markdown => writeln!(text, "| {} |", cells.join(" | ")),
            };
            if number == 0 && style == Style::Markdown {
                let rule: Vec<&str> =
                    (0..columns).map(|column| if column == 0 { "---" } else { "---:" }).collect();
                let _ = writeln!(text, "|{}|", rule.join("|"));
            }
        }
        text
    }
}

/// A rate with three digits that matter.
pub(super) fn count(number: f64) -> String {
    let (scaled, unit) = match number {
        number if number >= 1e9 => (number / 1e9, " G"),
        number if number >= 1e6 => (number / 1e6, " M"),
        number if number >= 1e3 => (number / 1e3, " k"),
        number => (number, ""),
    };
    let digits = if scaled >= 100.0 || unit.is_empty() { 0 } else { 2 };
    format!("{scaled:.digits$}{unit}")
}

/// A share in percent.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_styles_have_every_cell() {
        let mut table = Table::new("Title".into(), &["name", "figure"]);
        table.row(vec!["a".into(), count(1_234_567.0)]);
        table.row(vec!["long name".into(), percent(0.5)]);
        assert_eq!(
            table.render(Style::Terminal),
            "Title\n  name       figure\n  a          1.23 M\n  long name  50.0 %\n"
        );
        assert_eq!(
            table.render(Style::Markdown),
            "**Title**\n\n| name      | figure |\n|---|---:|\n| a         | 1.23 M |\n| long name | 50.0 % |\n"
        );
    }

    #[test]
    fn three_digits_are_enough() {
        let texts = [0.0, 999.0, 1_500.0, 123_456.0, 8.4e6, 9.6e9].map(count);
        assert_eq!(texts, ["0", "999", "1.50 k", "123 k", "8.40 M", "9.60 G"]);
    }
}
