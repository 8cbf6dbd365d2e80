//! The real servers that tests run against, and which of them this run insists on.
//!
//! A missing server makes its tests ignored with the package named; a required one fails the run.

use crate::process;

/// One external program that tests start for themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    /// The Debian package that brings it.
    pub(crate) package: &'static str,
    pub(crate) binary: &'static str,
}

/// Every program that a test of this repository starts. All default backends are embedded.
pub(crate) const SERVERS: &[Server] = &[Server {
    name: "node",
    package: "nodejs",
    binary: "node",
}];

/// The variable that says which servers must be there: `all`, or names with commas between.
pub(crate) const REQUIRE: &str = "EONPRO_TEST_REQUIRE";

/// What a run with these requirements can expect.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outlook {
    /// No test needs a server.
    NoneNeeded,
    /// Nothing that is required is missing; these are, and their tests will be ignored.
    Ready { missing: Vec<Server> },
}

/// Looks for the servers on this machine.
pub(crate) fn look() -> Result<Outlook, String> {
    let require = process::variable(REQUIRE).unwrap_or_default();
    outlook(SERVERS, &require, |binary| {
        process::find_program(binary).is_some()
    })
}

fn outlook(
    servers: &[Server],
    require: &str,
    present: impl Fn(&str) -> bool,
) -> Result<Outlook, String> {
    let names: Vec<&str> = require
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    let known = |name: &str| name == "all" || servers.iter().any(|server| server.name == name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        return Err(format!("{REQUIRE}: no test needs a server named {unknown}"));
    }
    if servers.is_empty() {
        return Ok(Outlook::NoneNeeded);
    }
    let missing: Vec<Server> = servers
        .iter()
        .filter(|server| !present(server.binary))
        .copied()
        .collect();
    let required = |server: &&Server| {
        names
            .iter()
            .any(|name| *name == "all" || *name == server.name)
    };
    let fatal: Vec<&str> = missing
        .iter()
        .filter(required)
        .map(|server| server.package)
        .collect();
    if fatal.is_empty() {
        return Ok(Outlook::Ready { missing });
    }
    Err(format!(
        "{REQUIRE}: required servers are missing; apt-get install {}",
        fatal.join(" ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSTGRES: Server = Server {
        name: "postgres",
        package: "postgresql-15",
        binary: "postgres",
    };
    const REDIS: Server = Server {
        name: "redis",
        package: "redis-server",
        binary: "redis-server",
    };

    #[test]
    fn without_servers_in_the_table_all_is_satisfied() {
        assert_eq!(outlook(&[], "all", |_| false), Ok(Outlook::NoneNeeded));
        assert_eq!(outlook(&[], "", |_| false), Ok(Outlook::NoneNeeded));
    }

    #[test]
    fn a_required_server_that_is_missing_fails_by_its_package() {
        let present = |binary: &str| binary == "redis-server";
        let error = outlook(&[POSTGRES, REDIS], "all", present).unwrap_err();
        assert!(error.ends_with("apt-get install postgresql-15"), "{error}");
        assert!(outlook(&[POSTGRES, REDIS], "redis, postgres", present).is_err());
    }

    #[test]
    fn a_missing_server_that_is_not_required_is_only_told() {
        let outlook = outlook(&[POSTGRES, REDIS], "redis", |binary| {
            binary == "redis-server"
        });
        let missing = vec![POSTGRES];
        assert_eq!(outlook, Ok(Outlook::Ready { missing }));
    }

    #[test]
    fn a_requirement_that_nothing_meets_is_an_error() {
        assert!(outlook(&[REDIS], "reddis", |_| true).is_err());
    }
}
