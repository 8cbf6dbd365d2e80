//! The export of a clinic that leaves: everything it has, opened, as one NDJSON file.
//!
//! Each line is one object with `patient`, `resource` or `document`; documents are in base64. The
//! file lies outside the foundation's directory, readable for its owner alone, and is gone with the
//! [`Export`]. Its digest is the SHA-256 of exactly its bytes.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eonpro::core::event::Digest;
use eonpro::core::phi::Phi;
use eonpro::storage::VersionInfo;
use ring::digest::{Context, SHA256};
use serde_json::{Value, json};

use crate::record::{ClinicalResource, Patient};
use crate::site::Failure;

/// How many things of each kind an export has.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Contents {
    /// Patients.
    pub patients: usize,
    /// Clinical resources.
    pub resources: usize,
    /// Documents.
    pub documents: usize,
}

/// An export that is being written.
pub struct Writer {
    dir: tempfile::TempDir,
    path: PathBuf,
    file: BufWriter<File>,
    hash: Context,
    contents: Contents,
}

/// An export that was written.
#[derive(Debug)]
pub struct Export {
    dir: tempfile::TempDir,
    path: PathBuf,
    /// The SHA-256 of the file.
    pub digest: Digest,
    /// What was written.
    pub contents: Contents,
}

impl Writer {
    /// Begins a file in a directory of its own.
    pub fn begin() -> Result<Self, Failure> {
        let mut folder = tempfile::Builder::new();
        #[cfg(unix)]
        folder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let dir = folder.tempdir()?;
        let path = dir.path().join("export.ndjson");
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(Self {
            file: BufWriter::new(options.open(&path)?),
            dir,
            path,
            hash: Context::new(&SHA256),
            contents: Contents::default(),
        })
    }

    /// Adds a patient with every field.
    pub fn patient(&mut self, patient: &Patient) -> Result<(), Failure> {
        let text = |value: &Option<Phi<String>>| value.as_ref().map(|one| one.expose().clone());
        // All fields by name: a new one does not compile until it is exported.
        let Patient {
            id,
            subject,
            name,
            family,
            birth_date,
            ssn,
            mrn,
            licence,
            passport,
            address,
            phone,
        } = patient;
        self.contents.patients += 1;
        self.line(&json!({"patient": {
            "id": id.to_string(), "subject": subject.to_string(), "name": text(name),
            "family": text(family), "birth_date": text(birth_date), "ssn": text(ssn),
            "mrn": text(mrn), "licence": text(licence), "passport": text(passport),
            "address": text(address), "phone": text(phone),
        }}))
    }

    /// Adds a clinical resource.
    pub fn resource(&mut self, resource: &ClinicalResource) -> Result<(), Failure> {
        let ClinicalResource {
            id,
            patient,
            kind,
            body,
        } = resource;
        self.contents.resources += 1;
        self.line(&json!({"resource": {
            "id": id.to_string(), "patient": patient.to_string(), "kind": kind,
            "body": serde_json::from_str::<Value>(body.expose())?,
        }}))
    }

    /// Adds a document.
    pub fn document(&mut self, info: &VersionInfo, bytes: &[u8]) -> Result<(), Failure> {
        self.contents.documents += 1;
        self.line(&json!({"document": {
            "id": info.document.to_string(), "version": info.version.to_string(),
            "subject": info.subject.map(|subject| subject.to_string()),
            "category": info.category.as_str(), "media_type": info.declared.as_str(),
            "name": info.name.expose(), "data": STANDARD.encode(bytes),
        }}))
    }

    fn line(&mut self, line: &Value) -> Result<(), Failure> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.hash.update(&bytes);
        Ok(self.file.write_all(&bytes)?)
    }

    /// Ends the file, on disk. Blocks.
    pub fn finish(self) -> Result<Export, Failure> {
        let file = self.file.into_inner().map_err(|error| error.into_error())?;
        file.sync_all()?;
        Ok(Export {
            dir: self.dir,
            path: self.path,
            digest: digest(self.hash)?,
            contents: self.contents,
        })
    }
}

impl Export {
    /// Reads the file again: its digest and everything in it must be what was written. Blocks.
    pub fn verify(&self) -> Result<(), Failure> {
        let (digest, contents) = read(&self.path)?;
        if digest != self.digest {
            return Err("the export on disk is not the one that was written".into());
        }
        if contents != self.contents {
            return Err("the export on disk does not have everything".into());
        }
        Ok(())
    }

