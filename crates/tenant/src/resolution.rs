//! Which tenant a request is for.
//!
//! The verified identity's claim alone decides. What the request says beside it (a host name, a
//! path, a header) can only contradict it, and a contradiction is refused: guessing which of two
//! tenants was meant is how data crosses.

use eonpro_core::id::TenantId;

use crate::record::TenantRecord;
use crate::slug::TenantSlug;

/// What a request says about its tenant beside its token.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hints {
    /// The label of a host name or the segment of a path.
    pub slug: Option<TenantSlug>,
    /// An id, such as a header's.
    pub id: Option<TenantId>,
    /// The request names a tenant in a way that no tenant can have: it agrees with none.
    pub unreadable: bool,
}

impl Hints {
    /// The request says nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The one label that `host` (an authority, with or without port) has before `suffix`, such as
    /// `clinic-7` in `clinic-7.example.org`. A host that is not under `suffix`, or has more labels,
    /// agrees with no tenant; `suffix` itself says nothing.
    #[must_use]
    pub fn from_host(host: &str, suffix: &str) -> Self {
        let unreadable = Self {
            unreadable: true,
            ..Self::default()
        };
        let name = host.rsplit_once(':').map_or(host, |(name, port)| {
            let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            if is_port { name } else { host }
        });
        let name = name.to_ascii_lowercase();
        if name == suffix {
            return Self::none();
        }
        let label = name
            .strip_suffix(suffix)
            .and_then(|rest| rest.strip_suffix('.'));
        match label.map(TenantSlug::new) {
            Some(Ok(slug)) => Self {
                slug: Some(slug),
                ..Self::default()
            },
            _ => unreadable,
        }
    }

    /// Whether every hint means that tenant.
    #[must_use]
    pub fn agree_with(&self, tenant: &TenantRecord) -> bool {
        !self.unreadable
            && self.id.is_none_or(|id| id == tenant.id())
            && self.slug.as_ref().is_none_or(|slug| slug == tenant.slug())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slug(host: &str) -> Option<String> {
        let hints = Hints::from_host(host, "example.org");
        assert!(!(hints.unreadable && hints.slug.is_some()));
        hints.slug.map(|slug| slug.to_string())
    }

    #[test]
    fn a_host_names_its_tenant_by_one_label_under_the_suffix() {
        assert_eq!(slug("clinic-7.example.org"), Some("clinic-7".into()));
        assert_eq!(slug("Clinic-7.EXAMPLE.org:8443"), Some("clinic-7".into()));
        assert_eq!(
            Hints::from_host("example.org", "example.org"),
            Hints::none()
        );
    }

    #[test]
    fn a_host_that_names_no_tenant_agrees_with_none() {
        for host in [
            "a.b.example.org",
            "clinic.example.org.",
            "clinicexample.org",
            "clinic.example.net",
            "clinic.example.org.evil.net",
            "www.example.org",
            ".example.org",
            "[::1]:80",
            "clinic.example.org:",
            "",
        ] {
            assert!(Hints::from_host(host, "example.org").unreadable, "{host}");
        }
    }
}
