//! Tells a story to an engine: packets go in as they are made, since later ones name what left earlier.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use aftr::commands::describe;
use aftr::commands::replay::{Cause, Entry, Replay, event_line};
use aftr::engine::{Config, Event, Instant, Seed, Verdict};
use aftr::wire::Side;

use super::build;
use super::fields::{Fields, fields, inner_of, matches};
use super::language::{LineKind, Story, named, named_end, word};
use super::oracle;

/// A story that was told.
#[derive(Default)]
pub(crate) struct Told {
    /// The packets, with their times in milliseconds.
    pub(crate) packets: Vec<(u64, Vec<u8>)>,
    /// How long it goes on.
    pub(crate) until: u64,
    /// What did not become as the story says.
    pub(crate) problems: Vec<String>,
}

/// Tells `story` to an engine with `config`.
pub(crate) fn tell(story: &Story, config: &Config) -> Told {
    let mut teller = Teller {
        replay: Replay::new(config, story.ttl, &Seed::from_number(story.seed)),
        told: Told::default(),
        judged: BTreeMap::new(),
        latest: 0..0,
        unjudged: BTreeSet::new(),
        made: VecDeque::new(),
        events: Vec::new(),
    };
    for line in &story.lines {
        if let Err(problem) = teller.line(&line.kind, story) {
            teller.told.problems.push(format!("line {}: {problem}", line.number));
        }
    }
    teller.nothing_left_over();
    teller.told
}

struct Teller {
    replay: Replay,
    told: Told,
    judged: BTreeMap<u64, Entry>,
    /// Numbers of the packets of the line before.
    latest: Range<u64>,
    /// Those of them that no `expect` has spoken of.
    unjudged: BTreeSet<u64>,
    /// What time made leave and no `expect` has spoken of.
    made: VecDeque<Entry>,
    events: Vec<Event>,
}

impl Teller {
    fn line(&mut self, kind: &LineKind, story: &Story) -> Result<(), String> {
        match kind {
            LineKind::Packets { at_millis, count, every_millis, words } => {
                self.nothing_left_over();
                let first = self.told.packets.len() as u64 + 1;
                for index in 0..*count {
                    let at = at_millis + u64::from(index) * every_millis;
                    self.packet(at, &self.filled_in(words, index)?, story)?;
                }
                self.latest = first..self.told.packets.len() as u64 + 1;
                self.unjudged = self.latest.clone().collect();
                Ok(())
            }
            LineKind::Time { at_millis } => {
                self.nothing_left_over();
                let entries = self.replay.run_until(Instant::from_millis(*at_millis));
                self.told.until = *at_millis;
                self.keep(entries, story);
                Ok(())
            }
            LineKind::Expect { words } => {
                let words = self.filled_in(words, 0)?;
                self.expect(&words)
            }
        }
    }

    fn packet(&mut self, at: u64, words: &[String], story: &Story) -> Result<(), String> {
        let outputs = |number: u64| {
            let (_, bytes) = self.judged.get(&number)?.output.as_ref()?;
            Some(bytes.clone())
        };
        let bytes = build::packet(words, &outputs)?;
        if self.told.packets.is_empty() && at != 0 {
            return Err("the first packet comes at 0".to_owned());
        }
        let entries = self.replay.packet(Instant::from_millis(at), &bytes);
        self.told.packets.push((at, bytes));
        self.told.until = at;
        self.keep(entries, story);
        Ok(())
    }

    fn keep(&mut self, entries: Vec<Entry>, story: &Story) {
        for entry in entries {
            for problem in oracle::problems(&entry, story.ttl) {
                let problem = format!("{}: {problem}", output_line(&entry));
                self.told.problems.push(problem);
            }
            match entry.cause {
                Cause::Packet { number, .. } => {
                    self.judged.insert(number, entry);
                }
                Cause::Time => self.made.push_back(entry),
                // `expect counter` asks for these.
                Cause::Expiry { .. } => {}
            }
        }
        self.events.extend(self.replay.take_events());
    }

    /// A golden case must say what becomes of each of its packets.
    fn nothing_left_over(&mut self) {
        for number in std::mem::take(&mut self.unjudged) {
            self.told.problems.push(format!("packet {number}: no expect line says what becomes of it"));
        }
        for entry in std::mem::take(&mut self.made) {
            self.told.problems.push(format!("nobody expects what time sends: {}", output_line(&entry)));
        }
    }

    /// Replaces `{N}`, `{N.address}`, `{N.port}` by the external end that packet N left with, and `P+i` by
    /// P and the place in a repetition.
    fn filled_in(&self, words: &[String], index: u32) -> Result<Vec<String>, String> {
        words.iter().map(|word| self.filled(word, index)).collect()
    }

