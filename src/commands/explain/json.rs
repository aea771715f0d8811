//! An explanation for machines: one JSON object.

use serde_json::{Value, json};

use super::counter::CounterRow;
use super::explanation::{Explanation, Outcome};
use super::text::event_words;
use crate::commands::describe;
use crate::commands::replay::{event_line, side_name};

/// The explanation as JSON.
pub(super) fn explanation_json(explanation: &Explanation) -> Value {
    let Explanation { number, at, side, packet, steps, told, leaves, events, .. } = explanation;
    let steps: Vec<Value> = steps
        .iter()
        .map(|step| {
            let outcome = match step.outcome {
                Outcome::Passed => "passed",
                Outcome::Dropped => "dropped",
                Outcome::Held => "held",
                Outcome::Taken => "taken",
            };
            json!({
                "step": step.name,
                "outcome": outcome,
                "sentence": step.sentence,
                "rule": step.rule,
                "source": step.source,
            })
        })
        .collect();
    let leaves: Vec<Value> = leaves
        .iter()
        .map(|(side, bytes)| json!({ "to": side_name(*side), "packet": describe(bytes).to_string() }))
        .collect();
    let events: Vec<String> = events.iter().map(|event| event_words(&event_line(event)).to_owned()).collect();
    json!({
        "number": number,
        "time": at.millis() as f64 / 1000.0,
        "from": side_name(*side),
        "packet": describe(packet).to_string(),
        "steps": steps,
        "verdict": explanation.verdict_words(),
        "counter": explanation.counter.map(row_json),
        "else": explanation.otherwise.map(row_json),
        "cut-off": explanation.cut_off,
        "told": told,
        "leaves": leaves,
        "events": events,
    })
}

fn row_json(row: CounterRow) -> Value {
    json!({ "name": row.name, "meaning": row.meaning, "advice": row.advice })
}
