//! The client against servers that answer as they like, in clear and over TLS.

#[cfg(test)]
mod answers;
#[cfg(test)]
mod bed;
#[cfg(test)]
mod tls;
