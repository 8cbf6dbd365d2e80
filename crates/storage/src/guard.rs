//! What a category lets in: the decision over declared type, sniffed kind, size and content.
//!
//! The guard sees every byte before it is sealed and keeps no more than the head of it. A mismatch
//! is a decision of a table, not an accident: each declared type lists the kinds it may look like,
//! and what a browser or a machine would execute is refused under every type.

use eonpro_core::error::{Classify, ErrorKind};

use crate::archive;
use crate::error::StorageError;
use crate::media::MediaType;
use crate::policy::CategoryPolicy;
use crate::search::{Patterns, StreamSearch};
use crate::sniff::{self, Kind};

/// Kinds that are refused in every category under every declared type, and why.
pub(crate) const ALWAYS_REFUSED: &[(Kind, &str)] = &[
    (Kind::Executable, "a program"),
    (Kind::Script, "a script or shortcut"),
    (Kind::Html, "a browser would execute it"),
    (Kind::Svg, "a browser would execute it"),
    (Kind::StyledXml, "its stylesheet may be a program"),
    (
        Kind::DicomPolyglot,
        "its preamble may be a program (CVE-2019-11687)",
    ),
    (Kind::MacroOffice, "it carries macros"),
    (Kind::EncryptedZip, "its members cannot be scanned"),
    (
        Kind::Ole,
        "old office formats carry macros; in new ones it means encryption",
    ),
    (Kind::Empty, "there is nothing to keep"),
    (Kind::Other, "nobody knows what it is"),
];

const TEXTS: &[Kind] = &[Kind::Text, Kind::Json, Kind::Hl7, Kind::X12, Kind::Vcf];
const WORD: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
const SHEET: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

/// The decision table: a declared type, and the kinds its content may look like.
const TABLE: &[(&str, &[Kind])] = &[
    ("application/dicom", &[Kind::Dicom]),
    ("application/edf", &[Kind::Edf]),
    ("application/edi-x12", &[Kind::X12]),
    ("application/fhir+json", &[Kind::Json]),
    ("application/fhir+ndjson", &[Kind::Json]),
    ("application/fhir+xml", &[Kind::Xml]),
    ("application/gzip", &[Kind::Gzip]),
    ("application/hl7-v2+er7", &[Kind::Hl7]),
    ("application/json", &[Kind::Json]),
    ("application/pdf", &[Kind::Pdf]),
    ("application/pkcs7-mime", &[Kind::Der]),
    ("application/pkcs7-signature", &[Kind::Der]),
    ("application/scp-ecg", &[Kind::ScpEcg]),
    (SHEET, &[Kind::Xlsx]),
    (WORD, &[Kind::Docx]),
    ("application/vnd.apache.parquet", &[Kind::Parquet]),
    ("application/x-bam", &[Kind::Gzip]),
    ("application/x-cram", &[Kind::Cram]),
    ("application/x-ndjson", &[Kind::Json]),
    ("application/xml", &[Kind::Xml]),
    ("application/zip", &[Kind::Zip]),
    ("application/zstd", &[Kind::Zstd]),
    ("audio/mp4", &[Kind::M4a, Kind::Mp4]),
    ("audio/mpeg", &[Kind::Mp3]),
    ("audio/wav", &[Kind::Wav]),
    ("audio/x-wav", &[Kind::Wav]),
    ("image/heic", &[Kind::Heif]),
    ("image/heif", &[Kind::Heif]),
    ("image/jpeg", &[Kind::Jpeg]),
    ("image/png", &[Kind::Png]),
    ("image/webp", &[Kind::Webp]),
    ("text/csv", &[Kind::Text]),
    ("text/plain", TEXTS),
    ("text/x-bed", &[Kind::Text]),
    ("text/x-vcf", &[Kind::Vcf]),
    ("text/xml", &[Kind::Xml]),
    ("video/mp4", &[Kind::Mp4]),
    ("x-application/hl7-v2+er7", &[Kind::Hl7]),
];

/// Why the guard refused content. Nothing of it was kept.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The category does not accept the declared type.
    #[error("category does not accept the declared media type")]
    TypeNotAllowed,
    /// The content does not look like the declared type.
    #[error("content does not look like its declared media type")]
    Mismatch {
        /// What it was declared as.
        declared: MediaType,
        /// What it looks like.
        sniffed: Kind,
    },
    /// The content looks like something that is refused in every category.
    #[error("content is of a kind that is always refused")]
    Dangerous {
        /// What it looks like.
        sniffed: Kind,
    },
    /// Text that is not UTF-8 or holds control characters.
    #[error("text is not plain utf-8")]
    NotText,
    /// Encryption, macros, scripts or embedded files inside of an accepted type.
    #[error("content carries what its type must not")]
    Active,
}

impl Classify for Rejection {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }
}

/// Whether the table has a row for `media`.
pub(crate) fn knows(media: &MediaType) -> bool {
    !accepted(media).is_empty()
}

/// The kinds that content declared as `media` may look like; none for an unknown type.
#[must_use]
pub(crate) fn accepted(media: &MediaType) -> &'static [Kind] {
    let row = TABLE
        .iter()
        .find(|(declared, _)| *declared == media.as_str());
    row.map_or(&[], |(_, kinds)| kinds)
}

