//! Which log an entry belongs to, and the C2SP origin that names it.

use std::fmt;

use eonpro_core::RequestContext;
use eonpro_core::event::Event;
use eonpro_core::id::TenantId;

const PREFIX: &str = "eonpro/audit/";
const SYSTEM: &str = "eonpro/audit/system";
const DIRECTORY: &str = "eonpro/audit/directory";

/// One log. Prints as its origin line, such as `eonpro/audit/system`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogId {
    /// Events without a tenant, and the creation and deletion of tenants.
    System,
    /// One tenant's events.
    Tenant(TenantId),
    /// The signed checkpoints of all other logs.
    Directory,
}

impl LogId {
    /// The log named by an origin line.
    #[must_use]
    pub fn parse(origin: &str) -> Option<Self> {
        match origin {
            SYSTEM => Some(Self::System),
            DIRECTORY => Some(Self::Directory),
            _ => {
                let id = TenantId::parse(origin.strip_prefix(PREFIX)?)?;
                let log = Self::Tenant(id);
                // A UUID has many spellings, an origin has one.
                (log.to_string() == origin).then_some(log)
            }
        }
    }

    /// The log that takes `event` in the context `cx`.
    #[must_use]
    pub fn of(cx: &RequestContext, event: &Event) -> Self {
        match (event.kind().code, cx.tenant()) {
            ("TEN-001" | "TEN-003", _) | (_, None) => Self::System,
            (_, Some(binding)) => Self::Tenant(binding.id),
        }
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str(SYSTEM),
            Self::Directory => f.write_str(DIRECTORY),
            Self::Tenant(id) => write!(f, "{PREFIX}{id}"),
        }
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_one_spelling() {
        let tenant = TenantId::parse("0190a1b2-0000-7000-8000-00000000000a").unwrap();
        for log in [LogId::System, LogId::Directory, LogId::Tenant(tenant)] {
            assert_eq!(LogId::parse(&log.to_string()), Some(log));
        }
        for bad in [
            "",
            "eonpro/audit/",
            "eonpro/audit/SYSTEM",
            "eonpro/audit/0190A1B2-0000-7000-8000-00000000000A",
            "eonpro/audit/0190a1b20000700080000000000000000a",
            "eonpro/audit/00000000-0000-0000-0000-000000000000",
            "other/audit/system",
        ] {
            assert_eq!(LogId::parse(bad), None, "{bad}");
        }
    }
}