    fn filled(&self, word: &str, index: u32) -> Result<String, String> {
        let mut text = word.to_owned();
        while let Some((before, rest)) = text.split_once('{') {
            let (reference, after) =
                rest.split_once('}').ok_or_else(|| format!("{word}: no closing brace"))?;
            text = format!("{before}{}{after}", self.reference(reference)?);
        }
        if let Some((before, after)) = text.split_once("+i") {
            let digits = before.len() - before.trim_end_matches(|c: char| c.is_ascii_digit()).len();
            let (front, number) = before.split_at(before.len() - digits);
            let number: u64 = number.parse().map_err(|_| format!("{word}: no number before +i"))?;
            text = format!("{front}{}{after}", number + u64::from(index));
        }
        Ok(text)
    }

    fn reference(&self, reference: &str) -> Result<String, String> {
        let (number, part) = reference.split_once('.').unwrap_or((reference, ""));
        let number: u64 = number.parse().map_err(|_| format!("{{{reference}}}: packet number"))?;
        let left = self.judged.get(&number).and_then(|entry| entry.output.as_ref());
        let (_, bytes) = left.ok_or_else(|| format!("packet {number} made nothing leave"))?;
        let fields = fields(bytes);
        let port =
            ["from-port", "query"].iter().find_map(|name| fields.get(name)).cloned().unwrap_or_default();
        match part {
            "" => Ok(format!("{}:{port}", fields["from-address"])),
            "address" => Ok(fields["from-address"].clone()),
            "port" => Ok(port),
            "label" => Ok(fields.get("outer-label").cloned().unwrap_or_default()),
            "id" => Ok(fields.get("id").cloned().unwrap_or_default()),
            other => Err(format!("{{{number}.{other}}}: address, port, label or id")),
        }
    }

    fn expect(&mut self, words: &[String]) -> Result<(), String> {
        match word(words, 0)? {
            "sends" => self.expect_sent(&words[1..]),
            "counter" => {
                let name = word(words, 1)?;
                let counter = self.replay.counters().named().find(|(known, _)| *known == name);
                let (_, value) = counter.ok_or_else(|| format!("no counter {name}"))?;
                expect_number(name, value, word(words, 2)?)
            }
            "mappings" => {
                let live = self.replay.aftr().mappings(self.replay.now()).count();
                expect_number("mappings", live as u64, word(words, 1)?)
            }
            "subscribers" => {
                let live = self.replay.aftr().subscribers().count();
                expect_number("subscribers", live as u64, word(words, 1)?)
            }
            "events" => {
                let name = word(words, 1)?;
                let is_it = |event: &&Event| event_line(event).split_whitespace().nth(1) == Some(name);
                let count = self.events.iter().filter(is_it).count();
                expect_number(name, count as u64, word(words, 2)?)
            }
            "no-event-names" => {
                let remote = named(word(words, 1)?);
                let naming = self.events.iter().map(event_line).find(|line| line.contains(remote));
                naming.map_or(Ok(()), |line| Err(format!("an event names {remote}: {line}")))
            }
            "distinct-ports" => self.expect_distinct("from-port", word(words, 1)?),
            "distinct-addresses" => self.expect_distinct("from-address", word(words, 1)?),
            "parity-of-ports-kept" => self.expect_parity(),
            _ => self.expect_verdicts(words),
        }
    }

    /// How many values a field has over the packets of the line before.
    fn expect_distinct(&self, name: &str, wanted: &str) -> Result<(), String> {
        let values: BTreeSet<String> =
            self.latest_outputs().filter_map(|(_, left)| left.get(name).cloned()).collect();
        expect_number(name, values.len() as u64, wanted)
    }

    fn expect_parity(&self) -> Result<(), String> {
        let last = |port: &String| port.bytes().last().unwrap_or_default() % 2;
        for (entry, left) in self.latest_outputs() {
            let Cause::Packet { number, bytes, .. } = &entry.cause else { continue };
            let came = inner_of(bytes).map(fields).unwrap_or_default();
            if left.get("from-port").map(last) != came.get("from-port").map(last) {
                return Err(format!("packet {number}: parity changed: {}", output_line(entry)));
            }
        }
        Ok(())
    }

    fn latest_outputs(&self) -> impl Iterator<Item = (&Entry, Fields)> {
        self.judged
            .range(self.latest.clone())
            .filter_map(|(_, entry)| Some((entry, fields(&entry.output.as_ref()?.1))))
    }