/// The decision for content that looks like `sniffed` and was declared as `declared`.
///
/// # Errors
/// [`Rejection::Dangerous`], [`Rejection::Mismatch`].
pub(crate) fn decide(declared: &MediaType, sniffed: Kind) -> Result<(), Rejection> {
    if ALWAYS_REFUSED.iter().any(|(kind, _)| *kind == sniffed) {
        return Err(Rejection::Dangerous { sniffed });
    }
    if accepted(declared).contains(&sniffed) {
        return Ok(());
    }
    Err(Rejection::Mismatch {
        declared: declared.clone(),
        sniffed,
    })
}

/// Watches one upload.
#[derive(Debug)]
pub struct Guard {
    declared: MediaType,
    limit: u64,
    strict: bool,
    seen: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Fresh,
    Watching { kind: Kind, watch: Watch },
}

impl Guard {
    /// A guard for an upload into the category of `policy`.
    ///
    /// # Errors
    /// [`Rejection::TypeNotAllowed`].
    pub fn new(policy: &CategoryPolicy, declared: &MediaType) -> Result<Self, Rejection> {
        if !policy.types.contains(declared) {
            return Err(Rejection::TypeNotAllowed);
        }
        Ok(Self {
            declared: declared.clone(),
            limit: policy.max_size,
            strict: policy.strict,
            seen: 0,
            state: State::Fresh,
        })
    }

    /// Sees the next part of the upload. The first part decides about the kind, so it should be as
    /// large as an extent; `last` says that nothing follows.
    ///
    /// # Errors
    /// [`StorageError::Rejected`], [`StorageError::TooLarge`].
    pub fn see(&mut self, part: &[u8], last: bool) -> Result<(), StorageError> {
        self.seen = self.seen.saturating_add(part.len() as u64);
        if self.seen > self.limit {
            return Err(StorageError::TooLarge { limit: self.limit });
        }
        if matches!(self.state, State::Fresh) {
            let kind = sniff::sniff(part, last);
            decide(&self.declared, kind)?;
            let watch = Watch::of(kind, self.strict)?;
            self.state = State::Watching { kind, watch };
        }
        if let State::Watching { watch, .. } = &mut self.state {
            watch.see(part, last)?;
        }
        Ok(())
    }

    /// What the content looks like; [`Kind::Empty`] before the first part.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match &self.state {
            State::Fresh => Kind::Empty,
            State::Watching { kind, .. } => *kind,
        }
    }
}

/// What is looked for in the whole stream, part by part.
#[derive(Debug)]
enum Watch {
    Nothing,
    Utf8 { cut: Vec<u8> },
    Markers(StreamSearch),
}

impl Watch {
    fn of(kind: Kind, strict: bool) -> Result<Self, StorageError> {
        let markers: &[&[u8]] = match kind {
            Kind::Zip | Kind::Docx | Kind::Xlsx => &[archive::MACRO_MEMBER],
            Kind::Pdf if strict => &[b"/Encrypt", b"/JavaScript", b"/Launch", b"/EmbeddedFile"],
            Kind::Pdf => &[b"/Encrypt"],
            Kind::Text | Kind::Json | Kind::Xml | Kind::Hl7 | Kind::X12 | Kind::Vcf => {
                return Ok(Self::Utf8 { cut: Vec::new() });
            }
            _ => return Ok(Self::Nothing),
        };
        let patterns = Patterns::new(markers)?;
        Ok(Self::Markers(StreamSearch::new(patterns)))
    }

    fn see(&mut self, part: &[u8], last: bool) -> Result<(), Rejection> {
        match self {
            Self::Nothing => Ok(()),
            Self::Utf8 { cut } => see_text(cut, part, last),
            Self::Markers(search) => match search.see(part) {
                Some(_) => Err(Rejection::Active),
                None => Ok(()),
            },
        }
    }
}

