//! What the fuzzer calls, one module and one function for each target. `tests/fuzz_corpus.rs` of the
//! root crate includes these files and plays the committed corpus through the same functions, on stable.

pub mod wire;
pub mod pcap;
pub mod config;
pub mod engine;
