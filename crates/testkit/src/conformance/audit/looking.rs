//! Queries: compared with a look at every entry, and themselves on record.

use eonpro_audit::{
    AuditError, Effort, Entry, EntryValue, EntryView, LogId, Order, Page, Query, TraceId,
};
use eonpro_core::RequestContext;
use eonpro_core::event::catalogue::phi;
use eonpro_core::event::{Code, Event, ObjectRef, Outcome as EventOutcome};
use eonpro_core::id::{ActorId, RowId, SubjectId};
use uuid::Uuid;

use super::{Bed, Outcome, Subject, expect_error, log_of};
use crate::conformance::report::{Mismatch, expect, expect_eq};
use crate::{Actors, context};

/// How many pages an answer may have here.
const MANY: usize = 200;

/// What a query may ask for, in words of the entries.
#[derive(Debug, Clone, Default)]
struct Naive {
    patient: Option<String>,
    actor: Option<String>,
    code: Option<&'static str>,
    outcome: Option<u8>,
    trace: Option<String>,
}

impl Naive {
    fn admits(&self, entry: &Entry) -> bool {
        let is = |wanted: &Option<String>, there: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == there)
        };
        let named = self.patient.as_ref().is_none_or(|patient| {
            let named = ["patient", "retired_patient", "surviving_patient"];
            let mut values = named.iter().filter_map(|name| entry.fields.get(*name));
            values.any(|value| matches!(value, EntryValue::Text(text) if text == patient))
        });
        named
            && is(&self.actor, &entry.actor.id)
            && is(&self.trace, &entry.trace)
            && self.code.is_none_or(|code| code == entry.code)
            && self.outcome.is_none_or(|outcome| outcome == entry.outcome)
    }
}

/// What was written, to be asked for.
struct Written {
    patients: [SubjectId; 2],
    names: [String; 2],
    actors: [ActorId; 2],
    trace: TraceId,
    views: Vec<EntryView>,
}

fn created(bed: &Bed, patient: SubjectId, outcome: EventOutcome) -> std::sync::Arc<Event> {
    let data = phi::RecordCreated {
        patient,
        resource: ObjectRef::new(Code::constant("patient"), RowId::random(&*bed.entropy)),
        version: Uuid::from_u128(1),
    };
    Event::new(data, outcome, &bed.clock, &*bed.entropy)
}

fn shown(bed: &Bed, patient: SubjectId, outcome: EventOutcome) -> std::sync::Arc<Event> {
    let data = phi::RecordViewed {
        patient,
        resource: ObjectRef::new(Code::constant("patient"), RowId::random(&*bed.entropy)),
        record_source: Code::constant("local"),
    };
    Event::new(data, outcome, &bed.clock, &*bed.entropy)
}

/// Writes into the log of tenant 1 what two people did with two patients, and reads it all.
async fn write(bed: &Bed) -> Result<Written, Mismatch> {
    let patients = [
        SubjectId::random(&*bed.entropy),
        SubjectId::random(&*bed.entropy),
    ];
    let clinician = bed.cx(1);
    let admin = context(1, Actors::Admin, &bed.clock, &*bed.entropy);
    let mut indexes = Vec::new();
    for round in 0..12_usize {
        let cx = if round % 3 == 0 { &admin } else { &clinician };
        let patient = patients.get(round % 2).copied();
        let patient = patient.ok_or_else(|| Mismatch("a patient is missing".to_owned()))?;
        let outcome = match round % 5 {
            0 => EventOutcome::Minor,
            _ => EventOutcome::Success,
        };
        let event = match round % 4 {
            0 => created(bed, patient, outcome),
            _ => shown(bed, patient, outcome),
        };
        indexes.push(bed.audit().append(cx, &event).await?.index);
    }
    let views = bed.read(log_of(1)).await?;
    let mut names = Vec::new();
    for index in indexes.iter().take(2) {
        let entry = views.get(usize::try_from(*index)?).map(EntryView::entry);
        let entry = entry.ok_or_else(|| Mismatch("an entry is not read".to_owned()))??;
        match entry.fields.get("patient") {
            Some(EntryValue::Text(name)) => names.push(name.clone()),
            _ => return Err(Mismatch("an entry names no patient".to_owned())),
        }
    }
    let names = <[String; 2]>::try_from(names);
    let names = names.map_err(|_| Mismatch("two patients are not two".to_owned()))?;
    for (name, patient) in names.iter().zip(&patients) {
        let hidden = *name != patient.to_string();
        expect(
            hidden,
            "an entry names its patient other than by a pseudonym",
        )?;
    }
    Ok(Written {
        patients,
        names,
        actors: [clinician.actor().id.clone(), admin.actor().id.clone()],
        trace: TraceId::of(&admin),
        views,
    })
}

