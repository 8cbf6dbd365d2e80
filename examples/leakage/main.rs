//! What each kind of blind index gives away: the frequency attack, run on synthetic people.
//!
//! `cargo run --release --example leakage`. It makes a clinic with 20,000 people who never lived, has
//! the vault compute their index tokens, and gives the tokens to a thief who knows, from another 20,000
//! people of the same country, how often each value occurs. Printed is how many rows the thief names
//! right. `docs/search.md` explains the columns.

mod people;

use std::io::Write as _;
use std::process::ExitCode;

use eonpro::Foundation;
use eonpro::auth::NewToken;
use eonpro::core::event::Code;
use eonpro::core::id::ActorId;
use eonpro::core::phi::{IndexDef, PhiRecord as _};
use eonpro::core::purpose::PurposeOfUse;
use eonpro::encryption::{Auxiliary, IndexPlanner, LeakageReport, TenantCipher, Verdict};
use eonpro::tenant::{IdempotencyKey, NewTenant, TenantSlug};

use crate::people::{Country, Person, Record};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How many people the clinic has, and how many the thief has seen elsewhere.
const PEOPLE: usize = 20_000;

#[tokio::main]
async fn main() -> ExitCode {
    match run(PEOPLE).await {
        Ok(text) if std::io::stdout().write_all(text.as_bytes()).is_ok() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(failure) => {
            let _told = writeln!(std::io::stderr(), "leakage: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(people: usize) -> Result<String, Failure> {
    let mut text = String::from(
        "| Index | Rule | Bits | Tokens | Largest | Min-entropy | Recovered | Blind guess |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for (kind, report) in attack_all(people).await? {
        let percent = |rows: u64| 100.0 * rows as f64 / report.rows as f64;
        let recovered = report.recovered.ok_or("the values are known here")?;
        text.push_str(&format!(
            "| {} | `{}` | {} | {} | {} | {:.1} | {:.2} % | {:.2} % |\n",
            kind.index.name,
            kind.rules(),
            kind.index.bits,
            report.distinct,
            report.largest,
            report.min_entropy_bits,
            percent(recovered.right),
            percent(recovered.blind),
        ));
    }
    let rows = u64::try_from(people)?;
    let plan = IndexPlanner::of_schema(rows, Record::SCHEMA)?.report();
    text.push_str(&format!(
        "\nAll these indexes on one table of {rows} rows: E = {:.1e}, {}.\n",
        plan.false_hits, plan.verdict
    ));
    if plan.verdict == Verdict::TooPrecise {
        text.push_str(
            "Together the tokens of a row are its fingerprint: a real table has fewer.\n",
        );
    }
    Ok(text)
}

/// One index, and what it sees of a person.
struct Kind {
    index: &'static IndexDef,
    /// The texts that are indexed.
    texts: fn(&Person) -> Vec<String>,
    /// What the rules make of them.
    normalized: fn(&Person) -> String,
}

impl Kind {
    fn rules(&self) -> String {
        let rules = self.index.parts.iter().map(|part| part.normalizer.id());
        rules.collect::<Vec<_>>().join("`, `")
    }
}

const KINDS: [Kind; 9] = [
    Kind {
        index: &Record::SEX_INDEX,
        texts: |one| vec![one.sex.clone()],
        normalized: |one| one.sex.clone(),
    },
    Kind {
        index: &Record::AGE_INDEX,
        texts: |one| vec![one.age.to_string()],
        normalized: |one| (one.age / 10).to_string(),
    },
    Kind {
        index: &Record::BORN_INDEX,
        texts: |one| vec![one.born.clone()],
        normalized: |one| one.born.chars().take(4).collect(),
    },
    Kind {
        index: &Record::ZIP_INDEX,
        texts: |one| vec![one.zip.clone()],
        normalized: |one| one.zip.clone(),
    },
    Kind {
        index: &Record::FAMILY_START_INDEX,
        texts: |one| vec![one.family.clone()],
        normalized: |one| one.family.chars().take(3).collect(),
    },
    Kind {
        index: &Record::FAMILY_WHOLE_INDEX,
        texts: |one| vec![one.family.clone()],
        normalized: |one| one.family.clone(),
    },
    Kind {
        index: &Record::FAMILY_BORN_INDEX,
        texts: |one| vec![one.family.clone(), one.born.clone()],
        normalized: |one| format!("{} {}", one.family, one.born),
    },
    Kind {
        index: &Record::SSN_LAST_INDEX,
        texts: |one| vec![one.ssn.clone()],
        normalized: |one| one.ssn.chars().skip(7).collect(),
    },
    Kind {
        index: &Record::SSN_WHOLE_INDEX,
        texts: |one| vec![one.ssn.clone()],
        normalized: |one| one.ssn.clone(),
    },
];

async fn attack_all(people: usize) -> Result<Vec<(Kind, LeakageReport)>, Failure> {
    let dir = tempfile::tempdir()?;
    let foundation = Foundation::embedded(dir.path())
        .records::<(Record,)>()
        .build()
        .await?;
    let cipher = cipher(&foundation).await?;
    let mut country = Country::new(1);
    let clinic: Vec<Person> = (0..people).map(|_| country.person()).collect();
    let elsewhere: Vec<Person> = (0..people).map(|_| country.person()).collect();
    let mut reports = Vec::with_capacity(KINDS.len());
    for kind in KINDS {
        let report = attack(&cipher, &kind, &clinic, &elsewhere)?;
        reports.push((kind, report));
    }
    foundation.shutdown().await;
    Ok(reports)
}

/// The thief has the tokens of `clinic`, and has seen the values of `elsewhere`.
fn attack(
    cipher: &TenantCipher,
    kind: &Kind,
    clinic: &[Person],
    elsewhere: &[Person],
) -> Result<LeakageReport, Failure> {
    let seen = elsewhere.iter().map(|one| ((kind.normalized)(one), 1.0));
    let thief = Auxiliary::new(seen)?;
    let mut rows = Vec::with_capacity(clinic.len());
    for one in clinic {
        let texts = (kind.texts)(one);
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let slots = cipher.index(kind.index, &texts)?;
        let token = slots.odd.ok_or("an index begins with version 1")?;
        rows.push((token.into_bytes(), (kind.normalized)(one)));
    }
    Ok(thief.attack_known(rows)?)
}

/// The cipher of a freshly onboarded clinic.
async fn cipher(foundation: &Foundation) -> Result<TenantCipher, Failure> {
    let clinic = NewTenant::new(
        TenantSlug::new("clinic-7")?,
        Code::new("eu-central")?,
        Code::new("baa-2026-7")?,
    );
    let once = IdempotencyKey::new("onboard-clinic-7")?;
    let chore = foundation.chore("onboarding");
    let clinic = foundation.tenants().onboard(&chore, clinic, once).await?;
    let issuer = foundation.issuer().ok_or("no development issuer")?;
    let token = issuer.issue(&NewToken::new(ActorId::new("dr.grey")?, clinic.id()))?;
    let (peer, purpose) = ("192.0.2.7".parse()?, PurposeOfUse::Treatment);
    let cx = foundation
        .door()
        .admit(token.expose(), peer, purpose)
        .await?;
    Ok(foundation.encryption().warm(&cx.tenant_scope()?).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn few_values_are_recovered_and_unique_ones_are_not() {
        let reports = attack_all(2_000).await.unwrap();
        let share = |index: &IndexDef| {
            let (_, report) = reports
                .iter()
                .find(|(kind, _)| kind.index == index)
                .unwrap();
            report.recovered_share().unwrap()
        };
        assert!(share(&Record::SEX_INDEX) > 0.99);
        assert!(share(&Record::AGE_INDEX) > 0.5);
        assert!(share(&Record::ZIP_INDEX) > share(&Record::FAMILY_BORN_INDEX));
        assert!(share(&Record::SSN_WHOLE_INDEX) < 0.01);
        for (kind, report) in &reports {
            let unique = *kind.index == Record::SSN_WHOLE_INDEX;
            assert_eq!(
                report.distinct == report.rows,
                unique,
                "{}",
                kind.index.name
            );
        }
    }
}
