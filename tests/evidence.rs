//! The whole daemon keeps its promise of evidence: killed at any moment, on a disk that is full or read-only, and
//! with a collector that reads nothing. Each test has `aftr run` in network namespaces of its own, a sender of
//! softwires before it and a host on the Internet behind it.
//!
//! | | |
//! |---|---|
//! | `bed.rs` | the namespaces, the daemon and its log |
//! | `traffic.rs` | who sends, and what arrives |
//! | `killed.rs` | `kill -9` in a loop; `AFTR_KILLS` is how often |
//! | `full_disk.rs` | a disk that is full, then read-only, then has room again |
//! | `frozen.rs` | a collector that is stopped and goes on; `AFTR_LONG=1` for ten minutes |

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "evidence/bed.rs"]
mod bed;
#[path = "evidence/traffic.rs"]
mod traffic;
#[path = "evidence/killed.rs"]
mod killed;
#[path = "evidence/full_disk.rs"]
mod full_disk;
#[path = "evidence/frozen.rs"]
mod frozen;
