//! Events of the logger: none.
//!
//! The logger listens to others. An event of its own would reach the logger again, through the hub
//! that feeds it, and a log that fails would announce its failure without end.
