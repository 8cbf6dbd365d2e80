//! Speed against peers: criterion measures both in one process, and only the ratio is kept.
//!
//! Rows stand in `benches/ratios.toml`. A row that misses its target stays in the table as missed.

mod row;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::process::{cargo, run as run_command};
use crate::{Failure, repo};

use row::{Declared, Measured};

const ROWS: &str = "benches/ratios.toml";

/// Measures the rows of one bench, or of `all`, then prints them and writes them as JSON.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let [name] = arguments else {
        return Err(Failure::Usage("name one bench, or all".to_owned()));
    };
    let root = repo::root()?;
    let text = fs::read_to_string(root.join(ROWS)).map_err(|error| format!("{ROWS}: {error}"))?;
    let rows = row::parse(&text).map_err(|error| format!("{ROWS}: {error}"))?;
    let mut benches: Vec<&str> = rows.iter().map(|row| row.bench.as_str()).collect();
    benches.dedup();
    if name != "all" {
        if !benches.contains(&name.as_str()) {
            let known = benches.join(", ");
            return Err(Failure::Usage(format!(
                "no row for {name:?} in {ROWS}; there are: {known}"
            )));
        }
        benches = vec![name];
    }
    for bench in benches {
        let rows: Vec<&Declared> = rows.iter().filter(|row| row.bench == bench).collect();
        measure(&root, bench, &rows)?;
    }
    Ok(())
}

fn measure(root: &Path, bench: &str, rows: &[&Declared]) -> Result<(), String> {
    let folder = workspace(root, bench);
    let criterion = folder.join("target/criterion");
    for id in rows.iter().flat_map(|row| [&row.ours, &row.peer]) {
        // What an earlier run left must not pass for this one's result.
        drop(fs::remove_file(estimates(&criterion, id)));
    }
    let mut command = cargo(&folder);
    command
        .args(["bench", "--bench", bench])
        .env("CRITERION_HOME", &criterion);
    run_command(&mut command)?;

    let mut measured = Vec::new();
    for row in rows {
        let ours = nanoseconds(&criterion, &row.ours)?;
        let peer = nanoseconds(&criterion, &row.peer)?;
        measured.push(row.measured(ours, peer));
    }
    println!("\n{}", row::table(&measured));
    write(&root.join("target/ratios"), bench, &measured)
}

/// Where the bench is built. One whose peer is costly to build has a workspace to itself, of its own name.
fn workspace(root: &Path, bench: &str) -> PathBuf {
    let shared = root.join("benches");
    let own = shared.join(bench);
    if own.join("Cargo.toml").is_file() {
        own
    } else {
        shared
    }
}

fn estimates(criterion: &Path, id: &str) -> PathBuf {
    criterion.join(id).join("new/estimates.json")
}

/// The median time of one iteration.
fn nanoseconds(criterion: &Path, id: &str) -> Result<f64, String> {
    let path = estimates(criterion, id);
    let text = fs::read_to_string(&path)
        .map_err(|error| format!("criterion has no estimate of {id:?}: {error}"))?;
    median(&text).ok_or_else(|| format!("criterion's estimate of {id:?} has no median"))
}

fn median(estimates: &str) -> Option<f64> {
    let estimates: Value = serde_json::from_str(estimates).ok()?;
    estimates.get("median")?.get("point_estimate")?.as_f64()
}

fn write(folder: &Path, bench: &str, rows: &[Measured]) -> Result<(), String> {
    let path = folder.join(format!("{bench}.json"));
    let named = |error| format!("{}: {error}", path.display());
    fs::create_dir_all(folder).map_err(named)?;
    fs::write(&path, row::json(rows)).map_err(named)?;
    println!("written to target/ratios/{bench}.json");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_what_counts() {
        let estimates = r#"{"mean": {"point_estimate": 9.0},
            "median": {"confidence_interval": {}, "point_estimate": 7.5}, "slope": null}"#;
        assert_eq!(median(estimates), Some(7.5));
        assert_eq!(median("{}"), None);
    }

    #[test]
    fn the_declared_rows_can_be_read() {
        let text = fs::read_to_string(repo::root().unwrap().join(ROWS)).unwrap();
        assert!(row::parse(&text).is_ok(), "{:?}", row::parse(&text));
    }

    #[test]
    fn every_declared_bench_is_in_the_manifest_that_builds_it() {
        let root = repo::root().unwrap();
        let text = fs::read_to_string(root.join(ROWS)).unwrap();
        for row in row::parse(&text).unwrap() {
            let manifest = workspace(&root, &row.bench).join("Cargo.toml");
            let manifest: toml::Table = fs::read_to_string(manifest).unwrap().parse().unwrap();
            let benches = manifest["bench"].as_array().unwrap();
            let named = |bench: &toml::Value| bench["name"].as_str() == Some(&row.bench);
            assert!(benches.iter().any(named), "{}", row.bench);
        }
    }

    #[test]
    fn only_a_folder_with_a_manifest_is_a_workspace_of_its_own() {
        let root = repo::root().unwrap();
        assert_eq!(workspace(&root, "esdk"), root.join("benches/esdk"));
        assert_eq!(workspace(&root, "encryption"), root.join("benches"));
        assert_eq!(workspace(&root, "peers"), root.join("benches"));
    }

    #[test]
    fn a_bench_without_rows_is_a_usage_error() {
        let error = run(&["no-such-bench".to_owned()]);
        assert!(matches!(error, Err(Failure::Usage(_))));
        assert!(matches!(run(&[]), Err(Failure::Usage(_))));
    }
}
