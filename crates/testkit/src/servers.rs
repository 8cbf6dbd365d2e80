//! Real servers and modules that tests run against: there, or named by the package that brings them.

/// The variable that says which servers must be there: `all`, or names with commas between.
const REQUIRE: &str = "EONPRO_TEST_REQUIRE";

/// Hands on what was `found`. Without it the test is to return at once: `None`, after a line that
/// names the Debian `package`, unless the environment requires the server `name`.
///
/// # Panics
/// If the server is required and missing.
#[must_use]
#[expect(
    clippy::panic,
    reason = "a required server that is missing fails the test"
)]
#[expect(clippy::print_stderr, reason = "told to whoever runs the tests")]
pub fn require<T>(found: Option<T>, name: &str, package: &str) -> Option<T> {
    if found.is_none() {
        if is_required(&required(), name) {
            panic!("{REQUIRE}: {name} is missing; apt-get install {package}");
        }
        eprintln!("ignored: {name} is missing; apt-get install {package}");
    }
    found
}

#[expect(clippy::disallowed_methods, reason = "a test's own switch")]
fn required() -> String {
    std::env::var(REQUIRE).unwrap_or_default()
}

fn is_required(list: &str, name: &str) -> bool {
    list.split(',')
        .map(str::trim)
        .any(|entry| entry == "all" || entry == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_required_by_its_name_or_by_all() {
        for list in ["all", "softhsm2", "redis, softhsm2", "redis,all"] {
            assert!(is_required(list, "softhsm2"), "{list}");
        }
        for list in ["", "redis", "softhsm", "softhsm2x"] {
            assert!(!is_required(list, "softhsm2"), "{list}");
        }
    }

    #[test]
    fn what_was_found_is_handed_on() {
        assert_eq!(require(Some(7), "anything", "package"), Some(7));
    }
}
