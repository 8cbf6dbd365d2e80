//! Where KMS answers, if not at the region's public address.

use eonpro_core::component::Fitness;
use eonpro_encryption::CryptoError;
use http::Uri;

/// Domains that only Amazon can get a certificate for.
const AMAZON: [&str; 3] = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"];

/// An address that was checked: `https`, or `http` on this machine; nothing after the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) url: String,
    pub(crate) fitness: Fitness,
}

impl Endpoint {
    /// Checks `url`.
    ///
    /// # Errors
    /// [`CryptoError::Config`].
    pub(crate) fn parse(url: &str) -> Result<Self, CryptoError> {
        let malformed =
            CryptoError::Config("endpoint of the form https://host or https://host:port");
        let Ok(uri) = url.parse::<Uri>() else {
            return Err(malformed);
        };
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(malformed);
        };
        if uri.path() != "/" || uri.query().is_some() || authority.as_str().contains('@') {
            return Err(malformed);
        }
        match scheme {
            "https" => {}
            "http" if is_loopback(authority.host()) => {}
            "http" => return Err(CryptoError::Config("endpoint with https, or on loopback")),
            _ => return Err(malformed),
        }
        let host = authority.host().to_ascii_lowercase();
        let amazon = scheme == "https" && AMAZON.iter().any(|domain| host.ends_with(domain));
        Ok(Self {
            url: format!("{scheme}://{authority}"),
            fitness: if amazon {
                Fitness::Production
            } else {
                Fitness::TestOnly
            },
        })
    }
}

/// By number: a name could resolve to anything.
fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse::<std::net::IpAddr>()
        .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for good in [
            "http://127.0.0.1:5000",
            "http://[::1]:5000",
            "http://127.9.9.9",
        ] {
            assert_eq!(
                Endpoint::parse(good).unwrap().fitness,
                Fitness::TestOnly,
                "{good}"
            );
        }
        for bad in [
            "http://10.0.0.1",
            "http://localhost:5000",
            "http://kms.eu-central-1.amazonaws.com",
            "http://127.0.0.1.example.org",
        ] {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_holds_a_host_and_perhaps_a_port() {
        for bad in [
            "",
            "kms.example.org",
            "ftp://kms.example.org",
            "https://",
            "https://kms.example.org/path",
            "https://kms.example.org?query",
            "https://user@kms.example.org",
            "https://127.0.0.1@kms.example.org",
        ] {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
        let endpoint = Endpoint::parse("https://kms.example.org:8443").unwrap();
        assert_eq!(endpoint.url, "https://kms.example.org:8443");
    }

    #[test]
    fn only_amazons_own_names_over_tls_are_fit_for_production() {
        for (url, fitness) in [
            (
                "https://kms-fips.us-east-1.amazonaws.com",
                Fitness::Production,
            ),
            (
                "https://vpce-1.kms.eu-central-1.vpce.amazonaws.com",
                Fitness::Production,
            ),
            (
                "https://kms.cn-north-1.amazonaws.com.cn",
                Fitness::Production,
            ),
            ("https://kms.eu-central-1.api.aws", Fitness::Production),
            ("https://amazonaws.com.example.org", Fitness::TestOnly),
            ("https://notamazonaws.com", Fitness::TestOnly),
            ("https://127.0.0.1", Fitness::TestOnly),
        ] {
            assert_eq!(Endpoint::parse(url).unwrap().fitness, fitness, "{url}");
        }
    }
}
