//! The cache as its users see it.

#[cfg(test)]
mod bed;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod flights;
#[cfg(test)]
mod invalidation;
#[cfg(test)]
mod lifetimes;
#[cfg(test)]
mod tenants;
