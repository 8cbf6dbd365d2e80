//! Tenants and patients on redb and a keyring file, whose rows lie apart from the key table: for the
//! campaign that kills shreds.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use eonpro_core::TenantScope;
use eonpro_core::component::Component as _;
use eonpro_core::entropy::SystemEntropy;
use eonpro_core::event::Emitter;
use eonpro_core::phi::{Cell, Column, Row, Table};
use eonpro_core::port::kv::{Key, KeyValue, Partition, Transaction};
use eonpro_core::port::{NoObserver, SealScope, Sealer as _};
use eonpro_core::secret::SecretText;
use eonpro_core::time::{SharedClock, SystemClock};
use eonpro_encryption::backend::Keyring;
use eonpro_encryption::{
    CryptoError, Encryption as _, EncryptionConfig, EpochEnded, EpochKeys, KdfCost, KeyPurpose,
    RootKey, ShredParts, ShredReceipt, ShredRequest, ShredState, ShredTarget, Shredding as _,
    Subjects as _, Vault, VaultOptions, VaultParts,
};
use eonpro_redb::RedbKeyValue;
use eonpro_testkit::{RecordingSink, scope};

use crate::wards::{REASON, TestSigner, patient, person};

pub(crate) const ROWS_EACH: u64 = 2;
const RECORDS: KeyPurpose = KeyPurpose::RECORDS;

/// Repeats what other writers won against.
macro_rules! insist {
    ($work:expr) => {
        loop {
            match $work.await {
                Err(CryptoError::Conflict) => {}
                other => break other.unwrap(),
            }
        }
    };
}
pub(crate) use insist;

/// Whose rows, and who is shredded: a tenant itself, or one of its patients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Who {
    pub(crate) tenant: u128,
    pub(crate) patient: Option<u128>,
}

impl Who {
    pub(crate) const fn tenant(tenant: u128) -> Self {
        Self {
            tenant,
            patient: None,
        }
    }

    pub(crate) const fn patient(tenant: u128, patient: u128) -> Self {
        Self {
            tenant,
            patient: Some(patient),
        }
    }

    pub(crate) fn scope(self) -> TenantScope {
        scope(self.tenant)
    }

    pub(crate) fn seal_scope(self) -> SealScope {
        SealScope::from(&self.scope())
    }

    pub(crate) fn target(self) -> ShredTarget {
        self.patient.map_or(ShredTarget::Tenant, |number| {
            ShredTarget::Subject(patient(number))
        })
    }

    /// `tenant/patient`, with patient 0 for the tenant itself.
    pub(crate) fn word(self) -> String {
        format!("{}/{}", self.tenant, self.patient.unwrap_or(0))
    }

    pub(crate) fn parse(word: &str) -> Self {
        let (tenant, number) = word.split_once('/').unwrap();
        let number: u128 = number.parse().unwrap();
        Self {
            tenant: tenant.parse().unwrap(),
            patient: (number > 0).then_some(number),
        }
    }

    pub(crate) fn row(self, number: u64) -> String {
        format!("{}/{number}", self.word())
    }
}

fn at(row: &str) -> Cell<'_> {
    let row = Row::named(row.as_bytes()).unwrap();
    Cell::new(Table::new("notes"), Column::new("text"), row)
}

/// Root, epochs and rows are never restored; the key table may be.
pub(crate) struct Clinic {
    pub(crate) vault: Vault,
    pub(crate) keyring: Arc<Keyring>,
    table: Arc<RedbKeyValue>,
    pub(crate) rows: Arc<RedbKeyValue>,
}

impl Clinic {
    pub(crate) async fn open(folder: &Path, table: &str) -> Self {
        let clock: SharedClock = Arc::new(SystemClock::new());
        let open = |name: &str| {
            Arc::new(RedbKeyValue::open(&folder.join(name), Arc::clone(&clock)).unwrap())
        };
        let (table, rows) = (open(table), open("rows.redb"));
        let passphrase = SecretText::new("correct horse".to_owned());
        let path = folder.join("keyring.json");
        let keyring = match path.exists() {
            true => Keyring::open(path, &passphrase).await,
            false => Keyring::create(path, &passphrase, KdfCost::FLOOR).await,
        };
        let keyring = Arc::new(keyring.unwrap());
        let root: Arc<dyn RootKey> = Arc::<Keyring>::clone(&keyring);
        let epochs: Arc<dyn EpochKeys> = Arc::<Keyring>::clone(&keyring);
        let state: Arc<dyn KeyValue> = Arc::<RedbKeyValue>::clone(&table);
        let mut config = EncryptionConfig::default();
        config.shred.tenant_delay = Duration::ZERO;
        let entropy = Arc::new(SystemEntropy::new());
        let parts = VaultParts {
            root,
            state,
            emitter: Emitter::new(RecordingSink::new(), clock, entropy),
            observer: Arc::new(NoObserver),
            config,
        };
        let options = VaultOptions {
            shredding: Some(ShredParts {
                epochs,
                signer: TestSigner::new(7),
            }),
            ..VaultOptions::default()
        };
        Self {
            vault: Vault::open_with(parts, options).await.unwrap(),
            keyring,
            table,
            rows,
        }
    }

