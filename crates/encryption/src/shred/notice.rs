//! Whose keys were destroyed, as the name of a key: `notice/system`, `notice/<tenant>`,
//! `notice/<tenant>/<patient>`.

use eonpro_core::id::{PublicId as _, SubjectId, TenantId};
use eonpro_core::port::kv::Key;
use uuid::Uuid;

use super::facts::ShredTarget;
use super::store::{NOTICES, key};
use crate::error::CryptoError;

const SYSTEM: &str = "system";

/// Whose records others should look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Notice {
    /// `None` for the system's own keys.
    pub(crate) tenant: Option<TenantId>,
    pub(crate) target: ShredTarget,
}

impl Notice {
    pub(crate) fn key(self) -> Result<Key, CryptoError> {
        let scope = self
            .tenant
            .map_or_else(|| SYSTEM.to_owned(), |tenant| tenant.to_string());
        key(match self.target {
            ShredTarget::Tenant => format!("{NOTICES}{scope}"),
            ShredTarget::Subject(subject) => format!("{NOTICES}{scope}/{subject}"),
        })
    }

    /// The notice that a key names. Others' keys name none.
    pub(crate) fn of(key: &Key) -> Option<Self> {
        let text = std::str::from_utf8(key.as_bytes()).ok()?;
        let named = text.strip_prefix(NOTICES)?;
        let (scope, subject) = match named.split_once('/') {
            None => (named, None),
            Some((scope, subject)) => (scope, Some(Uuid::try_parse(subject).ok()?)),
        };
        let tenant = match scope {
            SYSTEM => None,
            tenant => Some(TenantId::parse(tenant)?),
        };
        let target = subject.map_or(ShredTarget::Tenant, |bits| {
            ShredTarget::Subject(SubjectId::from_uuid(bits))
        });
        Some(Self { tenant, target })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eonpro_testkit::scope;

    #[test]
    fn a_notice_is_read_from_its_key_and_from_no_other() {
        let tenant = Some(scope(1).tenant());
        let subject = ShredTarget::Subject(SubjectId::from_uuid(Uuid::from_u128(7)));
        for (tenant, target) in [
            (tenant, ShredTarget::Tenant),
            (tenant, subject),
            (None, ShredTarget::Tenant),
        ] {
            let notice = Notice { tenant, target };
            assert_eq!(Notice::of(&notice.key().unwrap()), Some(notice));
        }
        for other in [
            "notice/",
            "notice/x",
            "notice/system/x",
            "notices",
            "\u{fffd}",
        ] {
            let key = Key::new(other.as_bytes().to_vec()).unwrap();
            assert_eq!(Notice::of(&key), None, "{other}");
        }
    }
}
