//! The store as its users see it, on a real server.

#[cfg(test)]
mod audit;
#[cfg(test)]
mod audit_bed;
#[cfg(test)]
mod audit_conformance;
#[cfg(test)]
mod audit_outbox;
#[cfg(test)]
mod audit_reading;
#[cfg(test)]
mod audit_verify;
#[cfg(test)]
mod bed;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod drops;
#[cfg(test)]
mod held;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod store;
#[cfg(test)]
mod watches;
