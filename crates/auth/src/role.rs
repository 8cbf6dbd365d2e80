//! Roles and permissions: deny by default, exact names, no wildcards.
//!
//! A permission reads `patient:read`. What a role may do is fixed when the book is written; what
//! is not written is denied, also for a permission that nobody has ever granted.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use eonpro_core::event::ObjectRef;
use eonpro_core::id::SubjectId;

use crate::error::ConfigError;

/// The most roles of a book.
pub const MAX_ROLES: usize = 256;
/// The most different permissions of a book.
pub const MAX_PERMISSIONS: usize = 1024;

/// One permission: a kind of thing and a verb, such as `patient:read`.
///
/// Each part has 1 to 48 characters of `a-z 0-9 . _ -`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permission(Cow<'static, str>);

impl Permission {
    /// A permission written in the source.
    ///
    /// # Panics
    /// While compiling, if used in a constant and `text` is no permission; at run time otherwise.
    #[must_use]
    pub const fn constant(text: &'static str) -> Self {
        assert!(fits(text.as_bytes()), "not a permission");
        Self(Cow::Borrowed(text))
    }

    /// Checks and takes `text`.
    ///
    /// # Errors
    /// [`ConfigError`] if it has another form.
    pub fn new(text: impl Into<String>) -> Result<Self, ConfigError> {
        let text = text.into();
        if fits(text.as_bytes()) {
            Ok(Self(Cow::Owned(text)))
        } else {
            Err(ConfigError("permission of the form thing:verb"))
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const fn fits(text: &[u8]) -> bool {
    let mut rest = text;
    let mut colons = 0;
    let mut part = 0;
    while let [first, tail @ ..] = rest {
        if *first == b':' {
            if part == 0 {
                return false;
            }
            colons += 1;
            part = 0;
        } else if matches!(first, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-') {
            part += 1;
        } else {
            return false;
        }
        if part > 48 {
            return false;
        }
        rest = tail;
    }
    colons == 1 && part > 0
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a decision is about: the thing and the patient, as far as the request names them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resource {
    /// The thing.
    pub object: Option<ObjectRef>,
    /// The patient whose data it is.
    pub patient: Option<SubjectId>,
}

impl Resource {
    /// No thing in particular: a list, a search, a creation.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// That thing.
    #[must_use]
    pub fn of(object: ObjectRef) -> Self {
        Self {
            object: Some(object),
            patient: None,
        }
    }

    /// The same, and it is about `patient`.
    #[must_use]
    pub fn about(self, patient: SubjectId) -> Self {
        Self {
            patient: Some(patient),
            ..self
        }
    }
}

/// Why something is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DenyReason {
    /// The actor has no role that the book knows.
    NoRole,
    /// None of the actor's roles has the permission.
    NotGranted,
}

impl DenyReason {
    /// A stable code for events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoRole => "no_role",
            Self::NotGranted => "not_granted",
        }
    }
}

/// May the actor do it?
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Yes.
    Permit,
    /// No.
    Deny(DenyReason),
}

impl Decision {
    /// Whether it is a yes.
    #[must_use]
    pub const fn is_permit(self) -> bool {
        matches!(self, Self::Permit)
    }
}

/// Which role may do what. An empty book denies everything.
#[derive(Debug, Clone, Default)]
pub struct RoleBook {
    permissions: HashMap<Permission, usize>,
    roles: HashMap<Box<str>, Vec<u64>>,
}

impl RoleBook {
    /// An empty book.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes that `role` has `permissions`, beside what it has already.
    ///
    /// # Errors
    /// [`ConfigError`] for a role name that is not 1 to 64 visible characters, or beyond
    /// [`MAX_ROLES`] or [`MAX_PERMISSIONS`].
    pub fn grant(
        mut self,
        role: &str,
        permissions: impl IntoIterator<Item = Permission>,
    ) -> Result<Self, ConfigError> {
        let fits =
            (1..=64).contains(&role.len()) && role.bytes().all(|byte| byte.is_ascii_graphic());
        if !fits {
            return Err(ConfigError("role name of 1 to 64 visible characters"));
        }
        if self.roles.len() >= MAX_ROLES && !self.roles.contains_key(role) {
            return Err(ConfigError("at most 256 roles"));
        }
        let mut granted = self.roles.remove(role).unwrap_or_default();
        for permission in permissions {
            let next = self.permissions.len();
            let bit = *self.permissions.entry(permission).or_insert(next);
            if bit >= MAX_PERMISSIONS {
                return Err(ConfigError("at most 1024 permissions"));
            }
            let (word, mask) = place(bit);
            if granted.len() <= word {
                granted.resize(word + 1, 0);
            }
            if let Some(word) = granted.get_mut(word) {
                *word |= mask;
            }
        }
        self.roles.insert(role.into(), granted);
        Ok(self)
    }

