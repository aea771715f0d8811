//! What the lab says: a line for each scene while it works, a summary, or one JSON document.

use std::io::{IsTerminal as _, Write as _};

use serde_json::{Value, json};

use crate::engine::MappingView;

/// What a scene found.
pub(super) struct Outcome {
    text: String,
    facts: Value,
    table: Vec<[String; 5]>,
}

impl Outcome {
    /// A finding in words and in figures.
    #[must_use]
    pub(super) fn new(text: String, facts: Value) -> Outcome {
        Outcome { text, facts, table: Vec::new() }
    }

    /// With a table of mappings below it.
    #[must_use]
    pub(super) fn with_table(self, table: Vec<[String; 5]>) -> Outcome {
        Outcome { table, ..self }
    }
}

/// The scenes so far.
pub(super) struct Report {
    for_machines: bool,
    /// Somebody watches: what is being tried is shown, and then written over.
    is_watched: bool,
    scenes: Vec<Value>,
    failed: usize,
}

impl Report {
    /// An empty one. For machines nothing is printed until the end.
    #[must_use]
    pub(super) fn new(for_machines: bool) -> Report {
        let is_watched = !for_machines && std::io::stdout().is_terminal();
        Report { for_machines, is_watched, scenes: Vec::new(), failed: 0 }
    }

    /// A line for people.
    pub(super) fn say(&self, text: &str) {
        if !self.for_machines {
            println!("{text}");
        }
    }

    /// Plays one scene and tells of it.
    pub(super) fn scene(
        &mut self,
        name: &str,
        promise: &str,
        play: impl FnOnce() -> anyhow::Result<Outcome>,
    ) {
        if self.is_watched {
            print!("  … {promise}\r");
            let _ = std::io::stdout().flush();
        }
        let outcome = play();
        self.failed += usize::from(outcome.is_err());
        let (mark, text) = match &outcome {
            Ok(found) => ("✓", found.text.clone()),
            Err(error) => ("✗", format!("{error:#}")),
        };
        if !self.for_machines {
            println!("  {mark} {promise}\n      {text}");
            if let Ok(found) = &outcome {
                print_table(&found.table);
            }
        }
        let facts = outcome.as_ref().map_or(Value::Null, |found| found.facts.clone());
        self.scenes.push(json!({ "scene": name, "holds": outcome.is_ok(), "says": text, "facts": facts }));
    }

    /// The last line, or the document. Says whether everything held.
    #[must_use]
    pub(super) fn finish(&self, seconds: f64) -> bool {
        let (count, failed) = (self.scenes.len(), self.failed);
        if self.for_machines {
            let holds = failed == 0;
            println!("{:#}", json!({ "holds": holds, "seconds": seconds, "scenes": self.scenes }));
        } else if failed == 0 {
            println!("\nAll {count} scenes hold ({seconds:.1} s).");
        } else {
            println!("\n{failed} of {count} scenes do not hold ({seconds:.1} s).");
        }
        failed == 0
    }
}

/// B4, protocol, internal, external and age of each mapping, as text.
#[must_use]
pub(super) fn mapping_rows(mappings: &[MappingView]) -> Vec<[String; 5]> {
    let row = |mapping: &MappingView| {
        [
            mapping.b4.to_string(),
            format!("{:?}", mapping.protocol).to_uppercase(),
            mapping.internal.to_string(),
            mapping.external.to_string(),
            format!("{} s", mapping.age.as_secs()),
        ]
    };
    mappings.iter().map(row).collect()
}

/// Prints mappings below each other.
pub(super) fn print_table(rows: &[[String; 5]]) {
    if rows.is_empty() {
        return;
    }
    println!("      {:<20} {:<5} {:<21} {:<21} age", "B4", "", "internal", "external");
    for [b4, protocol, internal, external, age] in rows {
        println!("      {b4:<20} {protocol:<5} {internal:<21} {external:<21} {age}");
    }
}
