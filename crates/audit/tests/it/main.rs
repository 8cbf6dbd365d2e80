//! The log as its users see it.

#[cfg(test)]
mod ages;
#[cfg(test)]
mod alerts;
#[cfg(test)]
mod anchors;
#[cfg(test)]
mod apart;
#[cfg(test)]
mod appends;
#[cfg(test)]
mod archiving;
#[cfg(test)]
mod archiving_pruned;
#[cfg(test)]
mod checkpoints;
#[cfg(test)]
mod corpora;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod disclosures;
#[cfg(test)]
mod erasures;
#[cfg(test)]
mod foreign;
#[cfg(test)]
mod heads;
#[cfg(test)]
mod holds;
#[cfg(test)]
mod house;
#[cfg(test)]
mod index_file;
#[cfg(test)]
mod merkle_vectors;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod privacy;
#[cfg(test)]
mod proofs;
#[cfg(test)]
mod pruning;
#[cfg(test)]
mod pruning_crash;
#[cfg(test)]
mod pruning_property;
#[cfg(test)]
mod publishing;
#[cfg(test)]
mod queries;
#[cfg(test)]
mod replicas;
#[cfg(test)]
mod restarts;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod signers;
#[cfg(test)]
mod stores;
#[cfg(test)]
mod subjects;
#[cfg(test)]
mod tamper_campaign;
#[cfg(test)]
mod tampering;
#[cfg(test)]
mod ui;
#[cfg(test)]
mod witnesses;
#[cfg(test)]
mod yielding;
