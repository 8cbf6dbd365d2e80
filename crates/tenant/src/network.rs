//! From where a tenant may be used: an allow-list of CIDR prefixes (RFC 4632).
//!
//! "Anywhere" is something a tenant declares, never what an empty list happens to mean.
//! IPv4-mapped IPv6 (`::ffff:0:0/96`) is judged as the IPv4 address that it is, in rules and in
//! clients. An address behind NAT64 (`64:ff9b::/96`, `64:ff9b:1::/48`) is refused by every list:
//! who vouches for the translator cannot be told from the address.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use eonpro_core::{Classify, ErrorKind};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::config::MAX_PREFIXES;

/// Why a list was refused.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Not an address or a CIDR prefix; zone ids are refused too.
    #[error("not a network prefix")]
    Malformed,
    /// The prefix has bits set beyond its length: one of the two is a mistake.
    #[error("network prefix has host bits set")]
    HostBits,
    /// The prefix lies in a NAT64 range (RFC 6052, RFC 8215).
    #[error("network prefix is a NAT64 range")]
    Nat64,
    /// The list is empty: declare [`NetworkRule::Anywhere`] if that is meant.
    #[error("network list is empty")]
    Empty,
    /// More than [`MAX_PREFIXES`].
    #[error("network list has more than 1024 prefixes")]
    TooMany,
}

impl Classify for NetworkError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }
}

/// From where a tenant may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkRule {
    /// From anywhere, also when the client's address is not known.
    Anywhere,
    /// From these networks only; a client without an address is refused.
    Only(NetworkList),
}

impl NetworkRule {
    /// Whether a client at that address may come in.
    #[must_use]
    pub fn admits(&self, client: Option<IpAddr>) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Only(list) => client.is_some_and(|client| list.contains(client)),
        }
    }
}

/// 1 to 1024 prefixes in canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkList {
    prefixes: Arc<[IpNet]>,
    // What `prefixes` covers, as disjoint ranges in order, for lookup by bisection.
    four: Arc<[Ipv4Net]>,
    six: Arc<[Ipv6Net]>,
}

impl NetworkList {
    /// Parses prefixes such as `192.0.2.0/24`, `2001:db8::/32`, or single addresses.
    ///
    /// # Errors
    /// [`NetworkError`], for the first prefix that breaks a rule.
    pub fn parse<'a>(prefixes: impl IntoIterator<Item = &'a str>) -> Result<Self, NetworkError> {
        let mut parsed = Vec::new();
        for text in prefixes {
            if parsed.len() == MAX_PREFIXES {
                return Err(NetworkError::TooMany);
            }
            parsed.push(canonical_prefix(text)?);
        }
        if parsed.is_empty() {
            return Err(NetworkError::Empty);
        }
        parsed.sort_unstable();
        parsed.dedup();
        let (mut four, mut six) = (Vec::new(), Vec::new());
        for prefix in &parsed {
            match prefix {
                IpNet::V4(prefix) => four.push(*prefix),
                IpNet::V6(prefix) => six.push(*prefix),
            }
        }
        let mut four = Ipv4Net::aggregate(&four);
        let mut six = Ipv6Net::aggregate(&six);
        four.sort_unstable();
        six.sort_unstable();
        Ok(Self {
            prefixes: parsed.into(),
            four: four.into(),
            six: six.into(),
        })
    }

    /// Whether some prefix contains `address`. Takes the logarithm of the list's length.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let after = self.four.partition_point(|net| net.network() <= address);
                nearest(&self.four, after).is_some_and(|net| net.contains(&address))
            }
            IpAddr::V6(address) if is_nat64(address) => false,
            IpAddr::V6(address) => {
                let after = self.six.partition_point(|net| net.network() <= address);
                nearest(&self.six, after).is_some_and(|net| net.contains(&address))
            }
        }
    }

    /// The prefixes as (network address, length), in order and without repeats.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, u8)> + '_ {
        self.prefixes
            .iter()
            .map(|prefix| (prefix.network(), prefix.prefix_len()))
    }
}

/// The last of the disjoint, ordered `nets` that begins before position `after`.
fn nearest<N>(nets: &[N], after: usize) -> Option<&N> {
    nets.get(after.checked_sub(1)?)
}

fn canonical_prefix(text: &str) -> Result<IpNet, NetworkError> {
    // The address by std's parser: ipnet's own takes "010.0.0.0", which others read as octal.
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| NetworkError::Malformed)?;
    let prefix = match length {
        None => address.into(),
        Some(length) => prefix_of(address, length).ok_or(NetworkError::Malformed)?,
    };
    if prefix.trunc() != prefix {
        return Err(NetworkError::HostBits);
    }
    let IpNet::V6(six) = prefix else {
        return Ok(prefix);
    };
    if is_nat64(six.network()) && six.prefix_len() >= 48 {
        return Err(NetworkError::Nat64);
    }
    match (six.network().to_ipv4_mapped(), six.prefix_len()) {
        (Some(four), length @ 96..) => Ipv4Net::new(four, length - 96)
            .map(IpNet::V4)
            .map_err(|_| NetworkError::Malformed),
        _ => Ok(prefix),
    }
}