    /// Whether an actor with `roles` may do `permission`. Roles that the book does not know give
    /// nothing.
    pub fn decide<R: AsRef<str>>(&self, roles: &[R], permission: &Permission) -> Decision {
        let mut known = roles
            .iter()
            .filter_map(|role| self.roles.get(role.as_ref()))
            .peekable();
        if known.peek().is_none() {
            return Decision::Deny(DenyReason::NoRole);
        }
        let Some(bit) = self.permissions.get(permission) else {
            return Decision::Deny(DenyReason::NotGranted);
        };
        let (word, mask) = place(*bit);
        if known.any(|granted| granted.get(word).is_some_and(|bits| bits & mask != 0)) {
            Decision::Permit
        } else {
            Decision::Deny(DenyReason::NotGranted)
        }
    }
}

const fn place(bit: usize) -> (usize, u64) {
    (bit / 64, 1 << (bit % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Permission = Permission::constant("patient:read");
    const WRITE: Permission = Permission::constant("patient:write");

    #[test]
    fn what_is_not_written_is_denied() {
        let book = RoleBook::new()
            .grant("clinician", [READ])
            .unwrap()
            .grant("auditor", [])
            .unwrap();
        let denied = |reason| Decision::Deny(reason);
        for (roles, permission, expected) in [
            (&["clinician"][..], READ, Decision::Permit),
            (&["auditor", "clinician"][..], READ, Decision::Permit),
            (&["clinician"][..], WRITE, denied(DenyReason::NotGranted)),
            (&["auditor"][..], READ, denied(DenyReason::NotGranted)),
            (&["Clinician"][..], READ, denied(DenyReason::NoRole)),
            (&["admin"][..], READ, denied(DenyReason::NoRole)),
            (&[][..], READ, denied(DenyReason::NoRole)),
        ] {
            assert_eq!(book.decide(roles, &permission), expected, "{roles:?}");
        }
        assert!(!RoleBook::new().decide(&["clinician"], &READ).is_permit());
    }

    #[test]
    fn each_permission_has_a_bit_of_its_own() {
        let all: Vec<Permission> = (0..200)
            .map(|n| Permission::new(format!("thing{n}:read")).unwrap())
            .collect();
        let odd = all.iter().skip(1).step_by(2).cloned();
        let book = RoleBook::new()
            .grant("all", all.clone())
            .unwrap()
            .grant("odd", odd)
            .unwrap();
        for (at, permission) in all.iter().enumerate() {
            assert!(book.decide(&["all"], permission).is_permit());
            assert_eq!(book.decide(&["odd"], permission).is_permit(), at % 2 == 1);
        }
    }

    #[test]
    fn a_permission_is_an_exact_name() {
        for bad in [
            "",
            "patient",
            ":read",
            "patient:",
            "a:b:c",
            "*:read",
            "patient:*",
            "A:b",
        ] {
            assert!(Permission::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_size_of_a_book_is_bounded() {
        let mut book = RoleBook::new();
        for n in 0..MAX_ROLES {
            book = book.grant(&format!("role{n}"), [READ]).unwrap();
        }
        assert!(book.clone().grant("role0", [WRITE]).is_ok());
        assert!(book.grant("one-more", [READ]).is_err());
        let many = (0..=MAX_PERMISSIONS).map(|n| Permission::new(format!("t{n}:read")).unwrap());
        assert!(RoleBook::new().grant("r", many).is_err());
    }
}
