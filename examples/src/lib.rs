//! Runnable examples of eonpro: `cargo run --release --example clinic`.
