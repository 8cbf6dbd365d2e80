//! Power that fails at any call, and calls that fail: whatever happens, what was acknowledged is there
//! once, what was refused is not there, and nothing looks like tampering.

use std::collections::{BTreeMap, BTreeSet};

use eonpro_core::entropy::SystemEntropy;
use eonpro_testkit::tenant_id;
use futures_util::future::join_all;

use super::machine::{Dice, Machine, Stable, Trouble};
use super::tests::Bed;
use super::*;
use crate::fault::VerifyError;
use crate::verify::verify;

const ROUNDS: &str = "EONPRO_POWER_ROUNDS";
/// What a test run without the campaign does.
const SHORT: u64 = 60;
const LIVES: u64 = 4;

/// What callers were told.
#[derive(Debug, Default)]
struct Told {
    /// The event at each index of a log.
    acknowledged: BTreeMap<(LogId, u64), String>,
    /// Events that are somewhere, perhaps in the spool.
    kept: BTreeSet<String>,
    /// Events that were refused for certain.
    refused: BTreeSet<String>,
    in_doubt: u64,
}

impl Told {
    fn appended(&mut self, events: &[Arc<Event>], result: Result<Vec<Receipt>, AuditError>) {
        match result {
            Ok(receipts) => {
                for (event, receipt) in events.iter().zip(receipts) {
                    let place = (receipt.log, receipt.index);
                    let before = self.acknowledged.insert(place, event.id().to_string());
                    assert_eq!(before, None, "one index was given twice");
                }
            }
            Err(error) if error.written() == Written::No => {
                let ids = events.iter().map(|event| event.id().to_string());
                self.refused.extend(ids);
            }
            Err(_) => self.in_doubt += events.len() as u64,
        }
    }

    fn emitted(&mut self, event: &Event, result: Result<(), EmitError>) {
        let id = event.id().to_string();
        match result {
            Ok(()) => _ = self.kept.insert(id),
            Err(EmitError::NotWritten(_)) => _ = self.refused.insert(id),
            Err(_) => self.in_doubt += 1,
        }
    }
}

