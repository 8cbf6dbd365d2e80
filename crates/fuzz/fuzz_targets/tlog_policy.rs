//! See `eonpro_fuzz::audit::tlog_policy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _accepted = eonpro_fuzz::audit::tlog_policy(data);
});