/// All pages of the answer, put together.
async fn answer(
    bed: &Bed,
    cx: &RequestContext,
    query: &Query,
) -> Result<(Vec<EntryView>, Vec<Page>), Mismatch> {
    let mut views = Vec::new();
    let mut pages: Vec<Page> = Vec::new();
    let mut asked = query.clone();
    loop {
        let page = bed.audit().query(cx, &asked).await?;
        expect(page.hits.len() <= query.limit, "a page is too long")?;
        views.extend(page.hits.iter().map(|hit| hit.view.clone()));
        let next = query.next_page(&page);
        pages.push(page);
        expect(pages.len() < MANY, "the pages do not end")?;
        match next {
            Some(next) => asked = next,
            None => return Ok((views, pages)),
        }
    }
}

/// Each question with what it asks for in words of the entries.
fn questions(written: &Written) -> Vec<(Query, Naive)> {
    let plain = || (Query::new(log_of(1)), Naive::default());
    let mut all = vec![plain()];
    for (patient, name) in written.patients.iter().zip(&written.names) {
        let (mut query, mut naive) = plain();
        query.patient = Some(*patient);
        naive.patient = Some(name.clone());
        all.push((query.clone(), naive.clone()));
        query.code = Some(Code::constant("PHI-002"));
        naive.code = Some("PHI-002");
        all.push((query, naive));
    }
    for actor in &written.actors {
        let (mut query, mut naive) = plain();
        query.actor = Some(actor.clone());
        naive.actor = Some(actor.as_str().to_owned());
        all.push((query.clone(), naive.clone()));
        query.outcome = Some(EventOutcome::Success);
        naive.outcome = Some(EventOutcome::Success.code());
        all.push((query, naive));
    }
    for outcome in [
        EventOutcome::Success,
        EventOutcome::Minor,
        EventOutcome::Major,
    ] {
        let (mut query, mut naive) = plain();
        query.outcome = Some(outcome);
        naive.outcome = Some(outcome.code());
        all.push((query, naive));
    }
    for code in ["PHI-001", "PHI-002", "AUD-003"] {
        let (mut query, mut naive) = plain();
        query.code = Some(Code::constant(code));
        naive.code = Some(code);
        all.push((query, naive));
    }
    let (mut query, mut naive) = plain();
    query.trace = Some(written.trace.clone());
    naive.trace = Some(written.trace.to_string());
    all.push((query, naive));
    all
}

fn indexes(views: &[EntryView]) -> Vec<u64> {
    views.iter().map(|view| view.index).collect()
}

pub(super) async fn a_query_finds_what_a_look_at_every_entry_finds(bed: Bed) -> Outcome {
    let written = write(&bed).await?;
    let size = written.views.len() as u64;
    let cx = bed.system();
    for (mut query, naive) in questions(&written) {
        let mut expected = Vec::new();
        for view in &written.views {
            if naive.admits(&view.entry()?) {
                expected.push(view.clone());
            }
        }
        query.size = Some(size);
        query.limit = 3;
        for effort in [Effort::Index, Effort::Entries] {
            for order in [Order::OldestFirst, Order::NewestFirst] {
                (query.effort, query.order) = (effort, order);
                let (found, _) = answer(&bed, &cx, &query).await?;
                let what = format!("what is found for {naive:?}, {effort:?}, {order:?}");
                expect_eq(&indexes(&found), &indexes(&expected), &what)?;
                expect(found == expected, format!("{what}: other bytes"))?;
                expected.reverse();
            }
        }
    }
    // By time: half open.
    let times = written.views.iter().map(EntryView::recorded);
    let times = times.collect::<Result<Vec<_>, _>>()?;
    let (Some(from), Some(until)) = (times.get(2), times.get(7)) else {
        return Err(Mismatch("too few entries".to_owned()));
    };
    let mut query = Query::new(log_of(1));
    (query.from, query.until, query.limit) = (Some(*from), Some(*until), 2);
    for effort in [Effort::Index, Effort::Entries] {
        query.effort = effort;
        let (found, _) = answer(&bed, &cx, &query).await?;
        expect_eq(
            &indexes(&found),
            &vec![2, 3, 4, 5, 6],
            "what is in the time",
        )?;
    }
    // Nobody by that name, and nothing of another tenant's.
    let mut query = Query::new(log_of(1));
    query.patient = Some(SubjectId::random(&*bed.entropy));
    let (found, _) = answer(&bed, &cx, &query).await?;
    expect_eq(&found.len(), &0, "entries of somebody unknown")?;
    let mut query = Query::new(log_of(2));
    query.patient = written.patients.first().copied();
    let (found, _) = answer(&bed, &cx, &query).await?;
    expect_eq(&found.len(), &0, "entries of a patient in another log")
}

