//! Where lines go: a bounded queue, its writer's thread, and the sinks.

mod console;
mod daily_file;
mod queue;
mod sink;
mod writer;

pub use console::Console;
pub use daily_file::DailyFile;
pub(crate) use queue::Queue;
pub use sink::{LogLine, LogSink};
