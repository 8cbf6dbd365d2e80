//! A store that lets others go on in the middle of a read, so that what races meets.

use std::sync::Arc;

use eonpro_core::component::{Component, Health, Posture};
use eonpro_core::port::kv::{
    Change, Entry, Key, KvCapabilities, MemoryKeyValue, Partition, Transaction, Version, Versioned,
};
use eonpro_core::port::{KeyValue, KvError};
use futures_util::stream::BoxStream;
use tokio::task::yield_now;

#[derive(Debug)]
pub(crate) struct Yielding(pub(crate) Arc<MemoryKeyValue>);

#[async_trait::async_trait]
impl Component for Yielding {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn posture(&self) -> Posture {
        self.0.posture()
    }

    async fn health(&self) -> Health {
        self.0.health().await
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

#[async_trait::async_trait]
impl KeyValue for Yielding {
    fn capabilities(&self) -> KvCapabilities {
        self.0.capabilities()
    }

    async fn get(&self, partition: &Partition, key: &Key) -> Result<Option<Versioned>, KvError> {
        let found = self.0.get(partition, key).await;
        yield_now().await;
        found
    }

    async fn scan(
        &self,
        partition: &Partition,
        prefix: &[u8],
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, KvError> {
        self.0.scan(partition, prefix, after, limit).await
    }

    async fn commit(&self, partition: &Partition, tx: Transaction) -> Result<Version, KvError> {
        yield_now().await;
        self.0.commit(partition, tx).await
    }

    async fn watch(
        &self,
        partition: &Partition,
        prefix: &[u8],
    ) -> Result<BoxStream<'static, Change>, KvError> {
        self.0.watch(partition, prefix).await
    }
}
