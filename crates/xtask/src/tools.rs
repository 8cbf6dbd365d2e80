//! Brings the servers and tools of the tests: Debian packages, and a Python environment of our own.
//!
//! The environment lies below the target directory, so that `cargo clean` takes it along and nothing
//! of the system's Python is touched. It says itself what was installed into it: when the table
//! changes, it is made anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{cargo, find_program, read, run, succeeds};
use crate::servers::{SERVERS, Server, Source};

/// What the tests read to find the tools.
pub(crate) const VARIABLE: &str = "EONPRO_TEST_TOOLS";

/// Debian's package for making environments; it brings Python itself.
const VENV_PACKAGE: &str = "python3-venv";

/// The folder of installed tools.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) folder: PathBuf,
}

impl Tools {
    /// The folder `test-tools` in the target directory that cargo uses for `root`.
    pub(crate) fn below_target(root: &Path) -> Result<Self, String> {
        let arguments = ["metadata", "--no-deps", "--format-version", "1"];
        let metadata = read(cargo(root).args(arguments))?;
        let metadata: serde_json::Value =
            serde_json::from_str(&metadata).map_err(|error| format!("cargo metadata: {error}"))?;
        let target = metadata
            .get("target_directory")
            .and_then(serde_json::Value::as_str)
            .ok_or_else(|| "cargo metadata names no target directory".to_owned())?;
        Ok(Self {
            folder: Path::new(target).join("test-tools"),
        })
    }

    fn environment(&self) -> PathBuf {
        self.folder.join("python")
    }

    /// Written last, when all packages are in.
    fn record(&self) -> PathBuf {
        self.environment().join("installed")
    }

    fn python(&self) -> PathBuf {
        self.environment().join("bin").join("python3")
    }

    /// Whether the environment holds what the table asks for.
    pub(crate) fn has_python(&self) -> bool {
        let record = fs::read_to_string(self.record());
        record.is_ok_and(|record| record == wanted(SERVERS)) && self.python().is_file()
    }

    /// Installs what of `missing` can be installed here. What could not is told, not an error: the
    /// tests that need it say so again.
    pub(crate) fn bring(&self, missing: &[Server]) {
        let packages = debian(missing);
        if !packages.is_empty() {
            tell(apt_install(&packages));
        }
        if missing.iter().any(is_python) {
            tell(self.make_environment());
        }
    }

    fn make_environment(&self) -> Result<(), String> {
        if !can_make_environments() {
            apt_install(&[VENV_PACKAGE])?;
        }
        let environment = self.environment();
        if environment.exists() {
            let named = |error| format!("{}: {error}", environment.display());
            fs::remove_dir_all(&environment).map_err(named)?;
        }
        run(Command::new("python3")
            .args(["-m", "venv"])
            .arg(&environment))?;
        let mut pip = Command::new(self.python());
        pip.args(["-m", "pip", "install", "--quiet", "--no-input"]);
        pip.arg("--disable-pip-version-check");
        run(pip.args(python(SERVERS)))?;
        let record = self.record();
        fs::write(&record, wanted(SERVERS))
            .map_err(|error| format!("{}: {error}", record.display()))
    }
}

fn tell(outcome: Result<(), String>) {
    if let Err(error) = outcome {
        println!("  {error}");
    }
}

/// Debian's Python comes without the module that puts pip into an environment.
fn can_make_environments() -> bool {
    succeeds(Command::new("python3").args(["-c", "import ensurepip, venv"]))
}

/// Installs Debian packages; with fresh lists if the ones at hand do not do.
fn apt_install(packages: &[&str]) -> Result<(), String> {
    if find_program("apt-get").is_none() {
        return Err(format!("no apt-get here; install {}", packages.join(" ")));
    }
    if read(Command::new("id").arg("-u"))?.trim() != "0" {
        return Err(format!("as root: apt-get install {}", packages.join(" ")));
    }
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        run(command.args(arguments))
    };
    let mut install = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
    install.extend(packages);
    if apt(&install).is_ok() {
        return Ok(());
    }
    apt(&["update", "--quiet"])?;
    apt(&install)
}

fn is_python(server: &Server) -> bool {
    matches!(server.source, Source::Python(_))
}

fn debian(servers: &[Server]) -> Vec<&'static str> {
    let packages = servers.iter().filter_map(|server| match server.source {
        Source::Debian { package, .. } => Some(package),
        Source::Python(_) => None,
    });
    packages.collect()
}

fn python(servers: &[Server]) -> Vec<&'static str> {
    let packages = servers.iter().filter_map(|server| match server.source {
        Source::Python(package) => Some(package),
        Source::Debian { .. } => None,
    });
    packages.collect()
}

/// The record of an environment with all Python packages of the table.
fn wanted(servers: &[Server]) -> String {
    let mut record = python(servers).join("\n");
    record.push('\n');
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: [Server; 3] = [
        Server {
            name: "moto",
            source: Source::Python("moto[server]==5.2.*"),
        },
        Server {
            name: "redis",
            source: Source::Debian {
                package: "redis-server",
                program: "redis-server",
            },
        },
        Server {
            name: "tink",
            source: Source::Python("tink==1.16.1"),
        },
    ];

    #[test]
    fn each_package_goes_to_its_own_installer() {
        assert_eq!(debian(&TABLE), ["redis-server"]);
        assert_eq!(python(&TABLE), ["moto[server]==5.2.*", "tink==1.16.1"]);
    }

    #[test]
    fn an_environment_from_another_table_does_not_count() {
        let folder = std::env::temp_dir().join(format!("eonpro-tools-{}", std::process::id()));
        let tools = Tools {
            folder: folder.clone(),
        };
        assert!(!tools.has_python());
        fs::create_dir_all(tools.environment().join("bin")).unwrap();
        fs::write(tools.python(), "").unwrap();
        assert!(!tools.has_python(), "stopped halfway");
        fs::write(tools.record(), "moto==4\n").unwrap();
        assert!(!tools.has_python(), "of another table");
        fs::write(tools.record(), wanted(SERVERS)).unwrap();
        assert!(tools.has_python());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_tools_lie_in_the_target_directory() {
        let root = crate::repo::root().unwrap();
        let tools = Tools::below_target(&root).unwrap();
        assert!(tools.folder.ends_with("test-tools"), "{tools:?}");
    }
}
