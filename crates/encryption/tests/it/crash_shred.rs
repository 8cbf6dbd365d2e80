//! kill -9 in the middle of shreds and of the ends of their epochs, on redb and a keyring file with real
//! syncs: nobody is shredded by half, nobody else is touched, and no copy of the key table brings back
//! whom it covered.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use eonpro_core::port::kv::{KeyValue as _, Partition};
use eonpro_core::port::{SealError, Signer as _};
use eonpro_core::task;
use eonpro_core::time::{Clock as _, SystemClock};
use eonpro_encryption::{
    BackupExposure, CryptoError, EpochKeys as _, ShredReceipt, ShredState, Shredding as _,
};
use eonpro_testkit::scope;

use crate::clinic::{Clinic, ROWS_EACH, Who, insist};
use crate::crash::variable;
use crate::wards::{TestSigner, person};

const FOLDER: &str = "EONPRO_ENCRYPTION_SHRED_FOLDER";
const WORDS: &str = "EONPRO_ENCRYPTION_SHRED_WORDS";
const ROUNDS: &str = "EONPRO_CRASH_ROUNDS";
/// What a test run without the campaign does.
const SHORT: u64 = 3;

/// Never touched: its epoch never ends.
const QUIET: u128 = 1;
/// Lose patients in each round.
const WARDS: [u128; 2] = [2, 3];
const RESIDENTS: u128 = 5;
/// How many patients each ward loses in a round, at most.
const LOSSES: usize = 2;