pub(super) async fn pages_do_not_chase_the_record_of_their_own_reading(bed: Bed) -> Outcome {
    let puts = bed.append(1, 7).await?;
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let mut query = Query::new(log_of(1));
        (query.limit, query.order) = (2, order);
        let before = bed.read(log_of(1)).await?.len() as u64;
        let (found, pages) = answer(&bed, &bed.cx(1), &query).await?;
        let size = pages.first().map_or(0, |page| page.size);
        expect(
            size >= before,
            "a query is about fewer entries than were there",
        )?;
        expect(
            pages.iter().all(|page| page.size == size),
            "the size changes",
        )?;
        expect_eq(&(found.len() as u64), &size, "what is found of all")?;
        for put in &puts {
            let there = found.iter().filter(|view| view.index == put.receipt.index);
            expect_eq(&there.count(), &1, "how often an entry is found")?;
        }
    }
    Ok(())
}

/// The records of readings in `views` by `actor`: how many rows each says were shown.
fn readings(views: &[EntryView], actor: &str) -> Result<Vec<u64>, Mismatch> {
    let mut rows = Vec::new();
    for view in views {
        let entry = view.entry()?;
        if entry.code == "AUD-003" && entry.actor.id == actor {
            match entry.fields.get("rows") {
                Some(EntryValue::Count(count)) => rows.push(*count),
                _ => return Err(Mismatch("AUD-003 does not say how many rows".to_owned())),
            }
        }
    }
    Ok(rows)
}

pub(super) async fn what_was_shown_is_on_record_before_it_is_shown(bed: Bed) -> Outcome {
    let puts = bed.append(1, 5).await?;
    let cx = bed.cx(1);
    let actor = cx.actor().id.clone();
    let read = bed.audit().read(&cx, &log_of(1), 0..3).await?;
    expect_eq(&read.len(), &3, "entries that are read")?;
    let mut query = Query::new(log_of(1));
    (query.limit, query.size) = (2, Some(puts.len() as u64));
    let (found, pages) = answer(&bed, &cx, &query).await?;
    expect_eq(&found.len(), &puts.len(), "entries that are found")?;
    let mut expected = vec![3];
    expected.extend(pages.iter().map(|page| page.hits.len() as u64));
    // What was on record only in memory is gone now.
    bed.audit().close().await;
    let audit = (bed.subject.reopen)().await;
    let subject = Subject {
        audit,
        ..bed.subject
    };
    let bed = Bed { subject, ..bed };
    let views = bed.read(log_of(1)).await;
    bed.audit().close().await;
    let recorded = readings(&views?, actor.as_str())?;
    expect_eq(&recorded, &expected, "the rows in each record of a reading")
}

pub(super) async fn nobody_asks_for_what_he_may_not_read(bed: Bed) -> Outcome {
    let audit = bed.audit();
    bed.append(1, 2).await?;
    bed.append(2, 2).await?;
    audit.checkpoint().await?;
    let nobody = RequestContext::anonymous(&bed.clock, &*bed.entropy);
    for (cx, log) in [
        (bed.cx(1), log_of(2)),
        (bed.cx(1), LogId::System),
        (bed.cx(1), LogId::Directory),
        (bed.suspended(1), log_of(1)),
        (nobody, log_of(1)),
    ] {
        let denied = |error: &_| matches!(error, AuditError::Denied);
        let page = audit.query(&cx, &Query::new(log)).await;
        expect_error(page, denied, "a query")?;
        expect_error(audit.prove(&cx, &log, 0, 1).await, denied, "a proof")?;
        let growth = audit.prove_growth(&cx, &log, 1, 1).await;
        expect_error(growth, denied, "a proof of growth")?;
        let head = audit.signed_head(&cx, &log).await;
        expect_error(head, denied, "a signed head")?;
    }
    let own = audit.query(&bed.cx(1), &Query::new(log_of(1))).await?;
    expect(
        own.hits.len() >= 2,
        "a tenant does not find its own entries",
    )
}
