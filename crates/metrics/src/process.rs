//! Utilization and saturation of a process, from the texts of Linux' `/proc`.

/// One reading.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Process {
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_bytes: u64,
    pub(crate) virtual_bytes: u64,
    pub(crate) major_faults: u64,
    pub(crate) threads: u64,
    /// Seconds from the start of the system to that of the process.
    pub(crate) started_after_boot: f64,
}

/// What the kernel counts in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Units {
    pub(crate) ticks_per_second: u64,
    pub(crate) page_bytes: u64,
}

impl Process {
    /// Parses `/proc/<pid>/stat`, proc(5): the fields after the command, which stands in
    /// parentheses and may hold anything. The third field is the first after it.
    pub(crate) fn parse(stat: &str, units: Units) -> Option<Self> {
        let (_, after_command) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = after_command.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number.checked_sub(3)?)?.parse::<u64>().ok();
        let seconds = |ticks: u64| ticks as f64 / units.ticks_per_second.max(1) as f64;
        Some(Self {
            major_faults: field(12)?,
            cpu_seconds: seconds(field(14)?.checked_add(field(15)?)?),
            threads: field(20)?,
            started_after_boot: seconds(field(22)?),
            virtual_bytes: field(23)?,
            resident_bytes: field(24)?.checked_mul(units.page_bytes)?,
        })
    }
}

/// The soft limit of open files in `/proc/<pid>/limits`; `None` if there is no limit.
pub(crate) fn parse_max_fds(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// When the system started, in Unix seconds, from `/proc/stat`.
pub(crate) fn parse_boot_seconds(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNITS: Units = Units {
        ticks_per_second: 100,
        page_bytes: 4096,
    };

    #[test]
    fn a_command_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a) b) S 1 1 1 0 -1 0 0 0 7 0 150 50 0 0 20 0 9 0 1234 4096000 250 1 1";
        let expected = Process {
            cpu_seconds: 2.0,
            resident_bytes: 250 * 4096,
            virtual_bytes: 4_096_000,
            major_faults: 7,
            threads: 9,
            started_after_boot: 12.34,
        };
        assert_eq!(Process::parse(stat, UNITS), Some(expected));
    }

    #[test]
    fn a_text_that_is_cut_off_gives_no_reading() {
        let stat = "42 (a) S 1 1 1 0 -1 0 0 0 7 0 150 50 0 0 20 0 9 0 1234 4096000 250";
        assert!(Process::parse(stat, UNITS).is_some());
        for (end, _) in stat.char_indices().filter(|&(at, _)| at < stat.len() - 3) {
            let cut = stat.get(..end).unwrap();
            assert_eq!(Process::parse(cut, UNITS), None, "{cut:?}");
        }
    }

    #[test]
    fn the_soft_limit_of_open_files_is_read() {
        let limits =
            "Limit   Soft Limit   Hard Limit   Units\nMax open files   1024   4096   files\n";
        assert_eq!(parse_max_fds(limits), Some(1024));
        assert_eq!(
            parse_max_fds("Max open files   unlimited   unlimited   files"),
            None
        );
    }

    #[test]
    fn the_start_of_the_system_is_read() {
        assert_eq!(
            parse_boot_seconds("cpu  1 2 3\nbtime 1790000000\nctxt 5\n"),
            Some(1_790_000_000)
        );
        assert_eq!(parse_boot_seconds("cpu  1 2 3\n"), None);
    }
}
