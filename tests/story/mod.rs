//! A story is a golden case as a person wrote it: packets that come, and what must become of them by
//! the RFCs. `docs/packets.md` has the language.

mod language;
mod build;
mod fields;
mod oracle;
mod tell;

pub(crate) use language::Story;
pub(crate) use tell::tell;
