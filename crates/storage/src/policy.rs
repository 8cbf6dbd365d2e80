//! The policy of each category, typed: what `categories.toml` says, perhaps tightened.
//!
//! A deployment may allow fewer types, smaller documents, longer retention and shorter URLs. A
//! change in the other direction is refused: loosening is not configuration. The digest of the
//! policy in force goes into every manifest record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use eonpro_core::event::Digest;
use eonpro_core::pae;
use eonpro_core::port::KeyPurpose;
use serde::Deserialize;

use crate::category::Category;
use crate::error::StorageError;
use crate::guard;
use crate::media::MediaType;

/// The version of the policy format that this build reads.
const FORMAT: u32 = 1;
const DAY: Duration = Duration::from_hours(24);
const MIB: u64 = 1 << 20;
/// No signed URL lives longer, whatever a policy says.
pub const LONGEST_URL: Duration = Duration::from_hours(24 * 7);

/// What one category allows and demands.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CategoryPolicy {
    /// The category.
    pub category: Category,
    /// What it is for, in words.
    pub title: String,
    /// The declared media types that are accepted.
    pub types: BTreeSet<MediaType>,
    /// The largest document in bytes.
    pub max_size: u64,
    /// How long a document must be kept, counted from its newest version.
    pub retention_floor: Duration,
    /// The purpose of the keys that seal released documents.
    pub keys: KeyPurpose,
    /// Whether raster images may be shown in the browser.
    pub inline: bool,
    /// The longest life of a signed URL.
    pub url_lifetime: Duration,
    /// Whether a signed URL works only once.
    pub url_single_use: bool,
    /// Whether active and embedded content inside of allowed types is refused.
    pub strict: bool,
    /// Where the rules come from.
    pub basis: Vec<String>,
}

/// A deployment's own, stricter rules for one category. `None` leaves a rule as it is.
#[derive(Debug, Clone, Default)]
pub struct Tightening {
    /// Only these of the accepted types.
    pub types: Option<BTreeSet<MediaType>>,
    /// A smaller limit in bytes.
    pub max_size: Option<u64>,
    /// A longer retention floor.
    pub retention_floor: Option<Duration>,
    /// A shorter life of signed URLs.
    pub url_lifetime: Option<Duration>,
}

/// The policy in force: one entry per category, and how long evidence is kept.
#[derive(Debug, Clone)]
pub struct PolicyBook {
    entries: BTreeMap<Category, CategoryPolicy>,
    evidence: Duration,
    digest: Digest,
}

static BUILT_IN: LazyLock<Option<Arc<PolicyBook>>> = LazyLock::new(|| {
    let book = PolicyBook::parse(include_str!("categories.toml"));
    book.ok().map(Arc::new)
});

impl PolicyBook {
    /// The policy that this build ships.
    #[must_use]
    pub fn built_in() -> Arc<Self> {
        // A test proves that the embedded text parses. Were it broken, the empty book accepts
        // nothing at all.
        BUILT_IN
            .clone()
            .unwrap_or_else(|| Arc::new(Self::sealed(BTreeMap::new(), Duration::MAX)))
    }

    fn parse(text: &str) -> Result<Self, StorageError> {
        let wire: PolicyWire =
            toml::from_str(text).map_err(|_| StorageError::Config("policy is malformed"))?;
        if wire.version != FORMAT {
            return Err(StorageError::UnknownFormat);
        }
        let mut entries = BTreeMap::new();
        for entry in wire.category {
            let policy = entry.typed()?;
            if entries.insert(policy.category, policy).is_some() {
                return Err(StorageError::Config("policy names a category twice"));
            }
        }
        if entries.len() != Category::ALL.len() {
            return Err(StorageError::Config("policy lacks a category"));
        }
        Ok(Self::sealed(entries, days(wire.evidence_days)))
    }

    fn sealed(entries: BTreeMap<Category, CategoryPolicy>, evidence: Duration) -> Self {
        let mut digested = vec![format!("eonpro/storage/policy/v{FORMAT}").into_bytes()];
        digested.push(evidence.as_secs().to_le_bytes().to_vec());
        digested.extend(entries.values().map(CategoryPolicy::canonical));
        let parts: Vec<&[u8]> = digested.iter().map(Vec::as_slice).collect();
        Self {
            entries,
            evidence,
            digest: Digest::of(&pae::encode(&parts)),
        }
    }

    /// This policy with stricter rules for one category.
    ///
    /// # Errors
    /// [`StorageError::Config`] if a rule would become looser.
    pub fn tightened(&self, category: Category, by: Tightening) -> Result<Self, StorageError> {
        let mut policy = self.of(category)?.clone();
        if let Some(types) = by.types {
            if !types.is_subset(&policy.types) {
                return Err(StorageError::Config("tightening adds a media type"));
            }
            policy.types = types;
        }
        if let Some(max_size) = by.max_size {
            if max_size > policy.max_size {
                return Err(StorageError::Config("tightening raises the size limit"));
            }
            policy.max_size = max_size;
        }
        if let Some(floor) = by.retention_floor {
            if floor < policy.retention_floor {
                return Err(StorageError::Config(
                    "tightening lowers the retention floor",
                ));
            }
            policy.retention_floor = floor;
        }
        if let Some(lifetime) = by.url_lifetime {
            if lifetime > policy.url_lifetime {
                return Err(StorageError::Config("tightening prolongs signed urls"));
            }
            policy.url_lifetime = lifetime;
        }
        let mut entries = self.entries.clone();
        entries.insert(category, policy);
        Ok(Self::sealed(entries, self.evidence))
    }

