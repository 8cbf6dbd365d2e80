//! The suites judge sound backends as sound and broken ones as broken.

mod kv;
