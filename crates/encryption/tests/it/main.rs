//! Encryption from outside: through its public traits, on real key stores and roots.

#[cfg(test)]
mod client;
#[cfg(test)]
mod clinic;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod corpora;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod crash_shred;
#[cfg(test)]
mod custodies;
#[cfg(test)]
mod epochs;
#[cfg(test)]
mod governance;
#[cfg(test)]
mod judges;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod lease;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod notices;
#[cfg(test)]
mod record;
#[cfg(test)]
mod reindex;
#[cfg(test)]
mod root;
#[cfg(test)]
mod roots;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod rotation_suites;
#[cfg(test)]
mod rows;
#[cfg(test)]
mod sealing;
#[cfg(test)]
mod search;
#[cfg(test)]
mod shred;
#[cfg(test)]
mod shred_epochs;
#[cfg(test)]
mod shred_keyring;
#[cfg(test)]
mod standby;
#[cfg(test)]
mod states;
#[cfg(test)]
mod subject;
#[cfg(test)]
mod suites;
#[cfg(test)]
mod support;
#[cfg(test)]
mod switched;
#[cfg(test)]
mod tink;
#[cfg(test)]
mod ui;
#[cfg(test)]
mod under_way;
#[cfg(test)]
mod vectors;
#[cfg(test)]
mod wards;
#[cfg(test)]
mod wear;
#[cfg(test)]
mod worked_example;
