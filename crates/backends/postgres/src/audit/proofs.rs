//! Proofs out of the hashes of the entries, each checked against a signed root before it is handed out.
//!
//! What is kept of them in memory is the root of each 256 entries that were ever needed: 32 bytes. The
//! first proof in a log reads the hashes of all its signed entries, later ones those that came since.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use eonpro_audit::merkle::{CompactRange, Node, Plan, ProofError};
use eonpro_audit::sequence::{Nodes, Tree, covering};
use eonpro_audit::{AuditError, Checkpoint, Fault, Hit, LogId};
use eonpro_core::event::Digest;

use super::Core;
use super::database::tampered;
use super::signing::failed;

/// The height of the subtrees whose roots are kept, and their leaves.
const HEIGHT: u8 = 8;
const GROUP: u64 = 256;
/// How many groups are read with one statement.
const STRIDE: u64 = 64;
/// Of how many logs something is kept.
const MAX_LOGS: usize = 1_024;

/// The roots of the full groups of each log, from the first on.
#[derive(Debug, Default)]
pub(crate) struct Proofs(Mutex<HashMap<LogId, Vec<Digest>>>);

impl Proofs {
    fn take(&self, log: LogId) -> Vec<Digest> {
        let mut logs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        logs.remove(&log).unwrap_or_default()
    }

    /// Keeps what led to a signed root.
    fn keep(&self, log: LogId, roots: Vec<Digest>) {
        let mut logs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if logs.len() >= MAX_LOGS {
            logs.clear();
        }
        let known = logs.entry(log).or_default();
        if known.len() < roots.len() {
            *known = roots;
        }
    }
}

/// What some proofs need.
#[derive(Debug)]
struct Fetched<'a> {
    roots: &'a [Digest],
    /// The hashes in single groups.
    groups: HashMap<u64, Vec<Digest>>,
}

impl Nodes for Fetched<'_> {
    type Error = ProofError;

    fn node(&mut self, node: Node) -> Result<Digest, ProofError> {
        let (hashes, height) = match node.level().checked_sub(HEIGHT) {
            Some(above) => (self.roots, above),
            None => {
                let group = node.index() >> (HEIGHT - node.level());
                let hashes = self.groups.get(&group).map(Vec::as_slice);
                (hashes.ok_or(ProofError::Length)?, node.level())
            }
        };
        let first = match node.level() < HEIGHT {
            true => (node.index() << height) % GROUP,
            false => node.index() << height,
        };
        let first = usize::try_from(first).map_err(|_| ProofError::Length)?;
        let under = first.checked_add(1 << height).map(|end| first..end);
        let under = under.and_then(|range| hashes.get(range));
        let mut range = CompactRange::new();
        for hash in under.ok_or(ProofError::Length)? {
            range.append(*hash);
        }
        Ok(range.root())
    }
}

/// The nodes of the proof that a tree of `size` begins that of `head`.
fn of_beginning(size: u64, head: &Checkpoint) -> Result<Vec<Node>, ProofError> {
    if size == head.size {
        return Ok(Vec::new());
    }
    let growth = Plan::consistency(size, head.size)?;
    Ok([Plan::root(size).nodes(), growth.nodes()].concat())
}

impl Core {
    /// The inclusion proof of the leaf at `index` in the tree of `size` leaves, of those that `head` covers.
    pub(super) async fn inclusion(
        &self,
        head: Option<Checkpoint>,
        index: u64,
        size: u64,
    ) -> Result<Vec<Digest>, AuditError> {
        let head = covering(head, size)?;
        let mut nodes = Plan::inclusion(index, size)?.nodes().to_vec();
        nodes.extend(Node::new(0, index));
        nodes.extend(of_beginning(size, &head)?);
        self.with_nodes(&head, &nodes, |nodes| {
            Tree::within(nodes, size, &head)?.inclusion_of_any(index)
        })
        .await
    }

    /// The proof that the first `new` leaves, of those that `head` covers, begin with the first `old`.
    pub(super) async fn growth(
        &self,
        head: Option<Checkpoint>,
        old: u64,
        new: u64,
    ) -> Result<Vec<Digest>, AuditError> {
        let head = covering(head, new)?;
        let growth = Plan::consistency(old, new)?;
        let mut nodes = [growth.nodes(), Plan::root(old).nodes()].concat();
        nodes.extend(of_beginning(new, &head)?);
        self.with_nodes(&head, &nodes, |nodes| {
            Tree::within(nodes, new, &head)?.growth(old)
        })
        .await
    }

