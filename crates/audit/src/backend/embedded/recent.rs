//! The receipts of the most recent events, so that a repeat is answered and not written again.

use std::collections::{HashMap, VecDeque};

use eonpro_core::id::EventId;

use crate::service::Receipt;

/// A bounded memory: the oldest event is forgotten first.
#[derive(Debug)]
pub(super) struct Recent {
    receipts: HashMap<EventId, Receipt>,
    order: VecDeque<EventId>,
    limit: usize,
}

impl Recent {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            receipts: HashMap::new(),
            order: VecDeque::new(),
            limit,
        }
    }

    pub(super) fn get(&self, event: EventId) -> Option<Receipt> {
        self.receipts.get(&event).copied()
    }

    pub(super) fn insert(&mut self, event: EventId, receipt: Receipt) {
        if self.receipts.insert(event, receipt).is_none() {
            self.order.push_back(event);
        }
        while self.order.len() > self.limit {
            if let Some(oldest) = self.order.pop_front() {
                self.receipts.remove(&oldest);
            }
        }
    }
}
