//! How an error is shown outside: the one table from kinds to HTTP status and gRPC code.
//!
//! The body is RFC 9457 problem details made of the kind, the public message and the request id,
//! and of nothing else: whatever an error knows beyond these stays inside.

use std::fmt::Write as _;
use std::time::Duration;

use eonpro_core::id::RequestId;
use eonpro_core::{Classify, ErrorKind};

/// A gRPC status code, by its number in the gRPC specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum GrpcCode {
    /// 2.
    Unknown = 2,
    /// 3.
    InvalidArgument = 3,
    /// 4.
    DeadlineExceeded = 4,
    /// 5.
    NotFound = 5,
    /// 7.
    PermissionDenied = 7,
    /// 8.
    ResourceExhausted = 8,
    /// 10.
    Aborted = 10,
    /// 12.
    Unimplemented = 12,
    /// 13.
    Internal = 13,
    /// 14.
    Unavailable = 14,
    /// 16.
    Unauthenticated = 16,
}

/// The media type of [`Problem::to_json`].
const MEDIA_TYPE: &str = "application/problem+json";

/// An error as outsiders see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: u16,
    grpc: GrpcCode,
    kind: &'static str,
    title: &'static str,
    request: RequestId,
    retry_after: Option<Duration>,
}

impl Problem {
    /// How `error` of `request` is shown.
    #[must_use]
    pub fn of(error: &dyn Classify, request: RequestId) -> Self {
        let (status, grpc, kind) = row(error.kind());
        Self {
            status,
            grpc,
            kind,
            title: error.public_message(),
            request,
            retry_after: error.retry_after(),
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The gRPC code.
    #[must_use]
    pub fn grpc(&self) -> GrpcCode {
        self.grpc
    }

    /// The value of `Content-Type` for [`Self::to_json`].
    #[must_use]
    pub fn media_type(&self) -> &'static str {
        MEDIA_TYPE
    }

    /// What an end user may be told.
    #[must_use]
    pub fn title(&self) -> &'static str {
        self.title
    }

    /// The value of `Retry-After` in whole seconds, rounded up.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        self.retry_after
            .map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
    }

    /// The body (RFC 9457 section 3).
    #[must_use]
    pub fn to_json(&self) -> String {
        format!(
            r#"{{"type":"urn:eonpro:problem:{}","title":"{}","status":{},"instance":"urn:uuid:{}"}}"#,
            self.kind,
            escaped(self.title),
            self.status,
            self.request,
        )
    }
}

/// The table. What belongs to another tenant looks as if it did not exist; what is our own fault
/// does not tell which.
fn row(kind: ErrorKind) -> (u16, GrpcCode, &'static str) {
    match kind {
        ErrorKind::NotFound | ErrorKind::TenantMismatch => (404, GrpcCode::NotFound, "not-found"),
        ErrorKind::Conflict => (409, GrpcCode::Aborted, "conflict"),
        ErrorKind::InvalidInput => (400, GrpcCode::InvalidArgument, "invalid-input"),
        ErrorKind::Unauthenticated => (401, GrpcCode::Unauthenticated, "unauthenticated"),
        ErrorKind::PermissionDenied => (403, GrpcCode::PermissionDenied, "permission-denied"),
        ErrorKind::RateLimited => (429, GrpcCode::ResourceExhausted, "rate-limited"),
        ErrorKind::Timeout => (504, GrpcCode::DeadlineExceeded, "timeout"),
        ErrorKind::Unavailable => (503, GrpcCode::Unavailable, "unavailable"),
        ErrorKind::Unsupported => (501, GrpcCode::Unimplemented, "unsupported"),
        ErrorKind::Integrity | ErrorKind::Config | ErrorKind::Misuse | ErrorKind::Internal => {
            (500, GrpcCode::Internal, "internal")
        }
        _ => (500, GrpcCode::Unknown, "internal"),
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '"' | '\\' => {
                out.push('\\');
                out.push(letter);
            }
            control if control.is_control() => {
                let _infallible = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use eonpro_core::entropy::SeededEntropy;
    use eonpro_core::time::{ManualClock, Timestamp};

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("row 17 of table patients is locked")]
    struct Inner(ErrorKind);

    impl Classify for Inner {
        fn kind(&self) -> ErrorKind {
            self.0
        }

        fn retry_after(&self) -> Option<Duration> {
            Some(Duration::from_millis(1_001))
        }
    }

    fn problem(kind: ErrorKind) -> Problem {
        let request = RequestId::fresh(&ManualClock::at(Timestamp::EPOCH), &SeededEntropy::new(1));
        Problem::of(&Inner(kind), request)
    }

    #[test]
    fn a_problem_tells_the_kind_the_message_and_the_request_and_nothing_else() {
        let shown = problem(ErrorKind::Conflict);
        assert_eq!(
            shown.to_json(),
            format!(
                r#"{{"type":"urn:eonpro:problem:conflict","title":"changed by somebody else","status":409,"instance":"urn:uuid:{}"}}"#,
                shown.request
            )
        );
        assert_eq!(shown.retry_after(), Some(2));
        assert_eq!(shown.media_type(), "application/problem+json");
    }

    #[test]
    fn what_is_another_tenants_looks_exactly_like_what_does_not_exist() {
        assert_eq!(
            problem(ErrorKind::TenantMismatch),
            problem(ErrorKind::NotFound)
        );
        assert_eq!(problem(ErrorKind::NotFound).status(), 404);
    }

    #[test]
    fn a_damaged_record_looks_like_any_other_internal_error() {
        assert_eq!(problem(ErrorKind::Integrity), problem(ErrorKind::Internal));
        assert_eq!(problem(ErrorKind::Unavailable).status(), 503);
        assert_eq!(problem(ErrorKind::Unauthenticated).grpc() as u8, 16);
    }

    #[test]
    fn a_title_cannot_break_out_of_its_string() {
        assert_eq!(escaped("a\"b\\c\n"), "a\\\"b\\\\c\\u000a");
    }
}
