//! A log with entries of many years, and what must be true of it before and after it is pruned.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use eonpro_audit::merkle::{CompactRange, Node, Plan, verify_consistency, verify_inclusion};
use eonpro_audit::{
    AuditError, AuditLog as _, Checkpoint, EmbeddedAudit, EntryView, LogId, PrunePlan, Pruned,
    Report, RetentionClass, RetentionPolicy, verify_anchored,
};
use eonpro_core::event::catalogue::phi;
use eonpro_core::event::{Code, Digest, Event, ObjectRef};
use eonpro_core::id::{ActorId, RowId, SubjectId};
use eonpro_core::time::{ManualClock, Timestamp};

use crate::house::House;

pub(crate) const DAY: Duration = Duration::from_secs(86_400);
pub(crate) const YEAR: Duration = Duration::from_secs(366 * 86_400);

/// A house in which time passes when it is told to.
pub(crate) struct Ages {
    pub(crate) house: House,
    pub(crate) time: ManualClock,
}

impl Ages {
    pub(crate) fn new() -> Self {
        let mut house = House::new();
        let time = ManualClock::at(Timestamp::from_seconds(1_600_000_000));
        house.clock = Arc::new(time.clone());
        house.config.segment_bytes = 8 * 1024;
        house.config.fill_bytes = 1024;
        Self { house, time }
    }

    /// An event about a patient.
    pub(crate) fn about(&self, patient: SubjectId) -> Arc<Event> {
        let row = RowId::random(&*self.house.entropy);
        self.house.event(phi::RecordViewed {
            patient,
            resource: ObjectRef::new(Code::constant("patient"), row),
            record_source: Code::constant("local"),
        })
    }

    pub(crate) async fn append(&self, audit: &EmbeddedAudit, tenant: u128, events: &[Arc<Event>]) {
        let appended = audit.append_batch(&self.house.cx(tenant), events).await;
        appended.unwrap();
    }

    pub(crate) async fn views(&self, audit: &EmbeddedAudit, tenant: u128, entries: usize) {
        let events: Vec<_> = (0..entries).map(|_| self.house.viewed()).collect();
        self.append(audit, tenant, &events).await;
    }

    /// Begins a segment, so that all before it are no longer written to.
    pub(crate) async fn new_segment(&self, audit: &EmbeddedAudit) {
        self.views(audit, 3, 20).await;
    }

    pub(crate) async fn plan(&self, audit: &EmbeddedAudit) -> Result<PrunePlan, AuditError> {
        let policy = RetentionPolicy::default();
        audit.plan_pruning(&self.house.system(), &policy, &[]).await
    }

    pub(crate) async fn prune(&self, audit: &EmbeddedAudit) -> Result<Pruned, AuditError> {
        let plan = self.plan(audit).await?;
        self.carry_out(audit, &plan).await
    }

    pub(crate) async fn carry_out(
        &self,
        audit: &EmbeddedAudit,
        plan: &PrunePlan,
    ) -> Result<Pruned, AuditError> {
        let [one, other] = approvers();
        audit
            .prune(&self.house.system(), plan, &one, Some(&other))
            .await
    }

    /// The head of the directory log, as somebody else would keep it.
    pub(crate) fn head(&self) -> Checkpoint {
        let note = std::fs::read_to_string(self.house.log().join("checkpoint")).unwrap();
        Checkpoint::open(&note, &[self.house.key()]).unwrap()
    }
}

pub(crate) fn approvers() -> [ActorId; 2] {
    ["officer", "counsel"].map(|name| ActorId::new(name).unwrap())
}

/// The class of an entry.
pub(crate) fn class(view: &EntryView) -> RetentionClass {
    RetentionClass::of(&view.entry().unwrap().code).unwrap()
}

/// All entries of all logs.
pub(crate) type All = BTreeMap<LogId, Vec<EntryView>>;

pub(crate) async fn all(ages: &Ages, audit: &EmbeddedAudit, logs: &[LogId]) -> All {
    let mut all = All::new();
    for log in logs {
        let mut views: Vec<EntryView> = Vec::new();
        loop {
            let from = views.len() as u64;
            let page = audit
                .read(&ages.house.system(), log, from..u64::MAX)
                .await
                .unwrap();
            if page.is_empty() {
                break;
            }
            views.extend(page);
        }
        all.insert(*log, views);
    }
    all
}

/// That `now` is `before` with some entries pruned and some appended: the living ones have the same bytes,
/// the pruned ones the same hashes, and every proof of a living one leads to the heads from before.
pub(crate) fn nothing_else_changed(before: &All, now: &All, heads: &[Checkpoint]) {
    for head in heads {
        let (was, is) = (&before[&head.log], &now[&head.log]);
        let leaves: Vec<Digest> = is.iter().map(EntryView::leaf).collect();
        let node = |node: Node| {
            let start = usize::try_from(node.index() << node.level()).unwrap();
            let mut range = CompactRange::new();
            let hashes = &leaves[start..start + (1 << node.level())];
            hashes.iter().for_each(|leaf| range.append(*leaf));
            Ok::<_, ()>(range.root())
        };
        for (then, view) in was.iter().zip(is) {
            match view.pruned {
                Some(leaf) => {
                    assert_eq!(leaf, then.leaf());
                    assert_eq!(view.bytes, b"");
                    assert!(view.entry().is_err() && view.recorded().is_err());
                }
                None => assert_eq!(view, then),
            }
        }
        let living = is
            .iter()
            .filter(|view| view.pruned.is_none() && view.index < head.size);
        for view in living.step_by(37) {
            let proof = Plan::inclusion(view.index, head.size)
                .unwrap()
                .read(node)
                .unwrap();
            verify_inclusion(&proof, view.index, &view.leaf(), head.size, &head.root).unwrap();
        }
        for old in [1, head.size / 2].into_iter().filter(|old| *old > 0) {
            let root = |size| Plan::root(size).read(node).unwrap()[0];
            let proof = Plan::consistency(old, head.size)
                .unwrap()
                .read(node)
                .unwrap();
            verify_consistency(&proof, old, &root(old), head.size, &head.root).unwrap();
        }
    }
}

/// The head of each log at the size that it has there.
pub(crate) fn heads(all: &All) -> Vec<Checkpoint> {
    let some = all.iter().filter(|(_, views)| !views.is_empty());
    let head = |(log, views): (&LogId, &Vec<EntryView>)| {
        let mut tree = CompactRange::new();
        views.iter().for_each(|view| tree.append(view.leaf()));
        Checkpoint {
            log: *log,
            size: tree.size(),
            root: tree.root(),
        }
    };
    some.map(head).collect()
}

/// The log on disk, which verifies with these anchors.
pub(crate) fn verified(ages: &Ages, anchors: &[Checkpoint]) -> Report {
    verify_anchored(&ages.house.log(), &[ages.house.key()], anchors).unwrap()
}
