//! Encryption from outside: through its public traits, on real key stores and roots.

#[cfg(test)]
mod crash;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod record;
#[cfg(test)]
mod reindex;
#[cfg(test)]
mod root;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod rows;
#[cfg(test)]
mod sealing;
#[cfg(test)]
mod shred;
#[cfg(test)]
mod states;
#[cfg(test)]
mod support;
#[cfg(test)]
mod ui;
#[cfg(test)]
mod vectors;
#[cfg(test)]
mod wear;
#[cfg(test)]
mod worked_example;
