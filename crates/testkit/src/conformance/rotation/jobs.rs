//! Jobs: progress is where the rows are, and one worker has the turn.

use eonpro_core::port::{Checkpoint, Cursor, Fence, JobName, MAX_ROTATION_PROGRESS, Replacement};

use super::super::report::{Mismatch, expect, expect_eq};
use super::{Outcome, Subject, expect_fenced, id, ids, numbered, sealed};

fn job(name: &str) -> Result<JobName, Mismatch> {
    JobName::new(name).ok_or_else(|| Mismatch("no job's name".to_owned()))
}

fn checkpoint(job: &JobName, fence: u64, progress: &[u8]) -> Option<Checkpoint> {
    Some(Checkpoint {
        job: job.clone(),
        fence: Fence(fence),
        progress: progress.to_vec(),
    })
}

pub(super) async fn progress_comes_back_and_a_pass_goes_on_after_a_restart(
    mut subject: Subject,
) -> Outcome {
    let (ours, column) = (subject.ours.clone(), subject.column()?);
    let job = job("reseal/records")?;
    subject.put(&ours, 0..20, 1).await;
    let first = subject.source.claim(&ours, &job, Fence(1)).await?;
    expect_eq(&first, &None, "the progress of a job that never ran")?;
    let mut seen = Vec::new();
    for fence in 2..40 {
        let source = &subject.source;
        let progress = source.claim(&ours, &job, Fence(fence)).await?;
        let progress = progress.unwrap_or_default();
        let known = seen
            .last()
            .map(|row: &eonpro_core::port::RotationRow| row.at.as_bytes());
        expect_eq(
            &progress.as_slice(),
            &known.unwrap_or_default(),
            "the saved cursor",
        )?;
        let page = source
            .batch(&ours, Cursor::new(progress).as_ref(), 3)
            .await?;
        let Some(last) = page.last() else { break };
        let change =
            |number| Replacement::of(id(number), column, sealed(1, number), sealed(2, number));
        let of_page = (0..20).filter(|number| page.iter().any(|row| row.row == id(*number)));
        let changes: Vec<_> = of_page.map(change).collect();
        let expected = changes.len() as u64;
        let saved = checkpoint(&job, fence, last.at.as_bytes());
        let done = source.replace(&ours, changes, saved).await?;
        expect_eq(&done.updated, &expected, "changes of one page")?;
        seen.extend(page);
        if let Some(reopen) = subject.reopen.clone() {
            subject.source = reopen().await;
        }
        expect(seen.len() <= 20, "a resumed pass shows a row again")?;
    }
    expect_eq(&ids(&seen), &numbered(0..20), "the rows of a resumed pass")?;
    let left = eonpro_core::port::Counted::Sealed(super::prefix(1));
    let rest =
        u64::from(subject.source.head().is_none()) * subject.source.count(&ours, left).await?;
    let untouched = (0..20).flat_map(|number| subject.cells_of(number, 1));
    let others = untouched.filter(|cell| {
        cell.column != column && subject.cells.contains(&cell.column) && cell.bytes.is_some()
    });
    let others = u64::from(subject.source.head().is_none()) * others.count() as u64;
    expect_eq(&rest, &others, "values that were left as they are")
}

pub(super) async fn an_earlier_worker_changes_nothing(subject: Subject) -> Outcome {
    let Subject { ours, source, .. } = &subject;
    let (job, column) = (job("reseal/records")?, subject.column()?);
    subject.put(ours, 0..1, 1).await;
    let before = subject.pass(ours, 10, 1).await?;
    let change = || vec![Replacement::of(id(0), column, sealed(1, 0), sealed(2, 0))];
    let unclaimed = source
        .replace(ours, change(), checkpoint(&job, 1, b"x"))
        .await;
    expect_fenced(unclaimed, "a checkpoint of a job that nobody claimed")?;
    source.claim(ours, &job, Fence(5)).await?;
    let saved = source.replace(ours, Vec::new(), checkpoint(&job, 5, b"five"));
    saved.await?;
    expect_fenced(source.claim(ours, &job, Fence(4)).await, "an earlier claim")?;
    let again = source.claim(ours, &job, Fence(5)).await?;
    expect_eq(&again, &Some(b"five".to_vec()), "the progress at one fence")?;
    let later = source.claim(ours, &job, Fence(7)).await?;
    expect_eq(
        &later,
        &Some(b"five".to_vec()),
        "what the later worker finds",
    )?;
    for fence in [5, 6, 8] {
        let late = source.replace(ours, change(), checkpoint(&job, fence, b"late"));
        expect_fenced(late.await, "a checkpoint of another fence")?;
    }
    let after = subject.pass(ours, 10, 1).await?;
    expect(
        before == after,
        "a worker that was fenced off changed a row",
    )?;
    let progress = source.claim(ours, &job, Fence(7)).await?;
    expect_eq(
        &progress,
        &Some(b"five".to_vec()),
        "the progress after late workers",
    )
}

pub(super) async fn jobs_and_tenants_have_progress_of_their_own(subject: Subject) -> Outcome {
    let Subject {
        ours,
        theirs,
        source,
        ..
    } = &subject;
    let (one, two) = (job("reseal/records")?, job("reindex/ssn")?);
    let all = [(ours, &one, 9_u64), (ours, &two, 3), (theirs, &one, 1)];
    for (scope, job, fence) in all {
        let found = source.claim(scope, job, Fence(fence)).await?;
        expect_eq(&found, &None, "the progress of a job that never ran")?;
        let saved = checkpoint(job, fence, &fence.to_be_bytes());
        source.replace(scope, Vec::new(), saved).await?;
    }
    for (scope, job, fence) in all {
        let found = source.claim(scope, job, Fence(fence)).await?;
        expect_eq(
            &found,
            &Some(fence.to_be_bytes().to_vec()),
            "a job's own progress",
        )?;
    }
    Ok(())
}

pub(super) async fn the_longest_progress_is_stored(subject: Subject) -> Outcome {
    let Subject { ours, source, .. } = &subject;
    let job = job(&"x".repeat(128))?;
    let long = vec![0xa5; MAX_ROTATION_PROGRESS];
    source.claim(ours, &job, Fence(1)).await?;
    source
        .replace(ours, Vec::new(), checkpoint(&job, 1, &long))
        .await?;
    source.replace(ours, Vec::new(), None).await?;
    let found = source.claim(ours, &job, Fence(2)).await?;
    expect(found == Some(long), "another progress came back")
}
