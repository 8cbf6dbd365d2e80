//! The page of the handbook that tells the policy in force, generated from it.

use std::fmt::Write as _;
use std::time::Duration;

use crate::guard;
use crate::media::MediaType;
use crate::policy::{CategoryPolicy, PolicyBook};

const HEAD: &str = "\
# Storage policy

<!-- Generated from crates/storage/src/categories.toml; a test compares. Do not edit. -->

What each category of documents allows and demands. Every document of every category is encrypted,
guarded and scanned before it can be read, and offered for download under its declared type only.
The retention floor is a minimum, counted from the newest version of a document; a year counts 366
days. Before it has passed, and while a hold is set, a delete is refused. Deployments may tighten
these rules, never loosen them. The digest of the rules in force is part of every manifest record.
";

/// The page for the policy that this build ships.
#[must_use]
pub fn policy_page() -> String {
    PolicyBook::built_in().page()
}

impl PolicyBook {
    /// The page for this policy, in Markdown.
    #[must_use]
    pub fn page(&self) -> String {
        let mut page = String::from(HEAD);
        let _infallible = write!(
            page,
            "\nDigest: `{}`. Infected content is kept as evidence for {}, sealed and unreadable.\n\n\
             | Category | For | Largest | Retention floor | Keys | Signed URL | Rules |\n\
             |---|---|---|---|---|---|---|\n",
            self.digest(),
            span(self.evidence()),
        );
        for policy in self.entries() {
            row(&mut page, policy);
        }
        page.push_str("\n## Accepted types\n\n");
        page.push_str(
            "| Category | Declared media type | Content must look like |\n|---|---|---|\n",
        );
        for policy in self.entries() {
            for media in &policy.types {
                type_row(&mut page, policy, media);
            }
        }
        page.push_str("\n## Refused whatever is declared\n\n");
        for (kind, why) in guard::ALWAYS_REFUSED {
            let _infallible = writeln!(page, "- `{}`: {why}", kind.as_str());
        }
        page.push_str("\n## Where the rules come from\n\n| Category | Basis |\n|---|---|\n");
        for policy in self.entries() {
            let basis = policy.basis.join("; ");
            let _infallible = writeln!(page, "| `{}` | {basis} |", policy.category);
        }
        page
    }
}

fn row(page: &mut String, policy: &CategoryPolicy) {
    let mut rules = Vec::new();
    if policy.inline {
        rules.push("raster images inline");
    }
    if policy.strict {
        rules.push("no active or embedded content");
    }
    let once = if policy.url_single_use { ", once" } else { "" };
    let _infallible = writeln!(
        page,
        "| `{}` | {} | {} | {} | `{}` | {}{once} | {} |",
        policy.category,
        policy.title,
        size(policy.max_size),
        span(policy.retention_floor),
        policy.keys.as_str(),
        span(policy.url_lifetime),
        rules.join(", "),
    );
}

fn type_row(page: &mut String, policy: &CategoryPolicy, media: &MediaType) {
    let kinds: Vec<String> = guard::accepted(media)
        .iter()
        .map(|kind| format!("`{}`", kind.as_str()))
        .collect();
    let kinds = kinds.join(", ");
    let _infallible = writeln!(page, "| `{}` | `{media}` | {kinds} |", policy.category);
}

fn size(bytes: u64) -> String {
    let mib = bytes >> 20;
    match mib {
        0 => format!("{bytes} B"),
        _ if mib.is_multiple_of(1024) => format!("{} GiB", mib / 1024),
        _ => format!("{mib} MiB"),
    }
}

fn span(span: Duration) -> String {
    let minutes = span.as_secs() / 60;
    let days = minutes / (24 * 60);
    match (days, minutes) {
        (0, 0) => "none".to_owned(),
        (0, _) => format!("{minutes} min"),
        _ if days.is_multiple_of(366) => format!("{} years", days / 366),
        _ => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_read_as_people_write_them() {
        assert_eq!(span(Duration::ZERO), "none");
        assert_eq!(span(Duration::from_secs(300)), "5 min");
        assert_eq!(span(Duration::from_hours(24 * 366 * 10)), "10 years");
        assert_eq!(span(Duration::from_hours(24 * 30)), "30 days");
        assert_eq!(size(25 << 20), "25 MiB");
        assert_eq!(size(20 << 30), "20 GiB");
        assert_eq!(size(9), "9 B");
    }
}
