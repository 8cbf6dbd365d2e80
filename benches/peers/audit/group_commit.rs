//! A hand-written group commit without any evidence: a thread takes what is queued, writes it at once,
//! syncs it, and wakes its callers. No hash, no chain, no tree, no index, no repeats, no signatures.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::house::{CALLERS, EACH};
use crate::raw;

type Waiting = (Vec<u8>, oneshot::Sender<()>);

pub(crate) struct GroupCommit {
    queue: Option<Sender<Waiting>>,
    writer: Option<JoinHandle<()>>,
}

impl GroupCommit {
    pub(crate) fn open(path: &Path) -> Self {
        let (queue, queued) = crossbeam_channel::unbounded();
        let file = raw::preallocated(path, 256 << 20);
        let writer = std::thread::spawn(move || write_all(file, &queued));
        Self {
            queue: Some(queue),
            writer: Some(writer),
        }
    }

    /// As the log is called: the same tasks, the same bytes of JSON made by each of them.
    pub(crate) fn append(&self, runtime: &Runtime, entry: &raw::Entry) {
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                let (queue, entry) = (self.queue.clone().unwrap(), entry.clone());
                runtime.spawn(async move {
                    for _ in 0..EACH {
                        let (done, durable) = oneshot::channel();
                        let bytes = serde_json::to_vec(&entry).unwrap();
                        queue.send((bytes, done)).unwrap();
                        durable.await.unwrap();
                    }
                })
            })
            .collect();
        runtime.block_on(async {
            for caller in callers {
                caller.await.unwrap();
            }
        });
    }
}

impl Drop for GroupCommit {
    fn drop(&mut self) {
        self.queue = None;
        self.writer.take().unwrap().join().unwrap();
    }
}

fn write_all(mut file: File, queued: &Receiver<Waiting>) {
    let (mut bytes, mut callers) = (Vec::new(), Vec::new());
    while let Ok(first) = queued.recv() {
        bytes.clear();
        for (entry, done) in std::iter::once(first).chain(queued.try_iter()) {
            bytes.extend_from_slice(&u32::try_from(entry.len()).unwrap().to_le_bytes());
            bytes.extend_from_slice(&entry);
            callers.push(done);
        }
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
        for done in callers.drain(..) {
            done.send(()).unwrap();
        }
    }
}
