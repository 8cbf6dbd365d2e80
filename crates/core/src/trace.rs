//! W3C trace context: which distributed operation a request belongs to.
//!
//! Format: W3C Trace Context, `traceparent` version 00.

use std::fmt;

use crate::entropy::Entropy;

/// The trace and span that a request belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace: [u8; 16],
    span: [u8; 8],
    sampled: bool,
}

impl TraceContext {
    /// A new root trace. Neither id is all zeros, as W3C Trace Context requires.
    #[must_use]
    pub fn root(entropy: &dyn Entropy) -> Self {
        let mut trace = [0; 16];
        let mut span = [0; 8];
        entropy.fill(&mut trace);
        entropy.fill(&mut span);
        if trace == [0; 16] {
            trace = [1; 16];
        }
        if span == [0; 8] {
            span = [1; 8];
        }
        Self {
            trace,
            span,
            sampled: true,
        }
    }

    /// Parses a `traceparent` header; `None` if it is not well formed.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if version.len() != 2 || version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let [_] = hex::<1>(version)?;
        let trace = hex::<16>(trace)?;
        let span = hex::<8>(span)?;
        let [flags] = hex::<1>(flags)?;
        if trace == [0; 16] || span == [0; 8] {
            return None;
        }
        Some(Self {
            trace,
            span,
            sampled: flags & 1 == 1,
        })
    }

    /// The same trace with a new span, for a call to another system.
    #[must_use]
    pub fn child(self, entropy: &dyn Entropy) -> Self {
        Self {
            trace: self.trace,
            sampled: self.sampled,
            ..Self::root(entropy)
        }
    }

    /// 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> impl fmt::Display {
        Hex(self.trace)
    }

    /// 16 hexadecimal digits.
    #[must_use]
    pub fn span_id(&self) -> impl fmt::Display {
        Hex(self.span)
    }

    /// Whether the caller records this trace.
    #[must_use]
    pub fn sampled(&self) -> bool {
        self.sampled
    }
}

struct Hex<const N: usize>([u8; N]);

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The `traceparent` header.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{}-{}-{:02x}",
            self.trace_id(),
            self.span_id(),
            u8::from(self.sampled)
        )
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// W3C Trace Context allows lowercase digits only.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    if text.len() != 2 * N
        || text
            .bytes()
            .any(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    {
        return None;
    }
    for (to, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *to = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    #[test]
    fn a_traceparent_survives_a_round_trip() {
        let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(
            TraceContext::parse(header)
                .map(|at| at.to_string())
                .as_deref(),
            Some(header)
        );
    }

    #[test]
    fn malformed_headers_are_refused() {
        for header in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
        ] {
            assert_eq!(TraceContext::parse(header), None, "{header}");
        }
    }

    #[test]
    fn a_child_keeps_the_trace_and_changes_the_span() {
        let entropy = SeededEntropy::new(1);
        let root = TraceContext::root(&entropy);
        let child = root.child(&entropy);
        assert_eq!(root.trace_id().to_string(), child.trace_id().to_string());
        assert_ne!(root.span_id().to_string(), child.span_id().to_string());
    }
}
