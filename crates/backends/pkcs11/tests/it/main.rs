//! Root keys and epoch keys on a real token of SoftHSM2.

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod destruction;
#[cfg(test)]
mod objects;
#[cfg(test)]
mod token;
#[cfg(test)]
mod trouble;
