//! The configuration language on any text: a configuration whose consequences can be computed, or errors
//! that each have a place in the text.

use aftr::engine::Aftr;
use aftr_config::{Config, ConfigError};

/// A text that may be a configuration.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let read = Config::parse(&text);
    assert_eq!(read, Config::parse(&text));
    match read {
        Ok(config) => accepted(&config, &text),
        Err(errors) => refused(&errors, &text),
    }
}

fn accepted(config: &Config, text: &str) {
    assert!(config.advice().iter().all(|sentence| !sentence.is_empty()));
    let capacity = config.capacity();
    assert!(capacity.subscribers_with_all_sets <= capacity.subscribers, "{capacity}");
    assert!(!capacity.to_string().is_empty());
    assert!(Aftr::memory(config) > 0);
    // A comment says nothing.
    assert_eq!(Config::parse(&format!("# first\n{text}\n# last")).as_ref(), Ok(config));
}

fn refused(errors: &[ConfigError], text: &str) {
    assert!(!errors.is_empty());
    let lines: Vec<&str> = text.split('\n').collect();
    for error in errors {
        let line = error.line.checked_sub(1).and_then(|line| lines.get(line));
        let line = line.unwrap_or_else(|| panic!("{error:?} is in no line"));
        assert!((1..=line.chars().count() + 1).contains(&error.column), "{error:?} is beside its line");
        assert!(!error.problem.is_empty() && !error.to_string().is_empty(), "{error:?} says nothing");
        assert!(error.key.is_empty() || !error.cure.is_empty(), "{error:?} has no cure");
    }
    assert!(errors.is_sorted_by_key(|error| (error.line, error.column)), "not in the order of the text");
}
