//! The suites judge sound backends as sound and broken ones as broken.

#[cfg(test)]
mod audit;
#[cfg(test)]
mod encryption;
#[cfg(test)]
mod kv;
#[cfg(test)]
mod rotation;