    /// Gives each hit that `head` covers its proof.
    pub(super) async fn prove_hits(
        &self,
        head: &Checkpoint,
        hits: &mut [Hit],
    ) -> Result<(), AuditError> {
        let covered = hits.iter().filter(|hit| hit.view.index < head.size);
        let covered: Vec<(u64, Digest)> = covered
            .map(|hit| (hit.view.index, hit.view.leaf()))
            .collect();
        if covered.is_empty() {
            return Ok(());
        }
        let mut nodes = Vec::new();
        for (index, _) in &covered {
            nodes.extend_from_slice(Plan::inclusion(*index, head.size)?.nodes());
        }
        let proofs = self.with_nodes(head, &nodes, |nodes| {
            let mut tree = Tree::of_head(nodes, head);
            let proofs = covered
                .iter()
                .map(|(index, leaf)| tree.inclusion(*index, leaf));
            proofs.collect::<Result<Vec<_>, ProofError>>()
        });
        let proofs = proofs.await?;
        let covered = hits.iter_mut().filter(|hit| hit.view.index < head.size);
        for (hit, proof) in covered.zip(proofs) {
            hit.proof = Some(proof);
        }
        Ok(())
    }

    /// Does `work`, which needs `nodes` of the tree of `head`. If it fails what was kept is read again, once.
    async fn with_nodes<T>(
        &self,
        head: &Checkpoint,
        nodes: &[Node],
        work: impl Fn(Fetched<'_>) -> Result<T, ProofError> + Send,
    ) -> Result<T, AuditError> {
        let low = nodes.iter().filter(|node| node.level() < HEIGHT);
        let wanted: BTreeSet<u64> = low
            .map(|node| node.index() >> (HEIGHT - node.level()))
            .collect();
        let groups = self.groups(head, &wanted).await?;
        let mut roots = self.proofs.take(head.log);
        loop {
            let kept = roots.len();
            self.read_roots(head, &mut roots).await?;
            let fetched = Fetched {
                roots: &roots,
                groups: groups.clone(),
            };
            match work(fetched) {
                Ok(done) => {
                    self.proofs.keep(head.log, roots);
                    return Ok(done);
                }
                Err(_) if kept > 0 => roots.clear(),
                Err(_) => {
                    let last = head.size.saturating_sub(1);
                    return Err(tampered(head.log, last, Fault::Root).into());
                }
            }
        }
    }

    /// The hashes in the groups that are `wanted`.
    async fn groups(
        &self,
        head: &Checkpoint,
        wanted: &BTreeSet<u64>,
    ) -> Result<HashMap<u64, Vec<Digest>>, AuditError> {
        let mut groups = HashMap::new();
        for group in wanted {
            let from = group.saturating_mul(GROUP);
            let until = from.saturating_add(GROUP).min(head.size);
            let read = self
                .statements
                .hashes(&self.connections, head.log, from, until);
            groups.extend(read.await.map_err(failed)?);
        }
        Ok(groups)
    }

    /// Reads on until `roots` has those of all full groups that the head covers.
    async fn read_roots(
        &self,
        head: &Checkpoint,
        roots: &mut Vec<Digest>,
    ) -> Result<(), AuditError> {
        let full = head.size / GROUP;
        loop {
            let next = roots.len() as u64;
            if next >= full {
                return Ok(());
            }
            let until = full.min(next + STRIDE);
            let (from, end) = (next * GROUP, until * GROUP);
            let read = self
                .statements
                .hashes(&self.connections, head.log, from, end);
            for (expected, (group, hashes)) in (next..until).zip(read.await.map_err(failed)?) {
                if group != expected || hashes.len() as u64 != GROUP {
                    let at = expected.saturating_mul(GROUP);
                    return Err(tampered(head.log, at, Fault::Gap).into());
                }
                let mut range = CompactRange::new();
                for hash in &hashes {
                    range.append(*hash);
                }
                roots.push(range.root());
            }
            if roots.len() as u64 == next {
                return Err(tampered(head.log, from, Fault::Gap).into());
            }
        }
    }
}
