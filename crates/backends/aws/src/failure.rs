//! What went wrong with a call, told by operation, code and request id only.
//!
//! The SDK's own errors hold the whole answer, and messages of KMS may repeat what was sent: neither
//! goes further than here. The request id finds the rest in CloudTrail.

use std::fmt;
use std::time::Duration;

use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::operation::RequestId;
use eonpro_core::error::Source;
use eonpro_encryption::CryptoError;

/// The quotas of KMS count calls a second.
const THROTTLE_PAUSE: Duration = Duration::from_secs(1);

/// The longest code or request id that is repeated.
const MAX_WORD: usize = 64;

/// A call to KMS that failed.
#[derive(Debug)]
pub struct KmsFailure {
    operation: &'static str,
    cause: Cause,
    request_id: Option<String>,
    source: Option<Source>,
}

#[derive(Debug, PartialEq, Eq)]
enum Cause {
    /// KMS answered with this code.
    Refused(String),
    /// No answer in time.
    Timeout,
    /// The call could not be sent, or the connection broke.
    Unreachable,
    /// An answer that is none.
    Garbled,
    /// The call could not be built, or there were no credentials.
    Unsent,
    /// Too many other calls were under way for too long.
    Crowded,
    /// The answer is fine, but not what we allow.
    Rule(&'static str),
    /// The root was closed.
    Closed,
}

/// What KMS thinks of the key, or of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The ciphertext is not of this key and context.
    Mismatch,
    /// The key is disabled.
    Disabled,
    /// The key is in a state in which it cannot be used: about to be destroyed.
    Ending,
    /// The key cannot be reached just now.
    Unavailable,
    /// There is no such key.
    Missing,
    /// We may not.
    Denied,
    /// Too many calls.
    Throttled,
    /// Anything else.
    Other,
}

impl KmsFailure {
    /// The operation of KMS that was called, such as `Decrypt`.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// The code that KMS answered with, such as `AccessDeniedException`; `None` if it did not answer.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match &self.cause {
            Cause::Refused(code) => Some(code),
            _ => None,
        }
    }

    /// The id of the request, under which CloudTrail has the details.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// What `error` of `operation` tells, without what was sent or answered.
    pub(crate) fn of<E>(operation: &'static str, error: SdkError<E>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let request_id = error.request_id().and_then(word);
        let (cause, source) = match error {
            SdkError::ServiceError(refused) => {
                let code = refused.err().code().and_then(word);
                (Cause::Refused(code.unwrap_or_default()), None)
            }
            SdkError::TimeoutError(_) => (Cause::Timeout, None),
            SdkError::ResponseError(_) => (Cause::Garbled, None),
            SdkError::DispatchFailure(ref failure) => {
                let cause = if failure.is_timeout() {
                    Cause::Timeout
                } else if failure.is_io() {
                    Cause::Unreachable
                } else {
                    Cause::Unsent
                };
                // A connector knows of addresses and system calls, and of credentials that are not
                // there; of nothing that was sent.
                (cause, error.into_source().ok())
            }
            _ => (Cause::Unsent, None),
        };
        Self {
            operation,
            cause,
            request_id,
            source,
        }
    }

    pub(crate) fn crowded(operation: &'static str) -> Self {
        Self::without_call(operation, Cause::Crowded)
    }

    pub(crate) fn closed(operation: &'static str) -> Self {
        Self::without_call(operation, Cause::Closed)
    }

    /// KMS answered, but not with what belongs to `operation`.
    pub(crate) fn garbled(operation: &'static str) -> Self {
        Self::without_call(operation, Cause::Garbled)
    }

    /// KMS answered well, and `what` is against our own rules.
    pub(crate) fn rule(operation: &'static str, what: &'static str) -> Self {
        Self::without_call(operation, Cause::Rule(what))
    }

    fn without_call(operation: &'static str, cause: Cause) -> Self {
        Self {
            operation,
            cause,
            request_id: None,
            source: None,
        }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let Some(code) = self.code() else {
            return Verdict::Other;
        };
        match code {
            "InvalidCiphertextException" | "IncorrectKeyException" => Verdict::Mismatch,
            "DisabledException" => Verdict::Disabled,
            "KMSInvalidStateException" => Verdict::Ending,
            "KeyUnavailableException" => Verdict::Unavailable,
            "NotFoundException" => Verdict::Missing,
            "AccessDeniedException" => Verdict::Denied,
            "ThrottlingException"
            | "Throttling"
            | "LimitExceededException"
            | "RequestLimitExceeded"
            | "TooManyRequestsException" => Verdict::Throttled,
            _ => Verdict::Other,
        }
    }

    /// As an error of the root key.
    ///
    /// A denial is a failure of the backend and not [`CryptoError::RootMismatch`]: it says that a
    /// policy does not let us, nothing about the wrapped key, and an administrator may mend it while
    /// we run.
    pub(crate) fn of_root(self) -> CryptoError {
        if self.cause == Cause::Closed {
            return CryptoError::Closed;
        }
        match self.verdict() {
            Verdict::Mismatch => CryptoError::RootMismatch,
            Verdict::Disabled | Verdict::Ending | Verdict::Unavailable => CryptoError::RootDisabled,
            Verdict::Throttled => CryptoError::Throttled {
                retry_after: THROTTLE_PAUSE,
            },
            Verdict::Missing | Verdict::Denied | Verdict::Other => {
                CryptoError::Root(Box::new(self))
            }
        }
    }

    /// As an error of an epoch key: only a key that is about to be destroyed or not there is gone; one
    /// that is merely disabled, that we may not use or cannot reach, is not.
    pub(crate) fn of_epoch(self) -> CryptoError {
        match self.verdict() {
            Verdict::Ending | Verdict::Missing => CryptoError::EpochGone,
            _ => self.of_root(),
        }
    }
}

