//! Tenant records and receipts as the store holds them: JSON with a format version.
//!
//! An unknown version is refused, never guessed at.

use std::collections::BTreeSet;

use eonpro_core::event::{Code, Digest};
use eonpro_core::id::{ActorId, TenantId};
use eonpro_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::TenantError;
use crate::lifecycle::{Evidence, Hold, Lifecycle, Phase, Stage, SuspendReason};
use crate::network::{NetworkList, NetworkRule};
use crate::record::{RecordVersion, Shredded, StorageId, TenantRecord};
use crate::slug::{TenantName, TenantSlug};

const FORMAT: u32 = 1;

#[derive(Deserialize)]
struct Probe {
    v: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordV1 {
    v: u32,
    id: String,
    slug: String,
    name: Option<String>,
    region: String,
    agreement: String,
    /// `null` is anywhere; a list is never empty.
    network: Option<Vec<String>>,
    storage: String,
    epoch: u64,
    version: u64,
    phase: String,
    reasons: Vec<String>,
    holds: Vec<String>,
    export: Option<String>,
    grace_until: Option<i64>,
    approvers: Vec<String>,
    shredded: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceiptV1 {
    v: u32,
    command: String,
    tenant: String,
    result: Option<RecordV1>,
    settled: bool,
}

/// What is remembered of a command, so that its repeat is recognized.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// Fingerprint of the command.
    pub(crate) command: Digest,
    /// The tenant that it was for or that it created.
    pub(crate) tenant: TenantId,
    /// The record after it, once it is done.
    pub(crate) result: Option<TenantRecord>,
    /// Whether what must follow it, such as its event, is done.
    pub(crate) settled: bool,
}

pub(crate) fn encode_record(record: &TenantRecord) -> Result<Vec<u8>, TenantError> {
    serde_json::to_vec(&to_wire(record)).map_err(|_| TenantError::Damaged)
}

pub(crate) fn decode_record(bytes: &[u8]) -> Result<TenantRecord, TenantError> {
    check_format(bytes)?;
    let wire = serde_json::from_slice(bytes).map_err(|_| TenantError::Damaged)?;
    from_wire(&wire).ok_or(TenantError::Damaged)
}

pub(crate) fn encode_receipt(receipt: &Receipt) -> Result<Vec<u8>, TenantError> {
    let wire = ReceiptV1 {
        v: FORMAT,
        command: receipt.command.to_string(),
        tenant: receipt.tenant.to_string(),
        result: receipt.result.as_ref().map(to_wire),
        settled: receipt.settled,
    };
    serde_json::to_vec(&wire).map_err(|_| TenantError::Damaged)
}

pub(crate) fn decode_receipt(bytes: &[u8]) -> Result<Receipt, TenantError> {
    check_format(bytes)?;
    let wire: ReceiptV1 = serde_json::from_slice(bytes).map_err(|_| TenantError::Damaged)?;
    let result = match &wire.result {
        Some(record) => Some(from_wire(record).ok_or(TenantError::Damaged)?),
        None => None,
    };
    Ok(Receipt {
        command: Digest::parse_hex(&wire.command).ok_or(TenantError::Damaged)?,
        tenant: TenantId::parse(&wire.tenant).ok_or(TenantError::Damaged)?,
        result,
        settled: wire.settled,
    })
}

fn check_format(bytes: &[u8]) -> Result<(), TenantError> {
    let probe: Probe = serde_json::from_slice(bytes).map_err(|_| TenantError::Damaged)?;
    if probe.v == FORMAT {
        Ok(())
    } else {
        Err(TenantError::UnknownFormat)
    }
}

fn to_wire(record: &TenantRecord) -> RecordV1 {
    let network = match &record.network {
        NetworkRule::Anywhere => None,
        NetworkRule::Only(list) => Some(
            list.iter()
                .map(|(address, length)| format!("{address}/{length}"))
                .collect(),
        ),
    };
    RecordV1 {
        v: FORMAT,
        id: record.id.to_string(),
        slug: record.slug.to_string(),
        name: record.name.as_ref().map(|name| name.as_str().to_owned()),
        region: record.region.to_string(),
        agreement: record.agreement.to_string(),
        network,
        storage: record.storage.uuid().simple().to_string(),
        epoch: record.epoch,
        version: record.version.0,
        phase: phase_name(record.phase()).to_owned(),
        reasons: record
            .life
            .reasons()
            .map(|reason| reason.as_str().to_owned())
            .collect(),
        holds: record.life.holds().map(|hold| hold.0.to_string()).collect(),
        export: record.life.export().map(|export| export.to_string()),
        grace_until: record.grace_until().map(Timestamp::nanos),
        approvers: record.life.approvers().map(ActorId::to_string).collect(),
        shredded: shredded_name(record.shredded).to_owned(),
    }
}

fn from_wire(wire: &RecordV1) -> Option<TenantRecord> {
    let network = match &wire.network {
        None => NetworkRule::Anywhere,
        Some(list) => NetworkRule::Only(NetworkList::parse(list.iter().map(String::as_str)).ok()?),
    };
    let name = match &wire.name {
        Some(name) => Some(TenantName::new(name).ok()?),
        None => None,
    };
    let export = match &wire.export {
        Some(text) => Some(Digest::parse_hex(text)?),
        None => None,
    };
    Some(TenantRecord {
        id: TenantId::parse(&wire.id)?,
        slug: TenantSlug::new(&wire.slug).ok()?,
        name,
        region: Code::new(wire.region.as_str()).ok()?,
        agreement: Code::new(wire.agreement.as_str()).ok()?,
        network,
        storage: StorageId::from_uuid(Uuid::try_parse(&wire.storage).ok()?),
        epoch: wire.epoch,
        version: RecordVersion(wire.version),
        life: Lifecycle {
            phase: *named(&wire.phase, &PHASES)?,
            reasons: each(&wire.reasons, |text| named(text, &REASONS).copied())?,
            holds: each(&wire.holds, |text| Code::new(text).ok().map(Hold))?,
            evidence: Evidence {
                export,
                grace_until: wire.grace_until.map(Timestamp::from_nanos),
                approvers: each(&wire.approvers, |text| ActorId::new(text).ok())?,
            },
        },
        shredded: *named(&wire.shredded, &SHREDDED)?,
    })
}

const PHASES: [(&str, Phase); 8] = [
    ("requested", Phase::Requested),
    ("provisioning", Phase::Provisioning),
    ("provision_failed", Phase::ProvisionFailed),
    ("in_service", Phase::InService),
    ("exporting", Phase::Leaving(Stage::Exporting)),
    ("grace", Phase::Leaving(Stage::Grace)),
    ("shredding", Phase::Leaving(Stage::Shredding)),
    ("erased", Phase::Erased),
];

const REASONS: [(&str, SuspendReason); 3] = [
    ("billing", SuspendReason::Billing),
    ("security", SuspendReason::Security),
    ("legal", SuspendReason::Legal),
];

const SHREDDED: [(&str, Shredded); 4] = [
    ("nothing", Shredded::Nothing),
    ("announced", Shredded::Announced),
    ("keys", Shredded::Keys),
    ("files", Shredded::Files),
];

fn named<'a, T>(text: &str, names: &'a [(&str, T)]) -> Option<&'a T> {
    let found = names.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| value)
}

