//! How a foundation is doing: every part asked at once, each within its budget.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use eonpro_core::component::{Component, Health};
use eonpro_core::time::Clock;
use eonpro_encryption::CryptoProfile;
use futures_util::future::{Either, join_all, select};

/// What it means for the whole if a part does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Nothing works without it.
    Critical,
    /// The rest works without it, with less.
    Degradable,
}

/// One part's health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartHealth {
    /// The part.
    pub name: &'static str,
    /// What it means for the whole.
    pub weight: Weight,
    /// How it is doing.
    pub health: Health,
}

/// The health of all parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthReport {
    /// The parts, in the order of shutdown.
    pub parts: Vec<PartHealth>,
    /// Which library does the cryptography of sealing, and whether a certificate covers it.
    pub crypto: CryptoProfile,
}

impl HealthReport {
    /// The whole: unhealthy if a critical part is, degraded if any part is less than healthy. The
    /// reason is that of the first part concerned.
    #[must_use]
    pub fn overall(&self) -> Health {
        let broken = self.parts.iter().find_map(|part| match &part.health {
            Health::Unhealthy(reason) if part.weight == Weight::Critical => Some(*reason),
            _ => None,
        });
        if let Some(reason) = broken {
            return Health::Unhealthy(reason);
        }
        let weakened = self.parts.iter().find_map(|part| match &part.health {
            Health::Healthy => None,
            Health::Degraded(reason) | Health::Unhealthy(reason) => Some(*reason),
        });
        weakened.map_or(Health::Healthy, Health::Degraded)
    }

    /// Whether requests should be sent here.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !matches!(self.overall(), Health::Unhealthy(_))
    }
}

/// Asks every part; one that does not answer within `budget` is unhealthy.
pub(crate) async fn ask(
    parts: impl Iterator<Item = (Weight, Arc<dyn Component>)>,
    clock: &dyn Clock,
    budget: Duration,
) -> Vec<PartHealth> {
    let until = clock.monotonic().plus(budget);
    let asked = parts.map(|(weight, part)| async move {
        let answer = pin!(part.health());
        let health = match select(answer, pin!(clock.sleep_until(until))).await {
            Either::Left((health, _)) => health,
            Either::Right(_) => Health::Unhealthy("no answer in time"),
        };
        PartHealth {
            name: part.name(),
            weight,
            health,
        }
    });
    join_all(asked).await
}

#[cfg(test)]
mod tests {
    use eonpro_encryption::Primitives;

    use super::*;

    fn part(weight: Weight, health: Health) -> PartHealth {
        PartHealth {
            name: "part",
            weight,
            health,
        }
    }

    #[test]
    fn only_a_critical_part_takes_the_whole_down() {
        for (weight, health, overall, ready) in [
            (Weight::Critical, Health::Healthy, Health::Healthy, true),
            (
                Weight::Degradable,
                Health::Unhealthy("x"),
                Health::Degraded("x"),
                true,
            ),
            (
                Weight::Critical,
                Health::Degraded("x"),
                Health::Degraded("x"),
                true,
            ),
            (
                Weight::Critical,
                Health::Unhealthy("x"),
                Health::Unhealthy("x"),
                false,
            ),
        ] {
            let parts = vec![
                part(Weight::Critical, Health::Healthy),
                part(weight, health),
            ];
            let crypto = Primitives::default().profile();
            let report = HealthReport { parts, crypto };
            assert_eq!(report.overall(), overall);
            assert_eq!(report.is_ready(), ready);
        }
    }
}
