//! Is there an order of these operations that explains what was seen?
//!
//! A search after Wing and Gong ("Testing and verifying concurrent objects", 1993) with Lowe's
//! memory of visited states, for one register and at most 64 operations.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

/// Orders the beginnings and ends of operations as they really happened.
#[derive(Debug, Default)]
pub(crate) struct Ticker(AtomicU64);

impl Ticker {
    pub(crate) fn tick(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// What an operation did to the register, or saw in it. `None` is absence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Wrote(Option<u64>),
    Saw(Option<u64>),
}

/// One operation between two ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) effect: Effect,
}

/// Whether the history of one register, absent at first, is linearizable.
pub(crate) fn is_linearizable(history: &[Operation]) -> bool {
    assert!(history.len() <= 64, "at most 64 operations");
    search(history, 0, None, &mut HashSet::new())
}

fn search(
    history: &[Operation],
    done: u64,
    value: Option<u64>,
    seen: &mut HashSet<(u64, Option<u64>)>,
) -> bool {
    let open = || {
        history
            .iter()
            .enumerate()
            .filter(|(at, _)| done & (1 << at) == 0)
    };
    // Only what began before the first end among the open ones may come next.
    let Some(first_end) = open().map(|(_, op)| op.ended).min() else {
        return true;
    };
    if !seen.insert((done, value)) {
        return false;
    }
    open()
        .filter(|(_, op)| op.began < first_end)
        .any(|(at, op)| match op.effect {
            Effect::Wrote(next) => search(history, done | 1 << at, next, seen),
            Effect::Saw(found) => found == value && search(history, done | 1 << at, value, seen),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(began: u64, ended: u64, effect: Effect) -> Operation {
        Operation {
            began,
            ended,
            effect,
        }
    }

    #[test]
    fn a_read_during_a_write_may_see_either_value() {
        let write = op(0, 3, Effect::Wrote(Some(1)));
        for seen in [None, Some(1)] {
            assert!(is_linearizable(&[write, op(1, 2, Effect::Saw(seen))]));
        }
    }

    #[test]
    fn a_read_after_a_write_must_see_it() {
        let write = op(0, 1, Effect::Wrote(Some(1)));
        assert!(is_linearizable(&[write, op(2, 3, Effect::Saw(Some(1)))]));
        assert!(!is_linearizable(&[write, op(2, 3, Effect::Saw(None))]));
    }

    #[test]
    fn two_readers_may_not_see_two_writes_in_opposite_orders() {
        let history = [
            op(0, 9, Effect::Wrote(Some(1))),
            op(0, 9, Effect::Wrote(Some(2))),
            op(1, 2, Effect::Saw(Some(1))),
            op(3, 4, Effect::Saw(Some(2))),
            op(5, 6, Effect::Saw(Some(1))),
        ];
        assert!(!is_linearizable(&history));
        assert!(is_linearizable(&history[..4]));
    }
}
