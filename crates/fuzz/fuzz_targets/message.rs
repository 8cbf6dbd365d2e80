//! See `eonpro_fuzz::encryption::message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _accepted = eonpro_fuzz::encryption::message(data);
});
