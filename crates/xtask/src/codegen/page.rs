//! The catalogue as a page for people: a table for each group, and which events serve which clause.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::catalogue::{Ack, Catalogue, Event, Field, Framework, Group};

const INTRODUCTION: &str = include_str!("page.md");

pub(super) fn render(catalogue: &Catalogue) -> String {
    let mut out = INTRODUCTION.to_owned();
    for group in &catalogue.groups {
        table(&mut out, catalogue, group);
    }
    out.push_str("\n## Clauses and the events that serve them\n");
    for framework in Framework::ALL {
        index(&mut out, catalogue, framework);
    }
    out.push_str("\n## Reserved codes\n\nTaken, but not yet in use: ");
    out.push_str(&catalogue.reserved.join(", "));
    out.push_str(".\n");
    out
}

fn table(out: &mut String, catalogue: &Catalogue, group: &Group) {
    let (number, prefix, title) = (group.number, &group.prefix, &group.title);
    line(out, &format!("\n## {number}. {prefix}: {title}\n"));
    line(
        out,
        "| code | name | severity | action | ack | fields | standards | clauses |",
    );
    line(out, "|---|---|---|---|---|---|---|---|");
    for event in catalogue.events_of(group) {
        line(out, &row(event));
    }
}

fn row(event: &Event) -> String {
    let ack = match event.ack {
        Ack::FailClosed => "fail closed",
        Ack::Spool => "spool",
    };
    let fields: Vec<String> = event.fields.iter().map(cell).collect();
    let standards = &event.standards;
    format!(
        "| {} | `{}`<br>{} | {} | {} | {ack} | {} | DICOM {}<br>OCSF {}<br>FHIR {} | {} |",
        event.code,
        event.name,
        event.says,
        lower(event.severity),
        lower(event.action),
        fields.join("<br>"),
        standards.dicom,
        standards.ocsf,
        standards.fhir,
        clauses(event),
    )
}

fn cell(field: &Field) -> String {
    let absent = if field.required { "" } else { "?" };
    format!("`{}`: {}{absent}", field.name, lower(field.kind))
}

fn clauses(event: &Event) -> String {
    let frameworks = Framework::ALL.iter().filter_map(|framework| {
        let numbers: Vec<&str> = numbers(event, *framework).collect();
        (!numbers.is_empty()).then(|| format!("{}: {}", framework.letter(), numbers.join(", ")))
    });
    frameworks.collect::<Vec<_>>().join("; ")
}

fn index(out: &mut String, catalogue: &Catalogue, framework: Framework) {
    let mut served: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for event in &catalogue.events {
        for number in numbers(event, framework) {
            served.entry(number).or_default().push(&event.code);
        }
    }
    line(
        out,
        &format!(
            "\n### {}\n\n| clause | events |\n|---|---|",
            framework.title()
        ),
    );
    for (number, events) in served {
        line(out, &format!("| {number} | {} |", events.join(", ")));
    }
}

fn numbers(event: &Event, framework: Framework) -> impl Iterator<Item = &str> {
    let clauses = event.clauses.iter();
    clauses.filter_map(move |clause| framework.number(clause))
}

fn lower(variant: impl std::fmt::Debug) -> String {
    format!("{variant:?}").to_lowercase()
}

fn line(out: &mut String, text: &str) {
    // Writing into a string cannot fail.
    let _infallible = writeln!(out, "{text}");
}
