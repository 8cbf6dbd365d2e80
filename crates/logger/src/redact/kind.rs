//! What was found, and what stands in its place.

/// A kind of finding. Its label replaces the value.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Redaction {
    /// A social security number, or digits in its shape.
    Ssn,
    /// A medical record number behind its keyword.
    Mrn,
    /// A telephone or fax number.
    Phone,
    /// An e-mail address.
    Email,
    /// A full calendar date.
    Date,
    /// A card number, or any other run of 13 digits and more.
    Card,
    /// A licence, passport, account, policy or member number behind its keyword.
    Id,
    /// A password, token or key.
    Secret,
    /// A field that its name gives away.
    Field,
    /// A field that a PHI schema names.
    Phi,
}

impl Redaction {
    /// Every kind, in the order of its declaration.
    pub const ALL: [Self; 10] = [
        Self::Ssn,
        Self::Mrn,
        Self::Phone,
        Self::Email,
        Self::Date,
        Self::Card,
        Self::Id,
        Self::Secret,
        Self::Field,
        Self::Phi,
    ];

    /// What is printed instead of the value.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ssn => "[SSN]",
            Self::Mrn => "[MRN]",
            Self::Phone => "[PHONE]",
            Self::Email => "[EMAIL]",
            Self::Date => "[DATE]",
            Self::Card => "[CARD]",
            Self::Id => "[ID]",
            Self::Secret => "[SECRET]",
            Self::Field => "[REDACTED]",
            Self::Phi => "[PHI]",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_kinds_is_in_the_order_of_its_counters() {
        for (at, kind) in Redaction::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, at);
        }
    }
}
