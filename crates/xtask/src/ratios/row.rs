//! One comparison: what is declared of it, what was measured, and the verdict.
//!
//! A target is written as an issue writes it: ">= 3x" asks for the peer's time over ours, "<= 1.2x"
//! for our time over the peer's. A ratio is written in the same way, so that both compare.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which time is divided by which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// `>=`: peer over ours; more is better.
    Speedup,
    /// `<=`: ours over peer; less is better.
    Cost,
}

/// A multiple and the direction in which it is meant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ratio {
    direction: Direction,
    times: f64,
}

/// A row of `ratios.toml`.
#[derive(Debug, PartialEq)]
pub(crate) struct Declared {
    pub(crate) bench: String,
    pub(crate) name: String,
    /// The folders of the two measurements under criterion's home: `group/id`.
    pub(crate) ours: String,
    pub(crate) peer: String,
    unit: Unit,
    direction: Direction,
    target: Option<Ratio>,
}

/// A row of the result.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Measured {
    name: String,
    ours: f64,
    peer: f64,
    unit: &'static str,
    ratio: String,
    target: String,
    verdict: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Unit {
    Ns,
    Us,
    Ms,
    S,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    row: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    bench: String,
    name: String,
    ours: String,
    peer: String,
    unit: Unit,
    #[serde(default)]
    target: String,
}

/// Reads the declared rows; those of one bench stand together.
pub(crate) fn parse(text: &str) -> Result<Vec<Declared>, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut rows = file
        .row
        .into_iter()
        .map(declare)
        .collect::<Result<Vec<_>, String>>()?;
    rows.sort_by(|one, other| one.bench.cmp(&other.bench));
    Ok(rows)
}

fn declare(row: Row) -> Result<Declared, String> {
    let (direction, target) = parse_target(&row.target)
        .ok_or_else(|| format!("{:?}: {:?} is no target", row.name, row.target))?;
    Ok(Declared {
        bench: row.bench,
        name: row.name,
        ours: row.ours,
        peer: row.peer,
        unit: row.unit,
        direction,
        target,
    })
}

/// `">= 3x"`, `"<= 1.2x"`; a bare operator gives an untargeted row its direction, else it is a cost.
fn parse_target(text: &str) -> Option<(Direction, Option<Ratio>)> {
    let text = text.trim();
    if text.is_empty() {
        return Some((Direction::Cost, None));
    }
    let (direction, times) = match text.strip_prefix(">=") {
        Some(times) => (Direction::Speedup, times),
        None => (Direction::Cost, text.strip_prefix("<=")?),
    };
    if times.is_empty() {
        return Some((direction, None));
    }
    let times: f64 = times.trim().strip_suffix('x')?.parse().ok()?;
    if !times.is_finite() || times <= 0.0 {
        return None;
    }
    Some((direction, Some(Ratio { direction, times })))
}

impl Declared {
    /// The row's result, from both times in nanoseconds.
    pub(crate) fn measured(&self, ours: f64, peer: f64) -> Measured {
        let ratio = Ratio::of(self.direction, ours, peer);
        let verdict = match self.target {
            None => "untargeted",
            Some(target) if ratio.meets(target) => "met",
            Some(_) => "missed",
        };
        Measured {
            name: self.name.clone(),
            ours: self.unit.convert(ours),
            peer: self.unit.convert(peer),
            unit: self.unit.name(),
            ratio: ratio.to_string(),
            target: self
                .target
                .map(|target| target.to_string())
                .unwrap_or_default(),
            verdict,
        }
    }
}

impl Ratio {
    fn of(direction: Direction, ours: f64, peer: f64) -> Self {
        let times = match direction {
            Direction::Speedup => peer / ours,
            Direction::Cost => ours / peer,
        };
        Self { direction, times }
    }

    /// Judged by the exact ratio, not by the digits that are shown.
    fn meets(self, target: Self) -> bool {
        match target.direction {
            Direction::Speedup => self.times >= target.times,
            Direction::Cost => self.times <= target.times,
        }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = match self.direction {
            Direction::Speedup => ">=",
            Direction::Cost => "<=",
        };
        write!(f, "{operator} {}x", rounded(self.times))
    }
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Ns => "ns",
            Self::Us => "us",
            Self::Ms => "ms",
            Self::S => "s",
        }
    }

    fn convert(self, nanoseconds: f64) -> f64 {
        let divisor = match self {
            Self::Ns => 1.0,
            Self::Us => 1e3,
            Self::Ms => 1e6,
            Self::S => 1e9,
        };
        rounded(nanoseconds / divisor)
    }
}

/// Three decimals: more would be noise, fewer would hide a target such as 1.03x.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The rows as a JSON array.
pub(crate) fn json(rows: &[Measured]) -> String {
    serde_json::to_string_pretty(rows).unwrap_or_default() + "\n"
}

