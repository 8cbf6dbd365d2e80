//! What services need of each other and of the outside, as small traits.
//!
//! Services never import each other. Each port here is implemented once per backend or by one
//! service, and handed to the others by the facade.

mod alert;
pub mod kv;
mod limiter;
mod observer;
mod rotation;
mod sealer;
mod signer;

pub use alert::{Alert, AlertError, AlertSink};
pub use kv::{KeyValue, KvError};
pub use limiter::{LimitError, LimitKey, Rate, RateDecision, RateLimiter};
pub use observer::{NoObserver, Observer, Operation, Timer, Verdict};
pub use rotation::{
    Checkpoint, Counted, Cursor, Fence, JobName, MAX_ROTATION_BATCH, MAX_ROTATION_PROGRESS,
    Replaced, Replacement, RotationCell, RotationError, RotationRow, RotationSource,
};
pub use sealer::{DataKey, DestroyedScope, KeyPurpose, SealError, SealScope, Sealer, WrappedKey};
pub use signer::{SignError, Signer};
