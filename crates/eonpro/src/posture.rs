//! The posture check: a foundation is as strong as its weakest part, and a profile may refuse it.

use std::fmt;

use eonpro_core::component::{Component, Durability, Fitness, Posture, Validation};
use eonpro_core::{Classify, ErrorKind};

use crate::profile::Profile;

/// One part of a foundation, by its name and posture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Its name, such as `audit` or `redb`.
    pub name: &'static str,
    /// What it is.
    pub posture: Posture,
}

impl Part {
    /// The part that `component` is.
    #[must_use]
    pub fn of<C: Component + ?Sized>(component: &C) -> Self {
        Self {
            name: component.name(),
            posture: component.posture(),
        }
    }
}

/// A part, and what its profile holds against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The part's name.
    pub part: &'static str,
    /// What is too weak, in words.
    pub reasons: Vec<&'static str>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.part, self.reasons.join(", "))
    }
}

/// The profile refuses at least one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostureRefused {
    /// The profile.
    pub profile: Profile,
    /// Every part at fault, in the order of assembly.
    pub faults: Vec<Fault>,
}

impl fmt::Display for PostureRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "profile {} refuses", self.profile)?;
        for (position, fault) in self.faults.iter().enumerate() {
            let before = if position == 0 { " " } else { "; " };
            write!(f, "{before}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for PostureRefused {}

impl Classify for PostureRefused {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Config
    }
}

/// The weakest posture among `parts`, if `profile` accepts every one of them.
///
/// # Errors
/// [`PostureRefused`] naming each part at fault.
pub fn check(profile: Profile, parts: &[Part]) -> Result<Posture, PostureRefused> {
    let demands = profile.demands();
    let faults: Vec<Fault> = parts
        .iter()
        .filter_map(|part| {
            let reasons = reasons(part.posture, demands);
            (!reasons.is_empty()).then_some(Fault {
                part: part.name,
                reasons,
            })
        })
        .collect();
    if !faults.is_empty() {
        return Err(PostureRefused { profile, faults });
    }
    let weakest = |whole: Posture, part: &Part| whole.min(part.posture);
    Ok(parts.iter().fold(Posture::STRONGEST, weakest))
}

fn reasons(posture: Posture, demands: Posture) -> Vec<&'static str> {
    let mut reasons = Vec::new();
    if posture.durability < demands.durability {
        reasons.push(match posture.durability {
            Durability::Volatile => "volatile",
            Durability::Durable | Durability::Stateless => "not durable enough",
        });
    }
    if posture.crypto < demands.crypto {
        reasons.push(match posture.crypto {
            Validation::NotValidated => "cryptography not validated",
            Validation::Validated | Validation::NoCrypto => "cryptography too weak",
        });
    }
    if posture.fitness < demands.fitness {
        reasons.push(match posture.fitness {
            Fitness::TestOnly => "for tests only",
            Fitness::Development | Fitness::Production => "for development only",
        });
    }
    reasons
}

/// The names of the parts that are for development only, each once.
pub(crate) fn conveniences(parts: &[Part]) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for part in parts {
        if part.posture.fitness < Fitness::Production && !names.contains(&part.name) {
            names.push(part.name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: Posture = Posture {
        durability: Durability::Durable,
        crypto: Validation::NotValidated,
        fitness: Fitness::Production,
    };

    fn part(name: &'static str, posture: Posture) -> Part {
        Part { name, posture }
    }

    #[test]
    fn production_names_every_part_at_fault_and_why() {
        let volatile = Posture {
            durability: Durability::Volatile,
            fitness: Fitness::TestOnly,
            ..SOUND
        };
        let development = Posture {
            fitness: Fitness::Development,
            ..SOUND
        };
        let parts = [
            part("audit", volatile),
            part("redb", SOUND),
            part("key-file", development),
        ];
        let refused = check(Profile::Production, &parts).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "profile production refuses audit (volatile, for tests only); key-file (for \
             development only)"
        );
    }

    #[test]
    fn the_whole_is_as_weak_as_its_weakest_part() {
        let development = Posture {
            fitness: Fitness::Development,
            ..SOUND
        };
        let parts = [part("a", Posture::STRONGEST), part("b", development)];
        assert_eq!(check(Profile::Embedded, &parts), Ok(development));
        assert_eq!(conveniences(&parts), ["b"]);
    }

    #[test]
    fn embedded_forbids_what_forgets_and_tests_forbid_nothing() {
        let volatile = Posture {
            durability: Durability::Volatile,
            ..SOUND
        };
        let parts = [part("memory", volatile)];
        assert!(check(Profile::Embedded, &parts).is_err());
        assert_eq!(check(Profile::Test, &parts), Ok(volatile));
    }
}