/// The rows as an aligned table.
pub(crate) fn table(rows: &[Measured]) -> String {
    let head = ["name", "ours", "peer", "unit", "ratio", "target", "verdict"];
    let mut lines = vec![head.map(str::to_owned)];
    for row in rows {
        lines.push([
            row.name.clone(),
            row.ours.to_string(),
            row.peer.to_string(),
            row.unit.to_owned(),
            row.ratio.clone(),
            row.target.clone(),
            row.verdict.to_owned(),
        ]);
    }
    let mut widths = [0; 7];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut table = String::new();
    for line in &lines {
        let cells = line.iter().zip(widths).enumerate();
        let cells: Vec<String> = cells
            .map(|(column, (cell, width))| match column {
                1 | 2 => format!("{cell:>width$}"),
                _ => format!("{cell:<width$}"),
            })
            .collect();
        table.push_str(cells.join("  ").trim_end());
        table.push('\n');
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(target: &str) -> Result<Declared, String> {
        let text = format!(
            "[[row]]\nbench = \"encryption\"\nname = \"field seal\"\nours = \"seal/field\"\n\
             peer = \"seal/ring\"\nunit = \"us\"\ntarget = \"{target}\"\n"
        );
        parse(&text)?.pop().ok_or_else(|| "no row".to_owned())
    }

    fn result(target: &str, ours: f64, peer: f64) -> (String, &'static str) {
        let measured = row(target).unwrap().measured(ours, peer);
        (measured.ratio, measured.verdict)
    }

    #[test]
    fn at_least_is_the_peers_time_over_ours() {
        assert_eq!(result(">= 3x", 100.0, 300.0), (">= 3x".to_owned(), "met"));
        assert_eq!(
            result(">= 3x", 100.0, 299.0),
            (">= 2.99x".to_owned(), "missed")
        );
        assert_eq!(
            result(">= 0.85x", 100.0, 90.0),
            (">= 0.9x".to_owned(), "met")
        );
    }

    #[test]
    fn at_most_is_our_time_over_the_peers() {
        assert_eq!(
            result("<= 1.2x", 120.0, 100.0),
            ("<= 1.2x".to_owned(), "met")
        );
        assert_eq!(
            result("<= 1.2x", 121.0, 100.0),
            ("<= 1.21x".to_owned(), "missed")
        );
    }

    #[test]
    fn rounding_does_not_change_the_verdict() {
        let (ratio, verdict) = result("<= 1.2x", 1_200_001.0, 1_000_000.0);
        assert_eq!((&*ratio, verdict), ("<= 1.2x", "missed"));
    }

    #[test]
    fn without_a_target_there_is_a_ratio_and_no_verdict() {
        assert_eq!(
            result("", 150.0, 100.0),
            ("<= 1.5x".to_owned(), "untargeted")
        );
        assert_eq!(
            result(">=", 50.0, 100.0),
            (">= 2x".to_owned(), "untargeted")
        );
        assert_eq!(row("").unwrap().measured(1.0, 1.0).target, "");
    }

    #[test]
    fn a_target_that_no_issue_would_write_is_refused() {
        for wrong in [
            "3x", "> 3x", ">= 3", "<= x", ">= -1x", "<= 0x", ">= infx", "= 1x",
        ] {
            assert!(row(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_unit_or_key_is_refused() {
        let text = "[[row]]\nbench = \"a\"\nname = \"b\"\nours = \"c\"\npeer = \"d\"\n";
        assert!(parse(&format!("{text}unit = \"ns\"\n")).is_ok());
        assert!(parse(&format!("{text}unit = \"MiB\"\n")).is_err());
        assert!(parse(&format!("{text}unit = \"ns\"\ngoal = \">= 1x\"\n")).is_err());
    }

    #[test]
    fn json_has_the_seven_keys_in_their_order() {
        let rows = [row("<= 2x").unwrap().measured(1500.0, 1000.0)];
        let expected = "[\n  {\n    \"name\": \"field seal\",\n    \"ours\": 1.5,\n    \
                        \"peer\": 1.0,\n    \"unit\": \"us\",\n    \"ratio\": \"<= 1.5x\",\n    \
                        \"target\": \"<= 2x\",\n    \"verdict\": \"met\"\n  }\n]\n";
        assert_eq!(json(&rows), expected);
    }

    #[test]
    fn the_table_is_aligned() {
        let rows = [row("<= 2x").unwrap().measured(1500.0, 1_000_000.0)];
        let table = table(&rows);
        let expected = "name        ours  peer  unit  ratio      target  verdict\n\
                        field seal   1.5  1000  us    <= 0.002x  <= 2x   met\n";
        assert_eq!(table, expected);
    }
}
