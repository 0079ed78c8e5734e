//! See `lpu_tests::hostile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|entropy: &[u8]| lpu_tests::hostile::step("text", entropy));