    /// The policy of `category`.
    ///
    /// # Errors
    /// [`StorageError::Config`] if the book has none, which a parsed book never lacks.
    pub fn of(&self, category: Category) -> Result<&CategoryPolicy, StorageError> {
        let missing = StorageError::Config("policy lacks a category");
        self.entries.get(&category).ok_or(missing)
    }

    /// All policies, in the order of [`Category::ALL`].
    pub fn entries(&self) -> impl Iterator<Item = &CategoryPolicy> {
        self.entries.values()
    }

    /// How long infected versions are kept as evidence.
    #[must_use]
    pub fn evidence(&self) -> Duration {
        self.evidence
    }

    /// The digest of all rules in force.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl CategoryPolicy {
    fn canonical(&self) -> Vec<u8> {
        let types: Vec<&str> = self.types.iter().map(MediaType::as_str).collect();
        let flags = [self.inline, self.url_single_use, self.strict].map(u8::from);
        pae::encode(&[
            self.category.as_str().as_bytes(),
            types.join(",").as_bytes(),
            &self.max_size.to_le_bytes(),
            &self.retention_floor.as_secs().to_le_bytes(),
            self.keys.as_str().as_bytes(),
            &self.url_lifetime.as_secs().to_le_bytes(),
            &flags,
        ])
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyWire {
    version: u32,
    evidence_days: u32,
    category: Vec<CategoryWire>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CategoryWire {
    name: String,
    title: String,
    types: Vec<String>,
    max_mib: u64,
    floor_days: u32,
    keys: String,
    inline: bool,
    url_minutes: u64,
    url_single_use: bool,
    strict: bool,
    basis: Vec<String>,
}

impl CategoryWire {
    fn typed(self) -> Result<CategoryPolicy, StorageError> {
        let unknown = StorageError::Config("policy names an unknown category");
        let category = Category::parse(&self.name).ok_or(unknown)?;
        let keys = match self.keys.as_str() {
            "files" => KeyPurpose::FILES,
            "restricted" => KeyPurpose::new("restricted"),
            "genomic" => KeyPurpose::new("genomic"),
            "identity" => KeyPurpose::new("identity"),
            _ => return Err(StorageError::Config("policy names an unknown key purpose")),
        };
        let mut types = BTreeSet::new();
        for text in &self.types {
            let media = MediaType::parse(text)?;
            if !guard::knows(&media) {
                return Err(StorageError::Config(
                    "policy accepts an unguarded media type",
                ));
            }
            types.insert(media);
        }
        let url_lifetime = Duration::from_secs(self.url_minutes.saturating_mul(60));
        if url_lifetime > LONGEST_URL {
            return Err(StorageError::Config(
                "policy lets signed urls live too long",
            ));
        }
        Ok(CategoryPolicy {
            category,
            title: self.title,
            types,
            max_size: self.max_mib.saturating_mul(MIB),
            retention_floor: days(self.floor_days),
            keys,
            inline: self.inline,
            url_lifetime,
            url_single_use: self.url_single_use,
            strict: self.strict,
            basis: self.basis,
        })
    }
}

fn days(count: u32) -> Duration {
    DAY.saturating_mul(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_policy_covers_every_category() {
        let book = PolicyBook::parse(include_str!("categories.toml")).unwrap();
        for category in Category::ALL {
            let policy = book.of(category).unwrap();
            assert!(
                !policy.types.is_empty() && policy.max_size > 0,
                "{category}"
            );
        }
        assert_eq!(PolicyBook::built_in().digest(), book.digest());
    }

    #[test]
    fn what_is_most_sensitive_has_keys_of_its_own() {
        let book = PolicyBook::built_in();
        let own: Vec<_> = book
            .entries()
            .filter(|policy| policy.keys != KeyPurpose::FILES)
            .map(|policy| policy.category)
            .collect();
        let expected = [
            Category::RestrictedRecord,
            Category::Genomic,
            Category::IdentityInsurance,
        ];
        assert_eq!(own, expected);
    }

    #[test]
    fn no_category_accepts_what_a_browser_would_execute() {
        for policy in PolicyBook::built_in().entries() {
            for media in ["text/html", "image/svg+xml", "text/javascript"] {
                let media = MediaType::parse(media).unwrap();
                assert!(!policy.types.contains(&media), "{}", policy.category);
            }
        }
    }

    #[test]
    fn a_deployment_can_tighten_and_never_loosen() {
        let book = PolicyBook::built_in();
        let category = Category::BillingClaim;
        let tight = book
            .tightened(
                category,
                Tightening {
                    max_size: Some(10),
                    retention_floor: Some(days(4000)),
                    ..Tightening::default()
                },
            )
            .unwrap();
        assert_eq!(tight.of(category).unwrap().max_size, 10);
        assert_ne!(tight.digest(), book.digest());

        let zip = MediaType::parse("application/zip").unwrap();
        for loose in [
            Tightening {
                types: Some([zip].into()),
                ..Tightening::default()
            },
            Tightening {
                max_size: Some(u64::MAX),
                ..Tightening::default()
            },
            Tightening {
                retention_floor: Some(Duration::ZERO),
                ..Tightening::default()
            },
            Tightening {
                url_lifetime: Some(LONGEST_URL),
                ..Tightening::default()
            },
        ] {
            let refused = book.tightened(category, loose);
            assert!(matches!(refused, Err(StorageError::Config(_))));
        }
    }
}