/// Checks one part of a text; `cut` holds the incomplete character at the end of the last part.
fn see_text(cut: &mut Vec<u8>, part: &[u8], last: bool) -> Result<(), Rejection> {
    if !part.iter().all(|byte| sniff::is_text_byte(*byte)) {
        return Err(Rejection::NotText);
    }
    let mut rest = part;
    while !cut.is_empty() {
        let Some((next, after)) = rest.split_first() else {
            break;
        };
        cut.push(*next);
        rest = after;
        match std::str::from_utf8(cut) {
            Ok(_) => cut.clear(),
            Err(error) if error.error_len().is_some() => return Err(Rejection::NotText),
            Err(_) => {}
        }
    }
    if let Err(error) = std::str::from_utf8(rest) {
        if error.error_len().is_some() {
            return Err(Rejection::NotText);
        }
        cut.extend_from_slice(rest.get(error.valid_up_to()..).unwrap_or_default());
    }
    if last && !cut.is_empty() {
        return Err(Rejection::NotText);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::fixture::zip;
    use crate::category::Category;
    use crate::policy::PolicyBook;
    use proptest::prelude::*;

    fn guard(category: Category, declared: &str) -> Result<Guard, Rejection> {
        let book = PolicyBook::built_in();
        let declared = MediaType::parse(declared).unwrap();
        Guard::new(book.of(category).unwrap(), &declared)
    }

    fn judge(category: Category, declared: &str, content: &[u8]) -> Result<Kind, StorageError> {
        let mut guard = guard(category, declared)?;
        guard.see(content, true)?;
        Ok(guard.kind())
    }

    #[test]
    fn what_is_always_refused_appears_in_no_row_of_the_table() {
        for (declared, kinds) in TABLE {
            for (refused, _) in ALWAYS_REFUSED {
                assert!(!kinds.contains(refused), "{declared}");
            }
        }
    }

    #[test]
    fn content_passes_only_under_a_type_that_it_looks_like() {
        let note = b"# Note\nDoing well.\n".as_slice();
        let doc = Category::ClinicalDocument;
        for (category, declared, content, passes) in [
            (doc, "text/plain; charset=utf-8", note, true),
            (doc, "application/pdf", note, false),
            (doc, "application/pdf", b"%PDF-1.4\nhello", true),
            (doc, "text/plain", b"%PDF-1.4\nhello", false),
            (doc, "text/plain", b"<html><script>1</script>", false),
            (doc, "text/plain", b"MZ\x90\0", false),
            (
                doc,
                "application/xml",
                b"<svg xmlns='http://www.w3.org/2000/svg'/>",
                false,
            ),
            (doc, "application/xml", b"<ClinicalDocument/>", true),
            (
                doc,
                WORD,
                &zip(&["[Content_Types].xml", "word/document.xml"], 0),
                true,
            ),
            (
                doc,
                WORD,
                &zip(&["[Content_Types].xml", "word/vbaProject.bin"], 0),
                false,
            ),
            (doc, WORD, &zip(&["payload.exe"], 0), false),
            (doc, "image/png", b"\x89PNG\r\n\x1a\n", false),
            (doc, "text/plain", b"", false),
            (
                Category::ImagingDicom,
                "application/dicom",
                b"not dicom",
                false,
            ),
            (
                Category::ExportPackage,
                "application/zip",
                &zip(&["a.ndjson"], 0),
                true,
            ),
            (
                Category::ExportPackage,
                "application/zip",
                &zip(&["a.ndjson"], 1),
                false,
            ),
            (
                Category::MessageAttachment,
                "application/zip",
                &zip(&["a"], 0),
                false,
            ),
        ] {
            let judged = judge(category, declared, content);
            assert_eq!(judged.is_ok(), passes, "{category} {declared} {judged:?}");
        }
    }

    #[test]
    fn a_strict_category_refuses_active_pdf_and_all_refuse_encrypted() {
        let script = b"%PDF-1.7\n<< /JavaScript 1 0 R >>";
        let locked = b"%PDF-1.7\ntrailer << /Encrypt 5 0 R >>";
        let pdf = "application/pdf";
        assert!(judge(Category::ClinicalDocument, pdf, script).is_ok());
        assert!(judge(Category::MessageAttachment, pdf, script).is_err());
        assert!(judge(Category::ClinicalDocument, pdf, locked).is_err());
    }

    #[test]
    fn one_byte_more_than_the_category_allows_is_too_much() {
        let book = PolicyBook::built_in();
        let mut policy = book.of(Category::ClinicalDocument).unwrap().clone();
        policy.max_size = 8;
        let declared = MediaType::parse("text/plain").unwrap();
        let mut guard = Guard::new(&policy, &declared).unwrap();
        guard.see(b"12345678", false).unwrap();
        let refused = guard.see(b"9", true);
        assert!(matches!(refused, Err(StorageError::TooLarge { limit: 8 })));
    }

    #[test]
    fn a_marker_across_the_border_of_two_parts_is_found() {
        let content = b"%PDF-1.7\ntrailer << /Encrypt 5 0 R >>";
        for split in 9..content.len() {
            let mut guard = guard(Category::ClinicalDocument, "application/pdf").unwrap();
            let (first, second) = content.split_at(split);
            let judged = guard
                .see(first, false)
                .and_then(|()| guard.see(second, true));
            assert!(
                matches!(judged, Err(StorageError::Rejected(Rejection::Active))),
                "{split}"
            );
        }
    }

    proptest! {
        #[test]
        fn text_is_judged_alike_however_it_is_cut(
            text in "[a-zé€𝄞\n]{1,40}",
            wrong in any::<bool>(),
            cuts in prop::collection::vec(1_usize..7, 1..20),
        ) {
            let mut bytes = text.into_bytes();
            if wrong {
                bytes.insert(bytes.len() / 2, 0xff);
            }
            let mut cut = Vec::new();
            let mut rest = bytes.as_slice();
            let mut judged = Ok(());
            for size in cuts.iter().cycle() {
                let (part, after) = rest.split_at((*size).min(rest.len()));
                judged = judged.and_then(|()| see_text(&mut cut, part, after.is_empty()));
                rest = after;
                if rest.is_empty() { break; }
            }
            prop_assert_eq!(judged.is_ok(), !wrong);
        }
    }
}
