//! The spool on a machine whose power and whose calls fail.

use std::path::Path;

use super::machine::{Machine, Stable, Trouble};
use super::*;
use crate::spool::{self, NotSpooled, Spool};

const CALM: Trouble = Trouble {
    cut_at: u64::MAX,
    fails_one_in: 0,
};

fn layout(folder: &Path, machine: &Machine) -> Layout {
    let layout = Layout::through(&folder.join("audit"), Arc::new(machine.clone()));
    layout.create().unwrap();
    layout
}

/// An entry that says no more than an id, and is longer than a sector.
fn tail(number: u8) -> Vec<u8> {
    let id = format!("0190a1b2-0000-7000-8000-0000000000{number:02x}");
    let more = "x".repeat(700);
    format!("\"id\":\"{id}\",\"more\":\"{more}\"}}").into_bytes()
}

/// What the spool holds after the power was cut.
fn after_a_cut(folder: &Path, machine: &Machine, seed: u64) -> Vec<Vec<u8>> {
    let machine = Machine::boot(folder, machine.cut(), seed);
    let spooled = spool::read(&layout(folder, &machine)).unwrap();
    let tails = spooled.entries.into_iter().map(|(_, tail)| tail);
    tails.collect()
}

#[test]
fn what_was_spooled_is_there_after_the_power_failed() {
    for seed in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::boot(&dir.path().join("0"), Stable::default(), seed);
        let mut spool = Spool::open(&layout(&dir.path().join("0"), &machine), 9).unwrap();
        spool.add(LogId::System, &tail(1)).unwrap();
        spool.add(LogId::System, &tail(2)).unwrap();
        let found = after_a_cut(&dir.path().join("1"), &machine, seed);
        assert!(found == [tail(1), tail(2)], "seed {seed}");
    }
}

/// A sync fails, and reads go on showing what never reached the disk.
#[test]
fn what_is_spooled_behind_an_entry_in_doubt_is_there_after_the_power_failed() {
    let mut shown = 0;
    for seed in 0..400 {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("0");
        let machine = Machine::boot(&folder, Stable::default(), seed);
        let layout = layout(&folder, &machine);
        let mut spool = Spool::open(&layout, 9).unwrap();
        spool.add(LogId::System, &tail(1)).unwrap();
        machine.expect(Trouble {
            fails_one_in: 2,
            ..CALM
        });
        let doubtful = spool.add(LogId::System, &tail(2));
        machine.expect(CALM);
        if !matches!(doubtful, Err(NotSpooled::InDoubt)) {
            continue;
        }
        drop(spool);
        shown += u64::from(spool::read(&layout).unwrap().entries.len() == 2);
        let mut spool = Spool::open(&layout, 9).unwrap();
        spool.add(LogId::System, &tail(3)).unwrap();
        let found = after_a_cut(&dir.path().join("1"), &machine, seed);
        assert!(found.first() == Some(&tail(1)), "seed {seed}");
        assert!(found.last() == Some(&tail(3)), "seed {seed}");
    }
    assert!(shown > 5, "{shown}");
}
