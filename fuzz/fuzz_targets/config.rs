#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aftr_fuzz::config::config(data));
