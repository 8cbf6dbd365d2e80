//! The transport-free Door: from a token and a peer to a request context.
//!
//! [`Door::admit`] is the one way in: it takes a rate token of the peer, has the access token
//! verified, the tenant resolved with its network rule, takes a rate token of the actor, and only
//! then yields a [`RequestContext`](eonpro_core::RequestContext) from which the tenant's scope can
//! be had. [`Problem`] is the one way out for errors: HTTP status, gRPC code, RFC 9457 body.
//!
//! ```
//! use eonpro_core::entropy::SeededEntropy;
//! use eonpro_core::id::RequestId;
//! use eonpro_core::port::KvError;
//! use eonpro_core::time::{ManualClock, Timestamp};
//! use eonpro_tower::Problem;
//!
//! let request = RequestId::fresh(&ManualClock::at(Timestamp::EPOCH), &SeededEntropy::new(1));
//! let problem = Problem::of(&KvError::Closed, request);
//! assert_eq!(problem.status(), 503);
//! assert!(problem.to_json().contains("\"title\":\"temporarily unavailable\""));
//! ```

mod door;
mod error;
mod problem;

pub use door::{Arrival, Door, DoorConfig, DoorParts};
pub use error::{DoorError, Refusal};
pub use problem::{GrpcCode, Problem};
