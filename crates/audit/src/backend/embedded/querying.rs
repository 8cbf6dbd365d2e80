//! Answers to queries: the lists of the index are walked side by side, and each entry that all of them name
//! is read, checked and compared with the question.

use super::entries::Entries;
use super::heads::Head;
use super::index::Index;
use super::lookup::{Asked, Lookup, LookupError, Posting, Reader, Tiles};
use crate::config::AuditConfig;
use crate::error::AuditError;
use crate::layout::Layout;
use crate::log_id::LogId;
use crate::page::{Hit, Page};
use crate::proving::Tree;
use crate::query::{Effort, Order, Proofs, Query};

/// What answers are made of.
#[derive(Debug)]
pub(super) struct Sources<'a> {
    pub(super) layout: &'a Layout,
    pub(super) index: &'a Index,
    pub(super) lookup: &'a Lookup,
    pub(super) config: &'a AuditConfig,
}

/// The candidates of a query, in its order.
struct Candidates {
    /// The shortest first. Without any, every index is one.
    postings: Vec<Posting>,
    order: Order,
    /// The next index that may be one, and the last.
    at: Option<u64>,
    last: u64,
    /// How many more may be looked at.
    steps: usize,
}

impl Candidates {
    /// Those of the indexes `low` up to `high`, without `high`, that follow `query.after`.
    fn new(query: &Query, postings: Vec<Posting>, low: u64, high: u64, steps: usize) -> Self {
        let (at, last) = match query.order {
            Order::OldestFirst => {
                let after = query.after.map(|after| after.saturating_add(1));
                (Some(low.max(after.unwrap_or(0))), high.saturating_sub(1))
            }
            Order::NewestFirst => {
                let end = high.min(query.after.unwrap_or(u64::MAX));
                (end.checked_sub(1), low)
            }
        };
        let mut this = Self {
            postings,
            order: query.order,
            at: at.filter(|_| low < high),
            last,
            steps,
        };
        this.postings.sort_by_key(Posting::total);
        this.stop_behind_last();
        this
    }

    fn stop_behind_last(&mut self) {
        let last = self.last;
        self.at = self.at.filter(|at| match self.order {
            Order::OldestFirst => *at <= last,
            Order::NewestFirst => *at >= last,
        });
    }

    /// The next candidate; `None` where there is none any more, or the steps are used up: then `at` is what
    /// was not looked at.
    fn next(&mut self) -> Result<Option<u64>, LookupError> {
        while let Some(at) = self.at
            && let Some(steps) = self.steps.checked_sub(1)
        {
            self.steps = steps;
            // The first list that does not have it says what comes next.
            let mut found = Some(at);
            for posting in &mut self.postings {
                found = posting.seek(at, self.order)?;
                if found != Some(at) {
                    break;
                }
            }
            if found == Some(at) {
                self.at = match self.order {
                    Order::OldestFirst => at.checked_add(1),
                    Order::NewestFirst => at.checked_sub(1),
                };
                self.stop_behind_last();
                return Ok(Some(at));
            }
            self.at = found;
            self.stop_behind_last();
        }
        Ok(None)
    }

    /// `Query::after` for what was not looked at.
    fn rest(&self) -> Option<u64> {
        let at = self.at?;
        match self.order {
            Order::OldestFirst => at.checked_sub(1),
            Order::NewestFirst => at.checked_add(1),
        }
    }
}

impl Sources<'_> {
    /// The page that answers `query`, without its head's note. Proofs are those of `head`.
    pub(super) fn answer(
        &self,
        reader: &Reader,
        query: &Query,
        size: u64,
        head: Option<&Head>,
    ) -> Result<Page, LookupError> {
        let mut page = Page {
            hits: Vec::new(),
            next: None,
            size,
            head: None,
        };
        // The heads in the directory log say nothing that could be asked for.
        if size == 0 || (query.log == LogId::Directory && !query.admits_all()) {
            return Ok(page);
        }
        let mut entries = Entries::new(self.layout, self.index, query.log);
        let low = match query.from {
            Some(from) => entries.recorded_from(from, size)?,
            None => 0,
        };
        let high = match query.until {
            Some(until) => entries.recorded_from(until, size)?,
            None => size,
        };
        let postings = match query.effort {
            Effort::Index => reader.postings(&Asked::of(query))?,
            Effort::Entries => Vec::new(),
        };
        let steps = self.config.query_steps;
        let mut candidates = Candidates::new(query, postings, low, high, steps);
        let limit = query.limit.clamp(1, self.config.query_limit);
        let mut tiles = reader.tiles()?;
        while let Some(index) = candidates.next()? {
            let view = entries.view(index)?;
            if view.leaf() != tiles.leaf(index)? {
                return Err(LookupError::Untrue);
            }
            if !query.is_hit(&view) {
                continue;
            }
            if page.hits.len() == limit {
                // There is one more, so this is not the last page.
                page.next = page.hits.last().map(|hit| hit.view.index);
                break;
            }
            page.hits.push(Hit { view, proof: None });
        }
        if page.next.is_none() {
            page.next = candidates.rest();
        }
        if query.proofs == Proofs::With
            && let Some(head) = head
        {
            prove(
                &mut page,
                &mut Tree::of_head(tiles, &head.point),
                head.point.size,
            )?;
        }
        Ok(page)
    }

    /// How many entries the answer to `query` is about.
    pub(super) fn size(&self, query: &Query) -> u64 {
        let size = self.index.size(&query.log).unwrap_or(0);
        size.min(query.size.unwrap_or(u64::MAX))
    }
}

fn prove(page: &mut Page, tree: &mut Tree<Tiles>, covered: u64) -> Result<(), LookupError> {
    for hit in &mut page.hits {
        if hit.view.index < covered {
            hit.proof = Some(tree.inclusion(hit.view.index, &hit.view.leaf())?);
        }
    }
    Ok(())
}

/// Does `work` with a view of the index that covers the first `size` entries of `log`. An index that turns
/// out to be untrue is built anew, once.
pub(super) fn with_reader<T>(
    sources: &Sources<'_>,
    log: &LogId,
    size: u64,
    work: impl Fn(&Reader) -> Result<T, LookupError>,
) -> Result<T, AuditError> {
    let mut before: Option<LookupError> = None;
    loop {
        let reader = sources.lookup.reader(sources.index, log, size);
        let (done, reader) = match reader {
            Ok(reader) => (work(&reader), Some(reader)),
            Err(error) => (Err(error), None),
        };
        match done {
            Err(error) if error.blames_index() && before.is_none() => {
                sources.lookup.discard(reader.as_ref());
                before = Some(error);
            }
            other => return Ok(other?),
        }
    }
}
