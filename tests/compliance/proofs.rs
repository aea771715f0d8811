//! Which test proves which row: `covers("ROW")` in `tests/rfc/`, and the first lines of golden stories.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Tests and golden cases by row.
#[derive(Default)]
pub(crate) struct Proofs {
    tests: BTreeMap<String, Vec<String>>,
    stories: BTreeMap<String, Vec<String>>,
    /// Tags that prove nothing.
    pub(crate) mistakes: Vec<String>,
}

impl Proofs {
    pub(crate) fn read(rows: &BTreeSet<&str>) -> Proofs {
        let mut proofs = Proofs::default();
        for path in files("tests/rfc") {
            proofs.read_source(&path, &text(&path), rows);
        }
        for folder in files("tests/packets") {
            let name = folder.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
            proofs.read_story(&name, &text(&folder.join("story")), rows);
        }
        proofs
    }

    pub(crate) fn prove(&self, row: &str) -> bool {
        self.tests.contains_key(row) || self.stories.contains_key(row)
    }

    /// Functions of tests, as `module::name`.
    pub(crate) fn of(&self, row: &str) -> &[String] {
        self.tests.get(row).map_or(&[], Vec::as_slice)
    }

    /// Folders of golden cases.
    pub(crate) fn stories_of(&self, row: &str) -> &[String] {
        self.stories.get(row).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn read_source(&mut self, path: &Path, source: &str, rows: &BTreeSet<&str>) {
        let module = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        for function in functions(source) {
            let name = format!("{module}::{}", function.name);
            for tag in tags(&function.body) {
                if !rows.contains(tag) {
                    self.mistakes.push(format!("{name} names {tag}, which is no row"));
                } else if !function.runs {
                    self.mistakes.push(format!("{name} is no test that always runs, and names {tag}"));
                } else {
                    note(&mut self.tests, tag, &name);
                }
            }
        }
    }

    /// A story's first line ends with rows in parentheses, of which some are shortened, and some are RFCs. One
    /// that the engine does not fulfil yet proves nothing.
    pub(crate) fn read_story(&mut self, name: &str, story: &str, rows: &BTreeSet<&str>) {
        if story.lines().any(|line| line.starts_with("unmet")) {
            return;
        }
        let first = story.lines().next().unwrap_or_default();
        let Some((_, tags)) = first.trim_end().trim_end_matches(')').rsplit_once('(') else { return };
        for tag in tags.split(", ") {
            for row in rows.iter().filter(|row| row.split(", ").any(|part| is_front(tag, part))) {
                note(&mut self.stories, row, name);
            }
        }
    }
}

/// Whether `test`, a `file::function` or a file, is there.
pub(crate) fn exists(test: &str) -> bool {
    match test.split_once("::") {
        None => Path::new(test).is_file(),
        Some((file, function)) => fs::read_to_string(file)
            .is_ok_and(|source| functions(&source).iter().any(|found| found.runs && found.name == function)),
    }
}

/// `4787-REQ-9` stands for the row `4787-REQ-9/9a` too.
fn is_front(tag: &str, row: &str) -> bool {
    row.strip_prefix(tag).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

struct Function {
    name: String,
    body: String,
    /// It is a test, and not one that is ignored.
    runs: bool,
}

/// The functions of a file, and the tests in its modules; any other function belongs to the one before it.
fn functions(source: &str) -> Vec<Function> {
    let mut functions: Vec<Function> = Vec::new();
    let (mut is_test, mut is_ignored) = (false, false);
    for line in source.lines() {
        let unindented = line.trim_start();
        let declaration = if is_test { unindented } else { line };
        if unindented.starts_with("#[test]") {
            is_test = true;
        } else if unindented.starts_with("#[ignore") {
            is_ignored = true;
        } else if let Some(rest) = declaration.trim_start_matches("pub(crate) ").strip_prefix("fn ") {
            let name = rest.split(['(', '<']).next().unwrap_or_default().to_owned();
            functions.push(Function { name, body: String::new(), runs: is_test && !is_ignored });
            (is_test, is_ignored) = (false, false);
        } else if let Some(function) = functions.last_mut() {
            function.body.push_str(line);
            function.body.push('\n');
        }
    }
    functions
}

/// What a function covers; a call without a literal names nothing that can be looked up.
fn tags(body: &str) -> impl Iterator<Item = &str> {
    body.split("covers(").skip(1).map(|rest| match rest.strip_prefix('"') {
        Some(literal) => literal.split('"').next().unwrap_or_default(),
        None => "what is no literal",
    })
}

fn note(proofs: &mut BTreeMap<String, Vec<String>>, row: &str, name: &str) {
    let names = proofs.entry(row.to_owned()).or_default();
    if names.iter().all(|noted| noted != name) {
        names.push(name.to_owned());
    }
}

fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