fn phase_name(phase: Phase) -> &'static str {
    let found = PHASES.iter().find(|(_, known)| *known == phase);
    found.map_or("", |(name, _)| name)
}

fn shredded_name(step: Shredded) -> &'static str {
    let found = SHREDDED.iter().find(|(_, known)| *known == step);
    found.map_or("", |(name, _)| name)
}

fn each<T: Ord>(texts: &[String], parse: impl Fn(&str) -> Option<T>) -> Option<BTreeSet<T>> {
    texts.iter().map(|text| parse(text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::Transition;
    use crate::record::NewTenant;
    use eonpro_core::entropy::SeededEntropy;

    fn full_record() -> TenantRecord {
        let entropy = SeededEntropy::new(1);
        let mut new = NewTenant::new(
            TenantSlug::new("clinic-7").unwrap(),
            Code::constant("eu-1"),
            Code::constant("baa:7"),
        );
        new.name = TenantName::new("Clinic \"Seven\"").ok();
        new.network =
            NetworkRule::Only(NetworkList::parse(["192.0.2.0/24", "2001:db8::/32"]).unwrap());
        let record =
            TenantRecord::requested(new, TenantId::random(&entropy), StorageId::random(&entropy));
        let export = Digest::of(b"manifest");
        let approve = |name| Transition::Approve {
            approver: ActorId::new(name).unwrap(),
            export,
        };
        [
            Transition::Provision,
            Transition::Activate,
            Transition::Suspend(SuspendReason::Legal),
            Transition::PlaceHold(Hold(Code::constant("litigation:1"))),
            Transition::BeginOffboarding,
            Transition::RecordExport {
                export,
                grace_until: Timestamp::from_seconds(9),
            },
            approve("a"),
            approve("b"),
        ]
        .iter()
        .fold(record, |record, step| record.step(step).unwrap())
        .shredded(Shredded::Announced)
    }

    #[test]
    fn a_record_survives_its_wire_form() {
        let record = full_record();
        let bytes = encode_record(&record).unwrap();
        assert_eq!(decode_record(&bytes).unwrap(), record);
        let receipt = Receipt {
            command: Digest::of(b"c"),
            tenant: record.id(),
            result: Some(record),
            settled: false,
        };
        let bytes = encode_receipt(&receipt).unwrap();
        assert_eq!(decode_receipt(&bytes).unwrap(), receipt);
    }

    #[test]
    fn every_phase_has_a_name_of_its_own() {
        for (name, phase) in PHASES {
            assert_eq!(phase_name(phase), name);
        }
    }

    #[test]
    fn an_unknown_format_or_a_damaged_record_is_refused() {
        let text = String::from_utf8(encode_record(&full_record()).unwrap()).unwrap();
        let newer = text.replacen("\"v\":1", "\"v\":2", 1);
        assert!(matches!(
            decode_record(newer.as_bytes()),
            Err(TenantError::UnknownFormat)
        ));
        for (from, to) in [
            ("\"grace\"", "\"gone\""),
            ("192.0.2.0/24", "192.0.2.1/24"),
            ("[\"192.0.2.0/24\",\"2001:db8::/32\"]", "[]"),
            ("\"epoch\"", "\"epoche\""),
        ] {
            let damaged = text.replacen(from, to, 1);
            assert_ne!(damaged, text);
            assert!(matches!(
                decode_record(damaged.as_bytes()),
                Err(TenantError::Damaged)
            ));
        }
    }
}
