//! Encryption from outside: through its public traits, on real key stores and roots.

mod keys;
mod record;
mod root;
mod sealing;
mod shred;
mod support;
mod ui;
mod vectors;
mod worked_example;