impl fmt::Display for KmsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of KMS ", self.operation)?;
        match &self.cause {
            Cause::Refused(code) if code.is_empty() => f.write_str("was refused without a code"),
            Cause::Refused(code) => write!(f, "was refused with {code}"),
            Cause::Timeout => f.write_str("was not answered in time"),
            Cause::Unreachable => f.write_str("did not reach it"),
            Cause::Garbled => f.write_str("got an answer that is none"),
            Cause::Unsent => f.write_str("could not be sent"),
            Cause::Crowded => f.write_str("had to wait too long for its turn"),
            Cause::Rule(what) => f.write_str(what),
            Cause::Closed => f.write_str("came after the close"),
        }?;
        match &self.request_id {
            Some(id) => write!(f, ", request {id}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for KmsFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source: &(dyn std::error::Error + 'static) = self.source.as_deref()?;
        Some(source)
    }
}

/// `text` if it is a code or an id and not a message: a stranger may have written the answer.
fn word(text: &str) -> Option<String> {
    let fits = (1..=MAX_WORD).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str) -> KmsFailure {
        KmsFailure::without_call("Decrypt", Cause::Refused(code.to_owned()))
    }

    #[test]
    fn each_code_becomes_the_error_that_its_reader_can_act_on() {
        type Expected = fn(&CryptoError) -> bool;
        let mismatch: Expected = |error| matches!(error, CryptoError::RootMismatch);
        let disabled: Expected = |error| matches!(error, CryptoError::RootDisabled);
        let throttled: Expected = |error| matches!(error, CryptoError::Throttled { .. });
        let failed: Expected = |error| matches!(error, CryptoError::Root(_));
        let gone: Expected = |error| matches!(error, CryptoError::EpochGone);
        for (code, of_root, of_epoch) in [
            ("InvalidCiphertextException", mismatch, mismatch),
            ("IncorrectKeyException", mismatch, mismatch),
            ("DisabledException", disabled, disabled),
            ("KMSInvalidStateException", disabled, gone),
            ("KeyUnavailableException", disabled, disabled),
            ("ThrottlingException", throttled, throttled),
            ("LimitExceededException", throttled, throttled),
            ("NotFoundException", failed, gone),
            ("AccessDeniedException", failed, failed),
            ("ExpiredTokenException", failed, failed),
            ("KMSInternalException", failed, failed),
            ("", failed, failed),
        ] {
            let root = refused(code).of_root();
            assert!(of_root(&root), "{code}: {root:?}");
            let epoch = refused(code).of_epoch();
            assert!(of_epoch(&epoch), "{code}: {epoch:?}");
        }
    }

    #[test]
    fn a_timeout_says_nothing_about_the_key() {
        let timeout = || KmsFailure::without_call("Decrypt", Cause::Timeout);
        assert!(matches!(timeout().of_root(), CryptoError::Root(_)));
        assert!(matches!(timeout().of_epoch(), CryptoError::Root(_)));
        assert!(matches!(
            KmsFailure::closed("Decrypt").of_epoch(),
            CryptoError::Closed
        ));
    }

    #[test]
    fn a_code_that_is_a_message_is_not_repeated() {
        assert_eq!(
            word("ThrottlingException").as_deref(),
            Some("ThrottlingException")
        );
        for message in ["", "User: x", "a\nb", "a.b", &"a".repeat(65)] {
            assert_eq!(word(message), None, "{message}");
        }
    }
}
