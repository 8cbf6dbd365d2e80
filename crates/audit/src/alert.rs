//! Which events a human should look at now.

use eonpro_core::event::{Code, Event, EventType, Severity, catalogue};
use eonpro_core::id::EventId;
use eonpro_core::port::Alert;
use eonpro_core::time::Timestamp;

use crate::log_id::LogId;
use crate::wire;

const BY_SEVERITY: Code = Code::constant("severity");

/// The alert that `event` in `log` deserves: one from severity error upwards, none below. SEC-001,
/// which records that an alert was raised, never raises one. The log's own AUD-002 of an orderly `close` is
/// not put to this question.
#[must_use]
pub fn alert_for(log: &LogId, event: &Event) -> Option<Alert> {
    alert(log, event.kind(), event.id(), event.occurred())
}

/// [`alert_for`] for an entry of which only the leaf without its head is at hand.
#[must_use]
pub fn alert_of(log: &LogId, tail: &[u8]) -> Option<Alert> {
    let entry = wire::tail_entry(tail).ok()?;
    let kind = catalogue::by_code(&entry.code)?;
    let (event, _) = wire::tail_brief(tail).ok()?;
    alert(log, kind, event, Timestamp::parse_rfc3339(&entry.occurred)?)
}

fn alert(log: &LogId, kind: &EventType, event: EventId, at: Timestamp) -> Option<Alert> {
    if kind.severity < Severity::Error || kind.code == "SEC-001" {
        return None;
    }
    Some(Alert {
        rule: BY_SEVERITY,
        severity: kind.severity,
        tenant: match log {
            LogId::Tenant(tenant) => Some(*tenant),
            LogId::System | LogId::Directory => None,
        },
        event_code: kind.code,
        event,
        at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use eonpro_core::entropy::SeededEntropy;
    use eonpro_core::event::Outcome;
    use eonpro_core::event::catalogue::{audit, system};
    use eonpro_core::time::ManualClock;

    #[test]
    fn an_alert_begins_at_severity_error() {
        let (clock, entropy) = (ManualClock::at(Timestamp::EPOCH), SeededEntropy::new(1));
        let quiet = system::Stopped {
            node: Code::constant("n1"),
            clean: true,
            last_index: 1,
        };
        let quiet = Event::new(quiet, Outcome::Success, &clock, &entropy);
        assert_eq!(alert_for(&LogId::System, &quiet), None);
        let loud = audit::IntegrityFailed {
            kind: Code::constant("root"),
            index: 7,
            expected: None,
            found: None,
        };
        let loud = Event::new(loud, Outcome::Serious, &clock, &entropy);
        let alert = alert_for(&LogId::System, &loud).unwrap();
        assert_eq!((alert.event_code, alert.event), ("AUD-006", loud.id()));
    }

    #[test]
    fn the_record_of_an_alert_stays_below_the_line() {
        let kind = catalogue::by_code("SEC-001").unwrap();
        assert!(kind.severity < Severity::Error);
    }
}
