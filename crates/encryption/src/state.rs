//! What a data key may do, and how that may change: one table, which every change of state obeys.
//!
//! ```text
//! Primary --turn--> DecryptOnly --proof--> Drained --approval--> Destroyed
//!                   |   ^   ^  ^              |
//!                   |   |   |  +-----call-----+
//!                   |   |   +--call-- Suspended --call--+
//!                   |   |                ^              v
//!                   +---+-------call-----+------> Compromised --proof--> Drained
//! ```

/// What a key may still do.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// Seals and opens. Each role and purpose has exactly one, always.
    Primary,
    /// Opens only.
    DecryptOnly,
    /// Opens, but a scan found nothing any more that it would open.
    Drained,
    /// Neither seals nor opens, until it is [`DecryptOnly`](Self::DecryptOnly) again: for a legal hold.
    Suspended,
    /// Somebody else may know it. Opens for a rotation only, which moves its values to another key.
    Compromised,
    /// Is gone; only its record remains.
    Destroyed,
}

/// What a change of state takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Means {
    /// A new epoch, which puts another primary in its place.
    Turn,
    /// A call of [`set_key_state`](crate::Encryption::set_key_state).
    Call,
    /// A scan of everything that was sealed for its purpose, which found nothing under the key.
    Proof,
    /// An approval that the audit log has first.
    Approval,
}

impl KeyState {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Primary,
        Self::DecryptOnly,
        Self::Drained,
        Self::Suspended,
        Self::Compromised,
        Self::Destroyed,
    ];

    /// Its name in records and events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::DecryptOnly => "decrypt_only",
            Self::Drained => "drained",
            Self::Suspended => "suspended",
            Self::Compromised => "compromised",
            Self::Destroyed => "destroyed",
        }
    }

    /// Whether everybody may open with it.
    #[must_use]
    pub const fn opens(self) -> bool {
        matches!(self, Self::Primary | Self::DecryptOnly | Self::Drained)
    }

    /// Whether a rotation may open with it.
    #[must_use]
    pub const fn opens_for_rotation(self) -> bool {
        self.opens() || matches!(self, Self::Compromised)
    }

    /// Whether a change into this state comes by `means`.
    #[must_use]
    pub(crate) fn comes_by(self, means: Means) -> bool {
        let mut before = Self::ALL.into_iter();
        before.any(|from| from.means(self) == Some(means))
    }

    /// What it takes for a data key to go from this state to `to`; `None` if nothing does.
    #[must_use]
    pub(crate) const fn means(self, to: Self) -> Option<Means> {
        use KeyState as S;
        match (self, to) {
            (S::Primary, S::DecryptOnly) => Some(Means::Turn),
            (S::DecryptOnly, S::Suspended | S::Compromised)
            | (S::Drained, S::DecryptOnly)
            | (S::Suspended, S::DecryptOnly | S::Compromised) => Some(Means::Call),
            (S::DecryptOnly | S::Compromised, S::Drained) => Some(Means::Proof),
            (S::Drained, S::Destroyed) => Some(Means::Approval),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_legal_changes_are_these_nine_and_no_others() {
        let mut legal = Vec::new();
        for from in KeyState::ALL {
            for to in KeyState::ALL {
                if let Some(means) = from.means(to) {
                    legal.push((from.name(), to.name(), means));
                }
            }
        }
        assert_eq!(
            legal,
            [
                ("primary", "decrypt_only", Means::Turn),
                ("decrypt_only", "drained", Means::Proof),
                ("decrypt_only", "suspended", Means::Call),
                ("decrypt_only", "compromised", Means::Call),
                ("drained", "decrypt_only", Means::Call),
                ("drained", "destroyed", Means::Approval),
                ("suspended", "decrypt_only", Means::Call),
                ("suspended", "compromised", Means::Call),
                ("compromised", "drained", Means::Proof),
            ]
        );
    }

    #[test]
    fn a_compromised_key_opens_for_a_rotation_only_and_a_suspended_one_for_nobody() {
        let may = |state: KeyState| (state.opens(), state.opens_for_rotation());
        for (state, expected) in [
            (KeyState::Primary, (true, true)),
            (KeyState::DecryptOnly, (true, true)),
            (KeyState::Drained, (true, true)),
            (KeyState::Suspended, (false, false)),
            (KeyState::Compromised, (false, true)),
            (KeyState::Destroyed, (false, false)),
        ] {
            assert_eq!(may(state), expected, "{}", state.name());
        }
    }

    #[test]
    fn nothing_leads_out_of_destroyed_and_only_a_drained_key_is_destroyed() {
        for state in KeyState::ALL {
            assert_eq!(KeyState::Destroyed.means(state), None);
            let destroyed = state.means(KeyState::Destroyed).is_some();
            assert_eq!(destroyed, state == KeyState::Drained);
        }
    }
}
