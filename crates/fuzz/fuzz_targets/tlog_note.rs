//! See `eonpro_fuzz::audit::tlog_note`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _accepted = eonpro_fuzz::audit::tlog_note(data);
});