    pub(crate) async fn close(self) {
        self.vault.close().await;
        self.table.close().await;
        self.rows.close().await;
    }

    /// Takes in a tenant or a patient, with their rows.
    pub(crate) async fn take_in(&self, who: Who) {
        self.vault.provision(who.seal_scope()).await.unwrap();
        if let Some(number) = who.patient {
            let scope = who.scope();
            let taken = self.vault.provision_subject(&scope, patient(number));
            taken.await.unwrap();
        }
        for number in 0..ROWS_EACH {
            self.write(who, number, 0).await.unwrap();
        }
    }

    pub(crate) async fn write(&self, who: Who, number: u64, text: u64) -> Result<(), CryptoError> {
        let (row, text) = (who.row(number), text.to_string());
        let sealed = match who.patient {
            None => {
                let cipher = self.vault.warm(&who.scope()).await?;
                cipher.seal(RECORDS, &at(&row), text.as_bytes())?
            }
            Some(number) => {
                let scope = who.scope();
                let cipher = self.vault.warm_subject(&scope, patient(number));
                cipher.await?.seal(&at(&row), text.as_bytes())?
            }
        };
        let tx = Transaction::new().put(Key::new(row.into_bytes()).unwrap(), sealed);
        let place = Partition::tenant(who.scope().tenant(), "rows");
        self.rows.commit(&place, tx).await.unwrap();
        Ok(())
    }

    /// The texts of all rows of `who`.
    pub(crate) async fn read(&self, who: Who) -> Result<Vec<u64>, CryptoError> {
        let place = Partition::tenant(who.scope().tenant(), "rows");
        let prefix = format!("{}/", who.word());
        let rows = self.rows.scan(&place, prefix.as_bytes(), None, 1024).await;
        let mut texts = Vec::new();
        for row in rows.unwrap() {
            let name = String::from_utf8(row.key.as_bytes().to_vec()).unwrap();
            let sealed = row.versioned.value;
            let opened = match who.patient {
                None => {
                    let cipher = self.vault.warm(&who.scope()).await?;
                    cipher.open(RECORDS, &at(&name), &sealed)?
                }
                Some(number) => {
                    let scope = who.scope();
                    let cipher = self.vault.warm_subject(&scope, patient(number));
                    cipher.await?.open(&at(&name), &sealed)?
                }
            };
            texts.push(String::from_utf8(opened.to_vec()).unwrap().parse().unwrap());
        }
        assert_eq!(texts.len() as u64, ROWS_EACH, "rows of {who:?}");
        Ok(texts)
    }

    pub(crate) async fn request(&self, who: Who) -> Option<ShredRequest> {
        let found = self.vault.shred_request(who.seal_scope(), who.target());
        found.await.unwrap()
    }

    /// Brings the request to its end, from wherever it stands.
    pub(crate) async fn shred(&self, who: Who, begins: impl Fn()) -> ShredReceipt {
        let (scope, target) = (who.seal_scope(), who.target());
        let standing = self.request(who).await;
        let standing = standing.filter(|found| !matches!(found.state, ShredState::Cancelled(_)));
        let mut request = match standing {
            Some(found) => found,
            None => {
                let cx = person("asks");
                insist!(self.vault.request_shred(&cx, scope, target, REASON))
            }
        };
        while request.state == ShredState::Requested {
            let cx = person(["one", "two"][request.approvals.len()]);
            let id = request.id;
            request = insist!(self.vault.approve_shred(&cx, scope, target, id));
        }
        begins();
        let cx = person("clerk");
        let id = request.id;
        insist!(self.vault.carry_out_shred(&cx, scope, target, id))
    }

    pub(crate) async fn end_epoch(&self, who: Who) -> EpochEnded {
        let cx = person("clerk");
        insist!(self.vault.end_shred_epoch(&cx, who.seal_scope()))
    }
}
