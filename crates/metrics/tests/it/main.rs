//! Metrics as their users see them, and as a scraper reads them.

#[cfg(test)]
mod bed;
#[cfg(test)]
mod concurrency;
#[cfg(test)]
mod format;
#[cfg(test)]
mod instruments;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod objectives;
#[cfg(test)]
mod operations;
#[cfg(test)]
mod process;
