//! The store as its users see it.

#[cfg(test)]
mod crash;
#[cfg(test)]
mod store;
