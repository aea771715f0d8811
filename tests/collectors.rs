//! Collectors that are not ours read one recorded run, and must tell what was sent, record by record. A tool
//! that is missing is skipped with a loud line; the golden captures stay for those who have none.
//!
//! | | |
//! |---|---|
//! | `run.rs` | the run, and how it is sent and received |
//! | `journal.rs` | the same run in the journal, and what both must agree in |
//! | `nfdump.rs`, `pmacct.rs`, `tshark.rs`, `fixbuf.rs` | one collector each |
//! | `tls.rs` | OpenSSL as a collector |
//! | `golden.rs` | the octets on the wire, which change only on purpose |
//! | `faults.rs` | collectors that freeze, restart and are cut off |

#[path = "collectors/run.rs"]
mod run;
#[path = "collectors/journal.rs"]
mod journal;
#[path = "collectors/nfdump.rs"]
mod nfdump;
#[path = "collectors/pmacct.rs"]
mod pmacct;
#[path = "collectors/tshark.rs"]
mod tshark;
#[path = "collectors/fixbuf.rs"]
mod fixbuf;
#[path = "collectors/tls.rs"]
mod tls;
#[path = "collectors/golden.rs"]
mod golden;
#[path = "collectors/faults.rs"]
mod faults;
