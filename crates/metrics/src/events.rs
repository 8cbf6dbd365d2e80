//! Events of metrics: none.
//!
//! Metrics listen to the events of others and measure; an alert that follows from a measurement is
//! announced by whoever evaluates the rule.
