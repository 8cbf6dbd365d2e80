//! Injected time: wall time for what is recorded, monotonic time for what is measured.
//!
//! Nothing in the workspace asks the operating system for the time except [`SystemClock`], so a
//! test moves time by hand and a replay sees the same instants. Wall time may step back;
//! monotonic time never does.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// A UTC instant in nanoseconds since the Unix epoch; the range is 1677 to 2262.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Self = Self(0);

    /// From nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// From whole seconds since the Unix epoch; saturates at the ends of the range.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(NANOS_PER_SECOND))
    }

    /// Nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(NANOS_PER_SECOND)
    }

    /// Whole milliseconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// This instant plus `span`; saturates at the end of the range.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)),
        )
    }

    /// This instant minus `span`; saturates at the start of the range.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)),
        )
    }

    /// Time since `earlier`, or zero if the clock stepped back.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Parses an RFC 3339 instant with any offset.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let parsed: jiff::Timestamp = text.parse().ok()?;
        i64::try_from(parsed.as_nanosecond()).ok().map(Self)
    }

    /// The UTC calendar date as (year, month, day).
    #[must_use]
    pub fn utc_date(self) -> (i16, u8, u8) {
        let date = self.civil().date();
        (
            date.year(),
            date.month().unsigned_abs(),
            date.day().unsigned_abs(),
        )
    }

    fn civil(self) -> jiff::civil::DateTime {
        // Every i64 of nanoseconds lies within jiff's range of years -9999 to 9999.
        jiff::Timestamp::from_nanosecond(i128::from(self.0))
            .map(|at| jiff::tz::Offset::UTC.to_datetime(at))
            .unwrap_or_default()
    }
}

/// RFC 3339 in UTC with nine fractional digits, so that text order is time order.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.civil();
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z",
            at.year(),
            at.month(),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            self.0.rem_euclid(NANOS_PER_SECOND),
        )
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A reading of a monotonic clock: nanoseconds since an origin that only its clock knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(u64);

impl Monotonic {
    /// From nanoseconds since the clock's origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's origin.
    #[must_use]
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// This reading plus `span`; saturates.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// Time since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Where time comes from.
#[async_trait]
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The wall time, UTC. It may step back.
    fn wall(&self) -> Timestamp;

    /// The monotonic time. It never steps back.
    fn monotonic(&self) -> Monotonic;

    /// Returns once [`Clock::monotonic`] has reached `at`. Cancel-safe.
    async fn sleep_until(&self, at: Monotonic);
}

/// A shared clock.
pub type SharedClock = Arc<dyn Clock>;

/// The operating system's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    origin: std::time::Instant,
}

impl SystemClock {
    /// A clock whose monotonic origin is now.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the system's clocks"
    )]
    pub fn new() -> Self {
        Self {
            origin: std::time::Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the system's clocks"
    )]
    fn wall(&self) -> Timestamp {
        match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => Timestamp::EPOCH.plus(since),
            Err(before) => Timestamp::EPOCH.minus(before.duration()),
        }
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    async fn sleep_until(&self, at: Monotonic) {
        let target = self.origin.checked_add(Duration::from_nanos(at.0));
        match target {
            Some(target) => tokio::time::sleep_until(target.into()).await,
            None => std::future::pending().await,
        }
    }
}

/// A clock that moves only when told to, for tests and simulations.
#[derive(Debug, Clone)]
pub struct ManualClock {
    now: tokio::sync::watch::Sender<(Timestamp, Monotonic)>,
}

impl ManualClock {
    /// A clock standing at `wall`, with monotonic time zero.
    #[must_use]
    pub fn at(wall: Timestamp) -> Self {
        Self {
            now: tokio::sync::watch::Sender::new((wall, Monotonic(0))),
        }
    }

    /// Moves both times forward.
    pub fn advance(&self, span: Duration) {
        self.now.send_modify(|(wall, monotonic)| {
            *wall = wall.plus(span);
            *monotonic = monotonic.plus(span);
        });
    }

    /// Steps the wall time alone, backwards too, as a time server may.
    pub fn step_wall(&self, to: Timestamp) {
        self.now.send_modify(|(wall, _)| *wall = to);
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn wall(&self) -> Timestamp {
        self.now.borrow().0
    }

    fn monotonic(&self) -> Monotonic {
        self.now.borrow().1
    }

    async fn sleep_until(&self, at: Monotonic) {
        let mut now = self.now.subscribe();
        // The sender lives in self, so the wait can only end by reaching the time.
        if now
            .wait_for(|(_, monotonic)| *monotonic >= at)
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_prints_so_that_text_order_is_time_order() {
        let early = Timestamp::from_nanos(1);
        let late = Timestamp::from_nanos(1_000_000_010);
        assert_eq!(early.to_string(), "1970-01-01T00:00:00.000000001Z");
        assert!(early.to_string() < late.to_string());
        assert_eq!(
            Timestamp::from_nanos(-1).to_string(),
            "1969-12-31T23:59:59.999999999Z"
        );
    }

    #[test]
    fn rfc3339_text_survives_a_round_trip() {
        let at = Timestamp::from_nanos(1_790_000_000_123_456_789);
        assert_eq!(Timestamp::parse_rfc3339(&at.to_string()), Some(at));
        assert_eq!(Timestamp::parse_rfc3339("yesterday"), None);
    }

    #[test]
    fn a_wall_clock_that_steps_back_yields_no_elapsed_time() {
        let clock = ManualClock::at(Timestamp::from_seconds(100));
        let before = clock.wall();
        clock.step_wall(Timestamp::from_seconds(50));
        assert_eq!(clock.wall().since(before), Duration::ZERO);
        assert_eq!(clock.monotonic(), Monotonic(0));
    }

    #[tokio::test]
    async fn a_sleeper_wakes_when_the_manual_clock_reaches_its_time() {
        let clock = ManualClock::at(Timestamp::EPOCH);
        let sleeper = clock.clone();
        let task = async move {
            sleeper.sleep_until(Monotonic::from_nanos(5)).await;
            sleeper.monotonic()
        };
        let (woke_at, ()) = tokio::join!(task, async {
            tokio::task::yield_now().await;
            clock.advance(Duration::from_nanos(4));
            tokio::task::yield_now().await;
            clock.advance(Duration::from_nanos(4));
        });
        assert_eq!(woke_at, Monotonic(8));
    }
}