    /// Removes the file and its directory.
    pub fn remove(self) -> Result<(), Failure> {
        Ok(self.dir.close()?)
    }
}

/// The digest of an export and what is in it, a line at a time.
fn read(path: &Path) -> Result<(Digest, Contents), Failure> {
    let mut reader = BufReader::new(File::open(path)?);
    let (mut hash, mut contents) = (Context::new(&SHA256), Contents::default());
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        hash.update(&line);
        let value: Value = serde_json::from_slice(&line)?;
        let kind = value.as_object().and_then(|object| object.iter().next());
        match kind {
            Some((kind, _)) if kind == "patient" => contents.patients += 1,
            Some((kind, _)) if kind == "resource" => contents.resources += 1,
            Some((kind, document)) if kind == "document" => {
                let data = document.pointer("/data").and_then(Value::as_str);
                STANDARD.decode(data.ok_or("an exported document without its data")?)?;
                contents.documents += 1;
            }
            _ => return Err("the export has a line of no kind".into()),
        }
        line.clear();
    }
    Ok((digest(hash)?, contents))
}

fn digest(hash: Context) -> Result<Digest, Failure> {
    Ok(Digest::from_bytes(hash.finish().as_ref().try_into()?))
}

#[cfg(test)]
mod tests {
    use eonpro::core::entropy::SeededEntropy;
    use eonpro::core::id::{RowId, SubjectId};

    use super::*;

    /// An export of one patient with one resource.
    fn export() -> Export {
        let entropy = SeededEntropy::new(7);
        let dataset = crate::generate::dataset(1).unwrap();
        let (row, subject) = (RowId::random(&entropy), SubjectId::random(&entropy));
        let resource = ClinicalResource {
            id: RowId::random(&entropy),
            patient: row,
            kind: "Condition".to_owned(),
            body: Phi::from("{\"code\":{\"text\":\"Prediabetes\"}}"),
        };
        let mut writer = Writer::begin().unwrap();
        let patient = Patient::of(&dataset.patients[0], row, subject);
        writer.patient(&patient).unwrap();
        writer.resource(&resource).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn the_digest_is_the_one_of_the_file_and_the_contents_are_counted() {
        let export = export();
        let bytes = std::fs::read(&export.path).unwrap();
        assert_eq!(export.digest, Digest::of(&bytes));
        let expected = Contents {
            patients: 1,
            resources: 1,
            documents: 0,
        };
        assert_eq!(export.contents, expected);
        export.verify().unwrap();
    }

    #[test]
    fn a_patient_is_exported_with_every_field_and_a_resource_with_its_body() {
        let export = export();
        let text = std::fs::read_to_string(&export.path).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let patient = lines[0]["patient"].as_object().unwrap();
        assert_eq!(patient.len(), 11);
        assert!(patient.values().all(Value::is_string), "{patient:?}");
        assert_eq!(lines[1]["resource"]["patient"], patient["id"]);
        assert_eq!(lines[1]["resource"]["body"]["code"]["text"], "Prediabetes");
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let export = export();
        for (path, allowed) in [(export.path.as_path(), 0o600), (export.dir.path(), 0o700)] {
            let mode = std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, allowed);
        }
    }

    #[test]
    fn an_export_that_changed_on_disk_does_not_verify() {
        let export = export();
        let good = std::fs::read(&export.path).unwrap();
        let cut = good.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let mut flipped = good.clone();
        let year = good.windows(2).position(|pair| pair == b"19").unwrap();
        flipped[year] = b'2';
        for changed in [&good[..cut], &flipped, b"", b"{}\n"] {
            std::fs::write(&export.path, changed).unwrap();
            assert!(export.verify().is_err());
        }
        std::fs::write(&export.path, good).unwrap();
        export.verify().unwrap();
    }

    #[test]
    fn it_is_gone_when_it_was_removed_or_forgotten() {
        for remove in [|export: Export| export.remove().unwrap(), drop] {
            let export = export();
            let dir = export.dir.path().to_owned();
            remove(export);
            assert!(!dir.exists());
        }
    }
}
