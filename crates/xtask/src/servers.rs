//! The real servers and tools that tests run against, and which of them this run insists on.
//!
//! A missing one makes its tests end early with its name printed; a required one fails the run.

use crate::process;
use crate::tools::Tools;

/// One external program or library that tests use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) source: Source,
}

/// What brings it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A Debian package; it is there if the program is on the search path, or where an absolute path
    /// says.
    Debian {
        package: &'static str,
        program: &'static str,
    },
    /// A package from PyPI, as pip takes it, in the environment that all of them share.
    Python(&'static str),
}

impl Source {
    /// What a person would type to bring it.
    pub(crate) fn remedy(self) -> String {
        match self {
            Self::Debian { package, .. } => format!("apt-get install {package}"),
            Self::Python(_) => "cargo xtask install".to_owned(),
        }
    }
}

/// Every server and tool that a test of this repository needs.
pub(crate) const SERVERS: &[Server] = &[
    Server {
        name: "cryptography",
        source: Source::Python("cryptography>=50,<51"),
    },
    Server {
        name: "moto",
        source: Source::Python("moto[server]==5.2.*"),
    },
    Server {
        name: "node",
        source: Source::Debian {
            package: "nodejs",
            program: "node",
        },
    },
    Server {
        name: "openssl",
        source: Source::Debian {
            package: "openssl",
            program: "openssl",
        },
    },
    Server {
        name: "postgres",
        source: Source::Debian {
            package: "postgresql-15",
            // Debian keeps the server's programs off the search path.
            program: "/usr/lib/postgresql/15/bin/postgres",
        },
    },
    Server {
        name: "softhsm2",
        source: Source::Debian {
            package: "softhsm2",
            program: "softhsm2-util",
        },
    },
    Server {
        name: "strace",
        source: Source::Debian {
            package: "strace",
            program: "strace",
        },
    },
    Server {
        name: "tink",
        source: Source::Python("tink==1.16.1"),
    },
];

/// The variable that says which servers must be there: `all`, or names with commas between.
pub(crate) const REQUIRE: &str = "EONPRO_TEST_REQUIRE";

/// What `EONPRO_TEST_REQUIRE` names.
pub(crate) fn required() -> String {
    process::variable(REQUIRE).unwrap_or_default()
}

/// The servers that are not on this machine.
pub(crate) fn missing(tools: &Tools) -> Vec<Server> {
    let has_python = tools.has_python();
    let present = |server: &&Server| match server.source {
        Source::Debian { program, .. } => process::find_program(program).is_some(),
        Source::Python(_) => has_python,
    };
    SERVERS
        .iter()
        .filter(|server| !present(server))
        .copied()
        .collect()
}

/// Refuses requirements that no server of the table has, before anything is installed.
pub(crate) fn check_names(servers: &[Server], required: &str) -> Result<(), String> {
    let known = |name: &str| name == "all" || servers.iter().any(|server| server.name == name);
    match names(required).find(|name| !known(name)) {
        Some(unknown) => Err(format!("{REQUIRE}: no test needs a server named {unknown}")),
        None => Ok(()),
    }
}

/// Fails if a required server is among the missing.
pub(crate) fn check_required(missing: &[Server], required: &str) -> Result<(), String> {
    let fatal: Vec<String> = missing
        .iter()
        .filter(|server| names(required).any(|name| name == "all" || name == server.name))
        .map(|server| format!("{} ({})", server.name, server.source.remedy()))
        .collect();
    if fatal.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{REQUIRE}: required servers are missing: {}",
        fatal.join(", ")
    ))
}

fn names(required: &str) -> impl Iterator<Item = &str> {
    required
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REDIS: Server = Server {
        name: "redis",
        source: Source::Debian {
            package: "redis-server",
            program: "redis-server",
        },
    };
    const MOTO: Server = Server {
        name: "moto",
        source: Source::Python("moto"),
    };

    #[test]
    fn the_table_is_sorted_and_each_name_stands_once() {
        assert!(SERVERS.is_sorted_by(|one, next| one.name < next.name));
    }

    #[test]
    fn a_required_server_that_is_missing_fails_with_what_brings_it() {
        let error = check_required(&[REDIS, MOTO], "all").unwrap_err();
        let expected = "redis (apt-get install redis-server), moto (cargo xtask install)";
        assert!(error.ends_with(expected), "{error}");
        assert!(check_required(&[REDIS], "moto, redis").is_err());
    }

    #[test]
    fn a_missing_server_that_is_not_required_does_not_fail() {
        assert_eq!(check_required(&[REDIS], "moto"), Ok(()));
        assert_eq!(check_required(&[REDIS], ""), Ok(()));
        assert_eq!(check_required(&[], "all"), Ok(()));
    }

    #[test]
    fn a_requirement_that_nothing_meets_is_an_error() {
        assert!(check_names(&[REDIS], "reddis").is_err());
        assert_eq!(check_names(&[REDIS, MOTO], " redis,moto, "), Ok(()));
        assert_eq!(check_names(&[REDIS], "all"), Ok(()));
    }
}
