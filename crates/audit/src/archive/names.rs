//! The names of objects below an archive's prefix.

/// The folder of the manifest's pages.
pub(super) const MANIFEST: &str = "manifest";
/// Names the format, and shows at every start that what is there is not written over.
pub(super) const FORMAT: &str = "archive";
/// The folder of a log's checkpoints, below its origin.
pub(super) const CHECKPOINTS: &str = "checkpoints";
/// A log's last checkpoint where it is published, below its origin.
pub(super) const CHECKPOINT: &str = "checkpoint";

/// Why a replica stopped: below its own prefix.
pub(super) const EVIDENCE: &str = "evidence";

/// The checkpoint of a log at `size`, below its origin: in the order of names, the largest is the last.
pub(super) fn checkpoint(size: u64) -> String {
    format!("{CHECKPOINTS}/{size:020}")
}

/// Page `number` of the manifest.
pub(super) fn page(number: u64) -> String {
    format!("{MANIFEST}/{number:020}")
}

/// The number in the last part of such a name.
pub(super) fn number(name: &str) -> Option<u64> {
    let plain = name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| name.parse().ok()).flatten()
}
