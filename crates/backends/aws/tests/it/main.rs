//! A root in KMS from outside: on a real moto server, behind a proxy that keeps KMS' own rules.

#[cfg(test)]
mod archive;
#[cfg(test)]
mod bed;
#[cfg(test)]
mod calls;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod epochs;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod root;
#[cfg(test)]
mod s3;
#[cfg(test)]
mod vault;