    fn expect_sent(&mut self, words: &[String]) -> Result<(), String> {
        let first = self.made.pop_front();
        match (word(words, 0)?, first) {
            ("nothing", None) => Ok(()),
            ("nothing", Some(entry)) => Err(format!("time sends {}", output_line(&entry))),
            (_, None) => Err("time sends nothing".to_owned()),
            (side, Some(entry)) => {
                let to = match entry.output {
                    Some((Side::B4, _)) => "to-b4",
                    Some((Side::Internet, _)) => "to-internet",
                    None => "nowhere",
                };
                if side != to {
                    return Err(format!("time sends {}, {to}", output_line(&entry)));
                }
                expect_output(&entry, &words[1..])
            }
        }
    }

    /// `[N|N..M|N..] VERDICT [REASON] [NAME=PATTERN]…`, of the packets of the line before.
    fn expect_verdicts(&mut self, words: &[String]) -> Result<(), String> {
        let (numbers, words) = self.selected(words)?;
        for number in numbers {
            self.unjudged.remove(&number);
            let entry = self.judged.get(&number).ok_or_else(|| format!("no packet {number}"))?;
            expect_verdict(entry, words).map_err(|problem| format!("packet {number}: {problem}"))?;
        }
        Ok(())
    }

    fn selected<'a>(&self, words: &'a [String]) -> Result<(Range<u64>, &'a [String]), String> {
        let first = word(words, 0)?;
        if !first.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok((self.latest.clone(), words));
        }
        let wrong = || format!("{first}: N, N..M or N..");
        let base = self.latest.start - 1;
        let place = |text: &str| text.parse::<u64>().map(|place| base + place).map_err(|_| wrong());
        let (low, high) = first.split_once("..").unwrap_or((first, first));
        let end = if high.is_empty() { self.latest.end } else { place(high)? + 1 };
        Ok((place(low)?..end, &words[1..]))
    }
}

fn expect_verdict(entry: &Entry, words: &[String]) -> Result<(), String> {
    let Cause::Packet { verdict, .. } = entry.cause else { return Err("no packet".to_owned()) };
    let wanted = word(words, 0)?;
    let got = match verdict {
        Verdict::ToInternet => "to-internet",
        Verdict::ToB4 => "to-b4",
        Verdict::Reply => "reply",
        Verdict::ToWorker(_) => "to-worker",
        Verdict::Hold => "hold",
        Verdict::Drop(_) => "drop",
        Verdict::Reject(_) => "reject",
    };
    let reason = verdict.drop_reason().map_or("", |reason| reason.name());
    let what = || format!("{got} {reason} {}", output_line(entry));
    if wanted != got {
        return Err(format!("expected {}, got {}", words.join(" "), what()));
    }
    let rest = match verdict {
        Verdict::Drop(_) | Verdict::Reject(_) => {
            if !matches(word(words, 1)?, reason) {
                return Err(format!("expected {}, got {}", words.join(" "), what()));
            }
            &words[2..]
        }
        Verdict::ToInternet | Verdict::ToB4 | Verdict::Reply | Verdict::ToWorker(_) | Verdict::Hold => {
            &words[1..]
        }
    };
    expect_output(entry, rest)
}

/// `NAME=PATTERN`, each of which the output must match.
fn expect_output(entry: &Entry, words: &[String]) -> Result<(), String> {
    let known: Fields = entry.output.as_ref().map(|(_, bytes)| fields(bytes)).unwrap_or_default();
    for pair in words {
        let (name, pattern) = pair.split_once('=').ok_or_else(|| format!("{pair}: NAME=PATTERN"))?;
        let is_end = ["b4", "outer-from", "from", "to", "quoted-from", "quoted-to"].contains(&name);
        let pattern = match pattern.strip_prefix('!') {
            Some(rest) if is_end => format!("!{}", named_end(rest)),
            None if is_end => named_end(pattern),
            Some(_) | None => pattern.to_owned(),
        };
        let text = known.get(name).map_or("absent", String::as_str);
        if !matches(&pattern, text) {
            return Err(format!("expected {pair}, got {text}: {}", output_line(entry)));
        }
    }
    Ok(())
}

fn expect_number(name: &str, got: u64, wanted: &str) -> Result<(), String> {
    if matches(wanted, &got.to_string()) {
        Ok(())
    } else {
        Err(format!("expected {name} {wanted}, got {got}"))
    }
}

fn output_line(entry: &Entry) -> String {
    entry.output.as_ref().map_or_else(|| "nothing".to_owned(), |(_, bytes)| describe(bytes).to_string())
}