fn prefix_of(address: IpAddr, length: &str) -> Option<IpNet> {
    let plain = length.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = plain && (length == "0" || !length.starts_with('0'));
    IpNet::new(address, length.parse().ok().filter(|_| canonical)?).ok()
}

/// The well-known prefix of RFC 6052, or the local-use prefix of RFC 8215.
fn is_nat64(address: Ipv6Addr) -> bool {
    matches!(
        address.segments(),
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] | [0x64, 0xff9b, 1, _, _, _, _, _]
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn only(prefixes: &[&str]) -> NetworkRule {
        NetworkRule::Only(NetworkList::parse(prefixes.iter().copied()).unwrap())
    }

    fn at(address: &str) -> Option<IpAddr> {
        Some(address.parse().unwrap())
    }

    #[test]
    fn a_list_admits_what_it_contains_and_nothing_else() {
        let rule = only(&["192.0.2.0/24", "198.51.100.7", "2001:db8::/32"]);
        for good in ["192.0.2.0", "192.0.2.255", "198.51.100.7", "2001:db8::1"] {
            assert!(rule.admits(at(good)), "{good}");
        }
        for bad in ["192.0.1.255", "192.0.3.0", "198.51.100.8", "2001:db9::"] {
            assert!(!rule.admits(at(bad)), "{bad}");
        }
        assert!(!rule.admits(None));
    }

    #[test]
    fn anywhere_admits_everybody_because_it_says_so() {
        assert!(NetworkRule::Anywhere.admits(None));
        assert!(NetworkRule::Anywhere.admits(at("203.0.113.9")));
        assert_eq!(NetworkList::parse([]), Err(NetworkError::Empty));
    }

    #[test]
    fn a_mapped_address_is_judged_as_ipv4_in_rule_and_client() {
        assert!(only(&["192.0.2.0/24"]).admits(at("::ffff:192.0.2.7")));
        assert!(!only(&["192.0.2.0/24"]).admits(at("::ffff:192.0.3.7")));
        let mapped = only(&["::ffff:192.0.2.0/120"]);
        assert_eq!(mapped, only(&["192.0.2.0/24"]));
        assert!(mapped.admits(at("192.0.2.9")));
        // All of IPv6 says nothing about IPv4.
        assert!(!only(&["::/0"]).admits(at("::ffff:192.0.2.7")));
    }

    #[test]
    fn a_translated_address_is_refused_whatever_the_list() {
        for client in ["64:ff9b::192.0.2.7", "64:ff9b:1::1"] {
            assert!(!only(&["::/0", "0.0.0.0/0"]).admits(at(client)), "{client}");
        }
        for prefix in ["64:ff9b::/96", "64:ff9b::c000:200/120", "64:ff9b:1::/48"] {
            assert_eq!(NetworkList::parse([prefix]), Err(NetworkError::Nat64));
        }
    }

    #[test]
    fn a_prefix_that_contradicts_itself_is_refused() {
        for (text, error) in [
            ("192.0.2.1/24", NetworkError::HostBits),
            ("2001:db8::1/64", NetworkError::HostBits),
            ("192.0.2.0/33", NetworkError::Malformed),
            ("192.0.2", NetworkError::Malformed),
            ("fe80::1%eth0", NetworkError::Malformed),
            ("fe80::%1/64", NetworkError::Malformed),
            (" 192.0.2.0/24", NetworkError::Malformed),
            ("010.0.0.0/8", NetworkError::Malformed),
            ("10.0.0.0/08", NetworkError::Malformed),
            ("10.0.0.0/+8", NetworkError::Malformed),
            ("10.0.0.0/", NetworkError::Malformed),
            ("", NetworkError::Malformed),
        ] {
            assert_eq!(NetworkList::parse([text]), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_list_is_bounded() {
        let many: Vec<String> = (0..=MAX_PREFIXES)
            .map(|n| format!("10.{}.{}.0/24", n / 256, n % 256))
            .collect();
        let fits = many.iter().take(MAX_PREFIXES).map(String::as_str);
        assert!(NetworkList::parse(fits).is_ok());
        let all = many.iter().map(String::as_str);
        assert_eq!(NetworkList::parse(all), Err(NetworkError::TooMany));
    }

    proptest! {
        #[test]
        fn bisection_agrees_with_trying_every_prefix(
            nets in proptest::collection::vec((0_u32..1 << 12, 20_u8..=32), 1..40),
            probe in 0_u32..1 << 12,
        ) {
            let nets: Vec<Ipv4Net> = nets
                .into_iter()
                .map(|(bits, length)| {
                    Ipv4Net::new(Ipv4Addr::from_bits(bits), length).unwrap().trunc()
                })
                .collect();
            let texts: Vec<String> = nets.iter().map(Ipv4Net::to_string).collect();
            let list = NetworkList::parse(texts.iter().map(String::as_str)).unwrap();
            let probe = Ipv4Addr::from_bits(probe);
            let expected = nets.iter().any(|net| net.contains(&probe));
            prop_assert_eq!(list.contains(IpAddr::V4(probe)), expected);
        }
    }
}
