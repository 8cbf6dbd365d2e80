//! Encryption from outside: through its public traits, on real key stores and roots.

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod epochs;
#[cfg(test)]
mod governance;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod record;
#[cfg(test)]
mod root;
#[cfg(test)]
mod sealing;
#[cfg(test)]
mod shred;
#[cfg(test)]
mod shred_epochs;
#[cfg(test)]
mod shred_keyring;
#[cfg(test)]
mod subject;
#[cfg(test)]
mod support;
#[cfg(test)]
mod ui;
#[cfg(test)]
mod vectors;
#[cfg(test)]
mod wards;
#[cfg(test)]
mod worked_example;