fn draw(seed: u64) -> u64 {
    let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn say(line: &str) {
    writeln!(std::io::stdout().lock(), "child {line} durably").unwrap();
}

/// Shreds its share of the targets, and ends the epoch after some of them.
async fn shred_all(clinic: &Clinic, targets: Vec<Who>, seed: u64) {
    for (number, who) in targets.into_iter().enumerate() {
        say("requests");
        let begins = || say(&format!("begins {}", who.word()));
        let receipt = clinic.shred(who, begins).await;
        let receipt = receipt.to_json().unwrap();
        say(&format!("shredded {} {receipt}", who.word()));
        if who.patient.is_some() && draw(seed + number as u64).is_multiple_of(2) {
            say("ends");
            clinic.end_epoch(who).await;
            say("ended");
        }
    }
}

/// An application that goes on writing to those who stay, and taking in others.
async fn write_for_ever(clinic: &Clinic, first: u64) {
    let residents: Vec<Who> = residents().collect();
    for text in first.. {
        let who = residents[(text % residents.len() as u64) as usize];
        let number = text / residents.len() as u64 % ROWS_EACH;
        insist!(clinic.write(who, number, text));
        say(&format!("wrote {} {text}", who.row(number)));
    }
}

fn residents() -> impl Iterator<Item = Who> {
    [QUIET, WARDS[0], WARDS[1]].into_iter().flat_map(|tenant| {
        let own = std::iter::once(Who::tenant(tenant));
        own.chain((1..=RESIDENTS).map(move |number| Who::patient(tenant, number)))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of the crash test; does nothing by itself"]
async fn child_shreds_until_it_is_killed() {
    let Some((folder, words)) = variable(FOLDER).zip(variable(WORDS)) else {
        return;
    };
    let mut words = words.split(' ');
    let first: u64 = words.next().unwrap().parse().unwrap();
    let targets: Vec<Who> = words.map(Who::parse).collect();
    let clinic = Arc::new(Clinic::open(Path::new(&folder), "table.redb").await);
    let (one, two) = targets.split_at(targets.len() / 2);
    let mut parts = Vec::new();
    for (number, targets) in [one.to_vec(), two.to_vec()].into_iter().enumerate() {
        let (clinic, seed) = (Arc::clone(&clinic), first + 1000 * number as u64);
        parts.push(task::start(async move {
            shred_all(&clinic, targets, seed).await;
        }));
    }
    if first.is_multiple_of(2) {
        let clinic = Arc::clone(&clinic);
        parts.push(task::start(async move {
            for ward in WARDS.into_iter().cycle() {
                say("ends");
                clinic.end_epoch(Who::tenant(ward)).await;
                say("ended");
            }
        }));
    }
    let writer = Arc::clone(&clinic);
    parts.push(task::start(
        async move { write_for_ever(&writer, first).await },
    ));
    // A part that fails must show: the one who started us then finds that we died by ourselves.
    for part in parts {
        part.await.unwrap();
    }
}

fn start(folder: &Path, words: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["crash_shred::child_shreds_until_it_is_killed", "--exact"])
        .args(["--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(WORDS, words)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What the campaign knows.
#[derive(Debug, Default)]
struct Books {
    living: BTreeSet<Who>,
    shredded: BTreeSet<Who>,
    /// The last text of each row that was acknowledged.
    texts: BTreeMap<String, u64>,
    last: u64,
    next_patient: u128,
    /// What the last child had acknowledged.
    receipts: BTreeMap<Who, ShredReceipt>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    begun: BTreeSet<(u64, Who)>,
    acknowledged: u64,
    in_doubt: u64,
    resumed: u64,
    cancelled: u64,
    untouched: u64,
    ends_begun: u64,
    ends_acknowledged: u64,
    ends_resumed: u64,
    copies: u64,
}

impl Books {
    fn hear(&mut self, line: &str, round: u64) {
        // The test harness may have begun the line, and the kill may have torn it.
        let said = line.split_once("child ").map(|(_, said)| said);
        let Some(said) = said.and_then(|said| said.strip_suffix(" durably")) else {
            return;
        };
        match said.split(' ').collect::<Vec<_>>().as_slice() {
            ["wrote", row, text] => {
                let text = text.parse().unwrap();
                self.texts.insert((*row).to_owned(), text);
                self.last = self.last.max(text);
            }
            ["begins", who] => {
                self.counts.begun.insert((round, Who::parse(who)));
            }
            ["shredded", who, receipt] => {
                let receipt = ShredReceipt::from_json(receipt).unwrap();
                self.receipts.insert(Who::parse(who), receipt);
                self.counts.acknowledged += 1;
            }
            ["ends"] => self.counts.ends_begun += 1,
            ["ended"] => self.counts.ends_acknowledged += 1,
            _ => {}
        }
    }

    /// Runs a child on `targets` until it has said `enough` lines, and kills it.
    fn crash(&mut self, folder: &Path, targets: &[Who], round: u64) {
        let enough = 1 + draw(round) % 90;
        let words: Vec<String> = targets.iter().map(|who| who.word()).collect();
        let words = format!("{} {}", self.last + 1 + round % 2, words.join(" "));
        let mut child = start(folder, &words);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for _ in 0..enough {
            let line = lines.next().expect("the child died by itself").unwrap();
            self.hear(&line, round);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had still acknowledged before it died counts too.
        for line in lines.map_while(Result::ok) {
            self.hear(&line, round);
        }
    }

    /// Who is to be shredded in this round: those whom the last one left, and others taken in for it.
    async fn targets(&mut self, clinic: &Clinic, round: u64) -> Vec<Who> {
        let mut targets = Vec::new();
        let resident: BTreeSet<Who> = residents().collect();
        for ward in WARDS {
            let of_ward = self.living.iter().filter(|who| who.tenant == ward);
            let left = of_ward.filter(|who| !resident.contains(who)).copied();
            let mut ours: Vec<Who> = left.take(LOSSES).collect();
            while ours.len() < LOSSES {
                self.next_patient += 1;
                ours.push(
                    self.take_in(clinic, Who::patient(ward, self.next_patient))
                        .await,
                );
            }
            targets.extend(ours);
        }
        let doomed = self.living.iter().find(|who| who.tenant >= 1000);
        let doomed = doomed.map_or(1000 + u128::from(round), |who| who.tenant);
        let tenant = Who::tenant(doomed);
        if !self.living.contains(&tenant) {
            for who in [tenant, Who::patient(doomed, 1), Who::patient(doomed, 2)] {
                self.take_in(clinic, who).await;
            }
        }
        targets.insert((draw(round) % 5) as usize, tenant);
        let turn = targets.len();
        targets.rotate_left((draw(round + 7) % turn as u64) as usize);
        targets
    }

    async fn take_in(&mut self, clinic: &Clinic, who: Who) -> Who {
        clinic.take_in(who).await;
        self.living.insert(who);
        who
    }

    /// A tenant's patients go with it.
    fn covered(&self, who: Who) -> Vec<Who> {
        let all = self.living.iter().chain(&self.shredded).copied();
        all.filter(|one| *one == who || (who.patient.is_none() && one.tenant == who.tenant))
            .collect()
    }

    fn bury(&mut self, who: Who) {
        for one in self.covered(who) {
            self.living.remove(&one);
            self.shredded.insert(one);
        }
    }

    /// Nobody is shredded by half, whatever the kill interrupted; then each shred that began goes on,
    /// or is cancelled if it can still be.
    async fn resume(&mut self, clinic: &Clinic, targets: &[Who], round: u64) {
        for who in targets.iter().copied() {
            let state = clinic.request(who).await.map(|request| request.state);
            let gone = matches!(state, Some(ShredState::Shredded(_)));
            if self.receipts.contains_key(&who) {
                assert!(gone, "{who:?} was acknowledged and lives");
            }
            for one in self.covered(who) {
                match clinic.read(one).await {
                    Ok(_) => assert!(!gone, "{one:?} opens after its shred"),
                    Err(CryptoError::Seal(SealError::Shredded)) => {
                        assert!(gone, "{one:?} is shredded by half");
                    }
                    Err(error) => panic!("{one:?}: {error:?}"),
                }
            }
            match state {
                Some(ShredState::Requested | ShredState::Approved { .. }) => {
                    let coin = draw(round * 31 + self.next_patient as u64 + self.counts.resumed);
                    if coin.is_multiple_of(3) {
                        self.cancel(clinic, who).await;
                        continue;
                    }
                    self.counts.resumed += 1;
                }
                Some(ShredState::Shredded(_)) if !self.receipts.contains_key(&who) => {
                    self.counts.in_doubt += 1;
                }
                Some(ShredState::Shredded(_)) => {}
                None | Some(_) => {
                    self.counts.untouched += 1;
                    continue;
                }
            }
            let receipt = clinic.shred(who, || {}).await;
            self.bury(who);
            self.verify(who, &receipt);
            if let Some(told) = self.receipts.get(&who) {
                self.verify(who, told);
                assert_eq!(
                    (told.request, told.facts.at, &told.facts.keys),
                    (receipt.request, receipt.facts.at, &receipt.facts.keys)
                );
            }
        }
    }

    async fn cancel(&mut self, clinic: &Clinic, who: Who) {
        let request = clinic.request(who).await.unwrap();
        let cx = person("asks");
        let (scope, target) = (who.seal_scope(), who.target());
        let cancelled = clinic.vault.cancel_shred(&cx, scope, target, request.id);
        cancelled.await.unwrap();
        self.counts.cancelled += 1;
    }

    fn verify(&self, who: Who, receipt: &ShredReceipt) {
        receipt.verify(&TestSigner::new(7).public_key()).unwrap();
        assert_eq!(
            (receipt.tenant, receipt.target),
            (who.scope().tenant(), who.target())
        );
        assert!(!receipt.facts.keys.is_empty());
    }

    /// Ends what is due, now or at the planned end of an epoch.
    async fn end_epochs(&mut self, clinic: &Clinic, targets: &[Who]) {
        let later = SystemClock::new()
            .wall()
            .plus(Duration::from_secs(8 * 24 * 3600));
        for tenant in clinic.vault.shred_epochs_due(later).await.unwrap() {
            let known = self.living.iter().chain(&self.shredded);
            let mut known = known.filter(|who| who.scope().tenant() == tenant);
            let ended = clinic.end_epoch(*known.next().unwrap()).await;
            assert_eq!((ended.lost, ended.waiting), (0, 0));
            self.counts.ends_resumed += 1;
        }
        assert_eq!(clinic.vault.shred_epochs_due(later).await.unwrap(), []);
        for who in targets.iter().filter(|who| self.shredded.contains(who)) {
            let backups = clinic.shred(*who, || {}).await.facts.backups;
            match who.patient {
                Some(_) => assert_eq!(backups, BackupExposure::Ended),
                None => assert_eq!(backups, BackupExposure::WhileBackupsExist),
            }
        }
    }

    /// Each row is there once, opens if it may, and holds at least what was acknowledged.
    async fn check(&self, clinic: &Clinic) {
        for who in &self.living {
            let texts = clinic.read(*who).await.unwrap();
            for (number, text) in (0..).zip(texts) {
                let promised = self.texts.get(&who.row(number)).copied().unwrap_or(0);
                assert!(text >= promised, "{who:?}: {text} in place of {promised}");
            }
        }
        for who in &self.shredded {
            let refused = clinic.read(*who).await;
            assert!(
                matches!(refused, Err(CryptoError::Seal(SealError::Shredded))),
                "{who:?}: {refused:?}"
            );
        }
        let places = self.living.iter().chain(&self.shredded);
        for tenant in places.map(|who| who.tenant).collect::<BTreeSet<_>>() {
            let place = Partition::tenant(scope(tenant).tenant(), "rows");
            let rows = clinic.rows.scan(&place, b"", None, 1024).await.unwrap();
            let owners = self.living.iter().chain(&self.shredded);
            let owners = owners.filter(|who| who.tenant == tenant).count() as u64;
            assert_eq!(rows.len() as u64, owners * ROWS_EACH, "tenant {tenant}");
        }
    }

    /// A copy of the key table from before opens none of the patients who were shredded since; the
    /// tenants' own rows and the neighbour's patients show that it is a key table that works.
    async fn check_copy(&mut self, folder: &Path, copy: &Path, then_living: &BTreeSet<Who>) {
        std::fs::copy(copy, folder.join("restored.redb")).unwrap();
        let restored = Clinic::open(folder, "restored.redb").await;
        for who in self.shredded.iter().filter(|who| who.patient.is_some()) {
            match restored.read(*who).await {
                Err(CryptoError::EpochGone) => {}
                Err(CryptoError::Seal(SealError::Shredded)) => {
                    assert!(!then_living.contains(who), "{who:?}");
                }
                Err(CryptoError::Seal(SealError::UnknownKey)) => {
                    assert!(!then_living.contains(who), "{who:?}");
                }
                other => panic!("{who:?} in a restored table: {other:?}"),
            }
        }
        let quiet = |who: &Who| who.tenant == QUIET || who.patient.is_none();
        for who in residents().filter(quiet) {
            restored.read(who).await.unwrap();
        }
        restored.close().await;
        self.counts.copies += 1;
    }
}

async fn campaign(rounds: u64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut books = Books {
        next_patient: 1000,
        ..Books::default()
    };
    let clinic = Clinic::open(path, "table.redb").await;
    for who in residents() {
        books.take_in(&clinic, who).await;
    }
    clinic.close().await;
    let mut first_copy = None;
    for round in 0..rounds {
        let clinic = Clinic::open(path, "table.redb").await;
        let targets = books.targets(&clinic, round).await;
        clinic.close().await;
        let copy = path.join(format!("copy-{}.redb", round.min(1)));
        std::fs::copy(path.join("table.redb"), &copy).unwrap();
        let then_living = books.living.clone();
        let _first = first_copy.get_or_insert_with(|| (copy.clone(), then_living.clone()));
        books.receipts.clear();
        books.crash(path, &targets, round);

        let clinic = Clinic::open(path, "table.redb").await;
        books.resume(&clinic, &targets, round).await;
        books.end_epochs(&clinic, &targets).await;
        books.check(&clinic).await;
        clinic.close().await;
        books.check_copy(path, &copy, &then_living).await;
    }
    if let Some((copy, then_living)) = first_copy {
        books.check_copy(path, &copy, &then_living).await;
    }
    let clinic = Clinic::open(path, "table.redb").await;
    let keys = clinic.keyring.epochs().await.unwrap().len();
    report(rounds, &books, keys);
    clinic.close().await;
}

fn report(rounds: u64, books: &Books, keys: usize) {
    let Counts {
        begun,
        acknowledged,
        in_doubt,
        resumed,
        cancelled,
        untouched,
        ends_begun,
        ends_acknowledged,
        ends_resumed,
        copies,
    } = &books.counts;
    writeln!(
        std::io::stdout().lock(),
        "{rounds} kills; shreds: {} begun and {acknowledged} acknowledged under them, {in_doubt} found done, \
         {resumed} resumed, {cancelled} cancelled, {untouched} never begun; ends of epochs: {ends_begun} \
         begun and {ends_acknowledged} acknowledged under them, {ends_resumed} done afterwards; {} owners \
         shredded for good, also in {copies} restored copies, {} live with all rows, {} writes acknowledged, \
         none lost; {keys} epoch keys in the keyring",
        begun.len(),
        books.shredded.len(),
        books.living.len(),
        books.last,
    )
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shreds_are_whole_or_never_were_after_a_few_kills() {
    campaign(SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: cargo xtask crash-encryption"]
async fn the_campaign() {
    let rounds = variable(ROUNDS).map_or(10, |rounds| rounds.parse().unwrap());
    campaign(rounds).await;
}