struct Run {
    bed: Bed,
    dice: Dice,
    machine: Machine,
    folder: std::path::PathBuf,
    told: Told,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut bed = Bed::new();
        bed.config.segment_bytes = 8 * 1024;
        bed.config.fill_bytes = 2 * 1024;
        bed.config.checkpoint_every = 9;
        let folder = bed.dir.path().join("0");
        let machine = Machine::boot(&folder, Stable::default(), seed);
        Self {
            bed,
            dice: Dice::new(!seed),
            machine,
            folder,
            told: Told::default(),
        }
    }

    /// Opens the log as soon as the writer before has let it go.
    async fn open(&self) -> Result<EmbeddedAudit, AuditError> {
        loop {
            let vfs = Arc::new(self.machine.clone());
            let layout = Layout::through(&self.folder.join("audit"), vfs);
            let parts = self.bed.parts(self.bed.dir.path());
            match opening::open(layout, parts, self.bed.config.clone()).await {
                Err(AuditError::Locked) => tokio::task::yield_now().await,
                other => return other.map(EmbeddedAudit),
            }
        }
    }

    async fn live(&mut self, trouble: Trouble) {
        self.machine.expect(trouble);
        let audit = match self.open().await {
            Ok(audit) => audit,
            Err(AuditError::Corrupt(error @ VerifyError::Tampered { .. })) => {
                panic!("looks like tampering: {error}")
            }
            Err(error) => {
                assert!(self.machine.troubled(), "{error:?}");
                return;
            }
        };
        for _ in 0..self.dice.below(16) {
            let cx = self.bed.cx();
            match self.dice.below(6) {
                0 => {
                    let many = 1 + self.dice.below(12);
                    let events: Vec<_> = (0..many).map(|_| self.bed.viewed()).collect();
                    let result = audit.append_batch(&cx, &events).await;
                    self.told.appended(&events, result);
                }
                1 => {
                    let signed = audit.checkpoint().await;
                    let tampered = |error: &AuditError| {
                        matches!(error, AuditError::Corrupt(VerifyError::Tampered { .. }))
                    };
                    assert!(!signed.is_err_and(|error| tampered(&error)));
                }
                2 => {
                    let event = self.bed.logout();
                    let result = audit.emit(&cx, &event).await;
                    self.told.emitted(&event, result);
                }
                _ => {
                    let many = 1 + self.dice.below(4);
                    let events: Vec<_> = (0..many).map(|_| self.bed.viewed()).collect();
                    let appends = events.iter().map(|event| audit.append(&cx, event));
                    for (event, result) in events.iter().zip(join_all(appends).await) {
                        let result = result.map(|receipt| vec![receipt]);
                        self.told.appended(std::slice::from_ref(event), result);
                    }
                }
            }
        }
        if self.dice.below(3) == 0 {
            audit.close().await;
        }
    }

    /// The power or the process ends; the next one finds what is left.
    async fn die(&mut self, life: u64) {
        self.machine.halt();
        // The writer has ended when somebody else may lock the directory.
        while let Err(AuditError::Locked) = self.open().await {}
        if self.dice.below(3) > 0 {
            self.folder = self.bed.dir.path().join(life.to_string());
            let stable = self.machine.cut();
            self.machine = Machine::boot(&self.folder, stable, self.dice.below(u64::MAX));
        }
    }

    async fn check(&self) {
        let trouble = Trouble {
            cut_at: u64::MAX,
            fails_one_in: 0,
        };
        self.machine.expect(trouble);
        let audit = self.open().await.unwrap();
        let system = RequestContext::system("test", &*self.bed.clock, &SystemEntropy::new());
        let mut found = BTreeMap::new();
        for log in [LogId::System, LogId::Tenant(tenant_id(1))] {
            let views = audit.read(&system, &log, 0..u64::MAX).await.unwrap();
            for (index, view) in (0..).zip(views) {
                let id = view.entry().unwrap().id;
                assert_eq!(view.index, index);
                assert_eq!(found.insert(id, (log, index)), None, "an entry twice");
            }
        }
        for (place, id) in &self.told.acknowledged {
            assert_eq!(found.get(id), Some(place), "an acknowledged entry is lost");
        }
        for id in &self.told.kept {
            assert!(found.contains_key(id), "what was kept is lost");
        }
        for id in &self.told.refused {
            assert!(!found.contains_key(id), "what was refused was written");
        }
        audit.verify(&system).await.unwrap();
        audit.close().await;
        let key = self.bed.parts(self.bed.dir.path()).verifying_key();
        let report = verify(&self.folder.join("audit"), &[key]).unwrap();
        assert_eq!((report.unsigned, report.spooled), (0, 0));
    }
}

#[derive(Debug, Default)]
struct Sum {
    acknowledged: usize,
    kept: usize,
    refused: usize,
    in_doubt: u64,
}

async fn one(seed: u64, sum: &mut Sum) {
    let mut run = Run::new(seed);
    for life in 1..=LIVES {
        let fails_one_in = match run.dice.below(3) {
            0 => 0,
            _ => 8 + run.dice.below(80),
        };
        let cut_at = match run.dice.below(4) {
            0 => u64::MAX,
            _ => 1 + run.dice.below(250),
        };
        run.live(Trouble {
            cut_at,
            fails_one_in,
        })
        .await;
        run.die(life).await;
    }
    run.check().await;
    sum.acknowledged += run.told.acknowledged.len();
    sum.kept += run.told.kept.len();
    sum.refused += run.told.refused.len();
    sum.in_doubt += run.told.in_doubt;
}

struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("it was seed {}", self.0);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "how a test run is configured")]
fn rounds() -> u64 {
    let rounds = std::env::var(ROUNDS).ok();
    rounds.map_or(SHORT, |text| text.parse().unwrap())
}

#[tokio::test]
async fn whenever_the_power_fails_nothing_acknowledged_is_lost_and_nothing_refused_appears() {
    let (rounds, mut sum) = (rounds(), Sum::default());
    for seed in 0..rounds {
        let seed = Seed(seed);
        one(seed.0, &mut sum).await;
    }
    // Seeds that only ever refuse would prove nothing.
    assert!(sum.acknowledged as u64 > 5 * rounds, "{sum:?}");
    println!("{rounds} machines of {LIVES} lives: {sum:?}");
}
