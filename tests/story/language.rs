//! The lines of a story.

use std::collections::BTreeMap;

use aftr::engine::TtlBy;

/// A story, line by line.
#[derive(Debug)]
pub(crate) struct Story {
    /// `seed N`; default 0.
    pub(crate) seed: u64,
    /// `ttl kernel`; default engine.
    pub(crate) ttl: TtlBy,
    /// `unmet WHY`: the engine does not do this yet; the case fails when it does.
    pub(crate) unmet: Option<String>,
    /// The rest, in order.
    pub(crate) lines: Vec<Line>,
}

#[derive(Debug)]
pub(crate) struct Line {
    /// Place in the file, from 1.
    pub(crate) number: usize,
    pub(crate) kind: LineKind,
}

#[derive(Debug)]
pub(crate) enum LineKind {
    /// `TIME from-b4 …` or `TIME xCOUNT every SECONDS from-internet …`
    Packets { at_millis: u64, count: u32, every_millis: u64, words: Vec<String> },
    /// `TIME time`: timers run until then.
    Time { at_millis: u64 },
    /// `expect …`
    Expect { words: Vec<String> },
}

impl Story {
    /// Reads a story; the error says which line.
    pub(crate) fn parse(text: &str) -> Result<Story, String> {
        let mut story = Story { seed: 0, ttl: TtlBy::Engine, unmet: None, lines: Vec::new() };
        if !text.starts_with("# ") {
            return Err("the first line says why the case exists".to_owned());
        }
        for (index, line) in text.lines().enumerate() {
            let code = line.split_once('#').map_or(line, |(code, _)| code);
            let words: Vec<String> = code.split_whitespace().map(str::to_owned).collect();
            let Some(first) = words.first() else { continue };
            let number = index + 1;
            let kind = match first.as_str() {
                "seed" => {
                    story.seed = word(&words, 1)?.parse().map_err(|_| format!("line {number}: seed"))?;
                    continue;
                }
                "ttl" => {
                    story.ttl = if words[1..] == ["kernel"] { TtlBy::Kernel } else { TtlBy::Engine };
                    continue;
                }
                "unmet" => {
                    story.unmet = Some(words[1..].join(" "));
                    continue;
                }
                "expect" => LineKind::Expect { words: words[1..].to_vec() },
                _ => timed(&words).map_err(|error| format!("line {number}: {error}"))?,
            };
            story.lines.push(Line { number, kind });
        }
        Ok(story)
    }
}

fn timed(words: &[String]) -> Result<LineKind, String> {
    let at_millis = millis(&words[0])?;
    let second = word(words, 1)?;
    if second == "time" {
        return Ok(LineKind::Time { at_millis });
    }
    let Some(count) = second.strip_prefix('x').and_then(|count| count.parse().ok()) else {
        return Ok(LineKind::Packets { at_millis, count: 1, every_millis: 0, words: words[1..].to_vec() });
    };
    if word(words, 2)? != "every" {
        return Err("xCOUNT is followed by `every SECONDS`".to_owned());
    }
    let every_millis = millis(word(words, 3)?)?;
    Ok(LineKind::Packets { at_millis, count, every_millis, words: words[4..].to_vec() })
}

fn millis(word: &str) -> Result<u64, String> {
    let seconds: f64 = word.parse().map_err(|_| format!("{word} is no time"))?;
    Ok((seconds * 1000.0).round() as u64)
}

pub(crate) fn word(words: &[String], at: usize) -> Result<&str, String> {
    words.get(at).map(String::as_str).ok_or_else(|| format!("word {} is missing", at + 1))
}

/// What stands behind the ends of a packet: `key=value`, or a bare `key`.
#[derive(Debug, Default)]
pub(crate) struct Settings(BTreeMap<String, String>);

impl Settings {
    pub(crate) fn parse(words: &[String]) -> Settings {
        let pair = |word: &String| {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            (key.to_owned(), value.to_owned())
        };
        Settings(words.iter().map(pair).collect())
    }

    pub(crate) fn take(&mut self, key: &str) -> Option<String> {
        self.0.remove(key)
    }

    pub(crate) fn default(&mut self, key: &str, value: &str) {
        self.0.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }

    pub(crate) fn has(&mut self, key: &str) -> bool {
        self.take(key).is_some()
    }

    /// A number, decimal or with `0x`.
    pub(crate) fn number(&mut self, key: &str) -> Result<Option<u64>, String> {
        let Some(text) = self.take(key) else { return Ok(None) };
        let number = match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16),
            None => text.parse(),
        };
        number.map(Some).map_err(|_| format!("{key}={text} is no number"))
    }

    /// `START..END`
    pub(crate) fn range(&mut self, key: &str) -> Result<Option<(usize, usize)>, String> {
        let Some(text) = self.take(key) else { return Ok(None) };
        let ends =
            text.split_once("..").and_then(|(start, end)| Some((start.parse().ok()?, end.parse().ok()?)));
        ends.map(Some).ok_or_else(|| format!("{key}={text}: START..END"))
    }

    pub(crate) fn bytes(&mut self, key: &str) -> Result<Option<Vec<u8>>, String> {
        self.take(key).map(|text| hex(&text)).transpose()
    }

    /// Nothing may be left over: a misspelt key would silently test nothing.
    pub(crate) fn finish(self) -> Result<(), String> {
        match self.0.first_key_value() {
            None => Ok(()),
            Some((key, _)) => Err(format!("unknown setting {key}")),
        }
    }
}

pub(crate) fn hex(text: &str) -> Result<Vec<u8>, String> {
    let wrong = || format!("{text} is not hexadecimal");
    if !text.len().is_multiple_of(2) {
        return Err(wrong());
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong()))
        .collect()
}

/// The test bed: the names that stand for an address.
pub(crate) fn named(word: &str) -> &str {
    match word {
        "T" => "2001:db8:ff::1",
        "T2" => "2001:db8:ff::2",
        "A" => "2001:db8:0:a00::1",
        "A2" => "2001:db8:0:a00::2",
        "B" => "2001:db8:0:b00::1",
        "C" => "2001:db8:0:c00::1",
        "X" => "2001:db8:dead::1",
        "R1" => "203.0.113.1",
        "R2" => "203.0.113.2",
        "R3" => "203.0.113.3",
        other => other,
    }
}

/// The same in front of a port.
pub(crate) fn named_end(word: &str) -> String {
    match word.split_once(':') {
        Some((name, port)) if !port.contains(':') => format!("{}:{port}", named(name)),
        _ => named(word).to_owned(),
    }
}
