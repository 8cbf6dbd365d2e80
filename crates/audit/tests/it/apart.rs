//! A store that is shared but for what the log keeps of itself: two logs that know the same patients.

use std::sync::Arc;

use eonpro_core::component::{Component, Health, Posture};
use eonpro_core::port::kv::{
    Change, Entry, Key, KvCapabilities, MemoryKeyValue, Partition, Transaction, Version, Versioned,
};
use eonpro_core::port::{KeyValue, KvError};
use eonpro_core::time::SystemClock;
use futures_util::stream::BoxStream;

#[derive(Debug)]
pub(crate) struct Apart {
    shared: Arc<dyn KeyValue>,
    own: MemoryKeyValue,
}

impl Apart {
    pub(crate) fn over(shared: Arc<dyn KeyValue>) -> Self {
        let own = MemoryKeyValue::new(Arc::new(SystemClock::new()));
        Self { shared, own }
    }

    fn of(&self, partition: &Partition) -> &dyn KeyValue {
        match *partition == Partition::system("audit") {
            true => &self.own,
            false => &*self.shared,
        }
    }
}

#[async_trait::async_trait]
impl Component for Apart {
    fn name(&self) -> &'static str {
        self.shared.name()
    }

    fn posture(&self) -> Posture {
        self.shared.posture()
    }

    async fn health(&self) -> Health {
        self.shared.health().await
    }

    async fn close(&self) {
        self.shared.close().await;
    }
}

#[async_trait::async_trait]
impl KeyValue for Apart {
    fn capabilities(&self) -> KvCapabilities {
        self.shared.capabilities()
    }

    async fn get(&self, partition: &Partition, key: &Key) -> Result<Option<Versioned>, KvError> {
        self.of(partition).get(partition, key).await
    }

    async fn scan(
        &self,
        partition: &Partition,
        prefix: &[u8],
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, KvError> {
        self.of(partition)
            .scan(partition, prefix, after, limit)
            .await
    }

    async fn commit(&self, partition: &Partition, tx: Transaction) -> Result<Version, KvError> {
        self.of(partition).commit(partition, tx).await
    }

    async fn watch(
        &self,
        partition: &Partition,
        prefix: &[u8],
    ) -> Result<BoxStream<'static, Change>, KvError> {
        self.of(partition).watch(partition, prefix).await
    }
}
