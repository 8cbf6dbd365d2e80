//! The built-in scanner: fixed byte signatures, looked for everywhere in the content.
//!
//! It knows the EICAR test file and what a deployment adds. It inflates nothing and is no
//! replacement for a real engine, and its posture says so.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use eonpro_core::component::{Component, Durability, Fitness, Health, Posture, Validation};
use eonpro_core::event::Code;

use crate::error::StorageError;
use crate::scan::{Scan, ScanError, ScanInput, Scanner, ScannerId, Verdict};
use crate::search::{Patterns, StreamSearch};

const ENGINE: Code = Code::constant("eonpro-signatures:0.0.1");
const MOST_SIGNATURES: usize = 10_000;

/// A name and the bytes that betray it.
#[derive(Debug, Clone)]
pub struct Signature {
    /// What is found where the bytes are.
    pub name: Code,
    /// The bytes, at least four.
    pub bytes: Vec<u8>,
}

/// The built-in scanner: knows EICAR and the signatures it is given, inflates nothing.
#[derive(Debug)]
pub struct SignatureScanner {
    patterns: Patterns,
    names: Arc<[Code]>,
    id: ScannerId,
}

impl SignatureScanner {
    /// A scanner that knows EICAR.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn built_in() -> Result<Self, StorageError> {
        Self::with([])
    }

    /// A scanner that knows EICAR and `further` signatures.
    ///
    /// # Errors
    /// [`StorageError::Config`] for a signature of fewer than 4 bytes or more than 10,000 of them.
    pub fn with(further: impl IntoIterator<Item = Signature>) -> Result<Self, StorageError> {
        let mut all = vec![eicar()];
        all.extend(further.into_iter().take(MOST_SIGNATURES));
        if all.len() > MOST_SIGNATURES {
            return Err(StorageError::Config("too many signatures"));
        }
        if all.iter().any(|signature| signature.bytes.len() < 4) {
            return Err(StorageError::Config("a signature is too short"));
        }
        let bytes: Vec<&[u8]> = all.iter().map(|one| one.bytes.as_slice()).collect();
        let signatures = Code::new(format!("list:{}", all.len()))
            .map_err(|_| StorageError::Config("too many signatures"))?;
        Ok(Self {
            patterns: Patterns::new(&bytes)?,
            names: all.iter().map(|signature| signature.name.clone()).collect(),
            id: ScannerId {
                engine: ENGINE,
                signatures,
            },
        })
    }
}

/// The EICAR test file (eicar.org, 68 bytes), assembled so that neither this file nor the program
/// built from it holds the string: other scanners would stop at them.
fn eicar() -> Signature {
    const PARTS: [&str; 4] = [
        "X5O!P%@AP[4\\PZX5",
        "4(P^)7CC)7}$EI",
        "CAR-STANDARD-ANTIVI",
        "RUS-TEST-FILE!$H+H*",
    ];
    Signature {
        name: Code::constant("Eicar-Test-File"),
        bytes: PARTS.concat().into_bytes(),
    }
}

#[async_trait]
impl Component for SignatureScanner {
    fn name(&self) -> &'static str {
        "signature-scanner"
    }

    fn posture(&self) -> Posture {
        Posture {
            durability: Durability::Stateless,
            crypto: Validation::NoCrypto,
            fitness: Fitness::Development,
        }
    }

    async fn health(&self) -> Health {
        Health::Healthy
    }

    async fn close(&self) {}
}

#[async_trait]
impl Scanner for SignatureScanner {
    fn id(&self) -> ScannerId {
        self.id.clone()
    }

    async fn begin(&self, _: ScanInput) -> Result<Box<dyn Scan>, ScanError> {
        Ok(Box::new(SignatureScan {
            search: StreamSearch::new(self.patterns.clone()),
            names: Arc::clone(&self.names),
            found: None,
        }))
    }
}

struct SignatureScan {
    search: StreamSearch,
    names: Arc<[Code]>,
    found: Option<usize>,
}

#[async_trait]
impl Scan for SignatureScan {
    async fn feed(&mut self, chunk: Bytes) -> Result<(), ScanError> {
        if self.found.is_none() {
            self.found = self.search.see(&chunk);
        }
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Verdict, ScanError> {
        match self.found {
            None => Ok(Verdict::Clean),
            Some(index) => {
                let name = self.names.get(index).ok_or(ScanError::Protocol)?;
                Ok(Verdict::Infected(name.clone()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn verdict(parts: &[&[u8]]) -> Verdict {
        let scanner = SignatureScanner::built_in().unwrap();
        let mut scan = scanner.begin(ScanInput::default()).await.unwrap();
        for part in parts {
            scan.feed(Bytes::copy_from_slice(part)).await.unwrap();
        }
        scan.finish().await.unwrap()
    }

    #[test]
    fn the_assembled_string_is_the_published_one() {
        let bytes = eicar().bytes;
        assert_eq!(bytes.len(), 68);
        let published = "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f";
        assert_eq!(
            eonpro_core::event::Digest::of(&bytes).to_string(),
            published
        );
    }

    #[tokio::test]
    async fn eicar_is_found_across_every_border() {
        let bytes = [b"padding ".as_slice(), &eicar().bytes, b" padding"].concat();
        let found = Verdict::Infected(Code::constant("Eicar-Test-File"));
        for at in 0..=bytes.len() {
            let (first, second) = bytes.split_at(at);
            assert_eq!(verdict(&[first, second]).await, found, "{at}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(verdict(&single).await, found);
    }

    #[tokio::test]
    async fn what_is_almost_eicar_is_clean() {
        let mut bytes = eicar().bytes;
        bytes[40] ^= 1;
        assert_eq!(verdict(&[&bytes]).await, Verdict::Clean);
    }

    #[test]
    fn a_signature_that_would_match_anything_is_refused() {
        let short = Signature {
            name: Code::constant("short"),
            bytes: b"abc".to_vec(),
        };
        assert!(SignatureScanner::with([short]).is_err());
    }
}
