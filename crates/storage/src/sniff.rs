//! What content is by its own bytes, whatever its uploader claims.
//!
//! The table of `infer` decides about ordinary formats; what medicine uses and what browsers would
//! execute is refined here. Looks at the head of the content only, never at a file name.

use crate::archive;

/// How many bytes of the head are looked at for text and markup.
const WINDOW: usize = 8 << 10;
const DICOM_PREAMBLE: usize = 128;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// What content looks like.
        #[non_exhaustive]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[$doc])* $variant,)+
        }

        impl Kind {
            /// A stable name for records and pages.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

kinds! {
    /// Nothing at all.
    Empty = "empty",
    /// Text without further form.
    Text = "text",
    /// A JSON value or lines of them.
    Json = "json",
    /// XML that is neither SVG nor XHTML and names no stylesheet.
    Xml = "xml",
    /// HL7 version 2 in pipe encoding.
    Hl7 = "hl7v2",
    /// An ASC X12 interchange.
    X12 = "x12",
    /// Variant calls.
    Vcf = "vcf",
    /// PDF.
    Pdf = "pdf",
    /// DICOM Part 10 with an innocent preamble.
    Dicom = "dicom",
    /// DICOM whose preamble could be another format's header (CVE-2019-11687).
    DicomPolyglot = "dicom-polyglot",
    /// JPEG.
    Jpeg = "jpeg",
    /// PNG.
    Png = "png",
    /// HEIF or HEIC.
    Heif = "heif",
    /// WebP.
    Webp = "webp",
    /// MP4 video.
    Mp4 = "mp4",
    /// MP4 audio.
    M4a = "m4a",
    /// MP3.
    Mp3 = "mp3",
    /// WAVE audio.
    Wav = "wav",
    /// European Data Format.
    Edf = "edf",
    /// SCP-ECG (EN 1064).
    ScpEcg = "scp-ecg",
    /// gzip, bgzf and BAM too.
    Gzip = "gzip",
    /// CRAM alignments.
    Cram = "cram",
    /// Zstandard.
    Zstd = "zstd",
    /// Apache Parquet.
    Parquet = "parquet",
    /// ASN.1 DER, such as PKCS #7.
    Der = "der",
    /// A zip archive without special meaning.
    Zip = "zip",
    /// A word processing document without macros.
    Docx = "docx",
    /// A spreadsheet without macros.
    Xlsx = "xlsx",
    /// An office document with macros.
    MacroOffice = "macro-office",
    /// A zip archive with encrypted members.
    EncryptedZip = "encrypted-zip",
    /// An OLE container: old office documents, encrypted new ones, installers.
    Ole = "ole",
    /// HTML or XHTML.
    Html = "html",
    /// SVG.
    Svg = "svg",
    /// XML that names a stylesheet, which may be a program.
    StyledXml = "styled-xml",
    /// A script: a shebang, PHP, a Windows shortcut or script host file.
    Script = "script",
    /// A program: PE, ELF, Mach-O, WebAssembly, Java, Dalvik.
    Executable = "executable",
    /// Something else, known to nobody here.
    Other = "other",
}

/// What the content that begins with `head` looks like. `complete` says that `head` is all of it.
#[must_use]
pub fn sniff(head: &[u8], complete: bool) -> Kind {
    if head.is_empty() {
        return Kind::Empty;
    }
    // Order matters. DICOM leaves its first 128 bytes to anybody. Text is decided before magic
    // numbers, because a note may begin with "MZ" or "BM"; no program is text throughout.
    dicom(head)
        .or_else(|| lead(head))
        .or_else(|| textual(head))
        .or_else(|| executable(head))
        .or_else(|| container(head, complete))
        .or_else(|| binary(head))
        .unwrap_or(Kind::Other)
}

/// Formats that may be text throughout, by how they begin.
fn lead(head: &[u8]) -> Option<Kind> {
    const EDF: &[u8] = b"0       ";
    for (magic, kind) in [
        (b"#!".as_slice(), Kind::Script),
        (b"%PDF-", Kind::Pdf),
        (EDF, Kind::Edf),
        (b"{\\rtf", Kind::Other),
    ] {
        if head.starts_with(magic) {
            return Some(kind);
        }
    }
    None
}

fn executable(head: &[u8]) -> Option<Kind> {
    const LNK: &[u8] = b"\x4c\x00\x00\x00\x01\x14\x02\x00";
    let known = infer::is_app(head) && !infer::app::is_der(head) && !infer::app::is_pem(head);
    if known || head.starts_with(b"MZ") || head.starts_with(b"\x7fELF") {
        return Some(Kind::Executable);
    }
    head.starts_with(LNK).then_some(Kind::Script)
}

fn is_dicom(head: &[u8]) -> bool {
    head.get(DICOM_PREAMBLE..DICOM_PREAMBLE + 4) == Some(b"DICM".as_slice())
}

/// PS3.10 section 7.1: the preamble is free for other formats' use. Zeros and the TIFF of
/// whole-slide images are innocent.
fn dicom(head: &[u8]) -> Option<Kind> {
    if !is_dicom(head) {
        return None;
    }
    let preamble = head.get(..DICOM_PREAMBLE)?;
    let tiff = [b"II*\0", b"MM\0*"]
        .iter()
        .any(|magic| preamble.starts_with(*magic));
    if tiff || preamble.iter().all(|byte| *byte == 0) {
        Some(Kind::Dicom)
    } else {
        Some(Kind::DicomPolyglot)
    }
}

fn container(head: &[u8], complete: bool) -> Option<Kind> {
    const OLE: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";
    if head.starts_with(OLE) {
        return Some(Kind::Ole);
    }
    archive::looks_like_zip(head).then(|| archive::classify(head, complete))
}

fn binary(head: &[u8]) -> Option<Kind> {
    const SCP_NAME: &[u8] = b"SCPECG";
    if head.get(16..22) == Some(SCP_NAME) {
        return Some(Kind::ScpEcg);
    }
    for (magic, kind) in [
        (b"CRAM".as_slice(), Kind::Cram),
        (b"PAR1", Kind::Parquet),
        (b"\x28\xb5\x2f\xfd", Kind::Zstd),
    ] {
        if head.starts_with(magic) {
            return Some(kind);
        }
    }
    let is_der = matches!(head, [0x30, 0x80 | 0x82 | 0x83 | 0x84, ..]);
    if is_der {
        return Some(Kind::Der);
    }
    match infer::get(head)?.mime_type() {
        "image/jpeg" => Some(Kind::Jpeg),
        "image/png" => Some(Kind::Png),
        "image/heif" => Some(Kind::Heif),
        "image/webp" => Some(Kind::Webp),
        "video/mp4" | "video/x-m4v" => Some(Kind::Mp4),
        "audio/m4a" => Some(Kind::M4a),
        "audio/mpeg" => Some(Kind::Mp3),
        "audio/x-wav" => Some(Kind::Wav),
        "application/gzip" => Some(Kind::Gzip),
        _ => None,
    }
}

fn textual(head: &[u8]) -> Option<Kind> {
    let window = head.get(..WINDOW.min(head.len())).unwrap_or(head);
    if !is_text_prefix(window) {
        return None;
    }
    let lower = window.to_ascii_lowercase();
    let lower = lower.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&lower);
    let body = lower.trim_ascii_start();
    if let Some(kind) = markup(body) {
        return Some(kind);
    }
    for (magic, kind) in [
        (b"msh|".as_slice(), Kind::Hl7),
        (b"fhs|", Kind::Hl7),
        (b"isa*", Kind::X12),
        (b"##fileformat=vcf", Kind::Vcf),
        (b"{", Kind::Json),
        (b"[", Kind::Json),
    ] {
        if body.starts_with(magic) {
            return Some(kind);
        }
    }
    Some(Kind::Text)
}

/// What a browser or an interpreter would run, and XML. `body` is in lower case.
fn markup(body: &[u8]) -> Option<Kind> {
    const HTML: [&[u8]; 15] = [
        b"<!doctype html",
        b"<html",
        b"<head",
        b"<body",
        b"<script",
        b"<iframe",
        b"<img",
        b"<a ",
        b"<title",
        b"<style",
        b"<meta",
        b"<object",
        b"<embed",
        b"<form",
        b"<link",
    ];
    const SCRIPT: [&[u8]; 5] = [b"<?php", b"<%", b"<job", b"<hta:", b"[internetshortcut]"];
    if SCRIPT.iter().any(|start| body.starts_with(start)) {
        return Some(Kind::Script);
    }
    if HTML.iter().any(|start| body.starts_with(start)) {
        return Some(Kind::Html);
    }
    let contains = |needle: &[u8]| body.windows(needle.len()).any(|part| part == needle);
    if body.starts_with(b"<svg") || body.starts_with(b"<!doctype svg") {
        return Some(Kind::Svg);
    }
    let tag_like =
        matches!(body, [b'<', next, ..] if next.is_ascii_alphabetic() || b"!?_".contains(next));
    if !tag_like {
        return None;
    }
    if contains(b"<svg") || contains(b"http://www.w3.org/2000/svg") {
        Some(Kind::Svg)
    } else if contains(b"<html") || contains(b"<script") || contains(b"<!doctype html") {
        Some(Kind::Html)
    } else if contains(b"<?xml-stylesheet") {
        Some(Kind::StyledXml)
    } else {
        Some(Kind::Xml)
    }
}

/// Whether a cut-off piece of text is UTF-8 without control characters.
fn is_text_prefix(window: &[u8]) -> bool {
    let valid = match std::str::from_utf8(window) {
        Ok(_) => true,
        // An incomplete character at the end is where the window was cut.
        Err(error) => error.error_len().is_none(),
    };
    valid && window.iter().all(|byte| is_text_byte(*byte))
}

/// Tab, line feed, vertical tab (HL7 in files), form feed, carriage return, file separator (HL7
/// in files), and everything from space on except delete.
pub(crate) fn is_text_byte(byte: u8) -> bool {
    matches!(byte, 9..=13 | 28) || (byte >= 0x20 && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dicom_with(preamble: &[u8]) -> Vec<u8> {
        let mut file = preamble.to_vec();
        file.resize(DICOM_PREAMBLE, 0);
        file.extend_from_slice(b"DICM\x02\0\0\0UL\x04\0");
        file
    }

    #[test]
    fn content_is_what_its_bytes_say() {
        let table: &[(&[u8], Kind)] = &[
            (b"", Kind::Empty),
            (b"# Chief Complaint\nNo complaints.\n", Kind::Text),
            ("Gr\u{fc}\u{df}e".as_bytes(), Kind::Text),
            (b"a < b, says the note", Kind::Text),
            (b"MZ twins, BMI 23", Kind::Text),
            (b"BMI 23", Kind::Text),
            (b"{\\rtf1 text}", Kind::Other),
            (b"%PDF-1.7\n", Kind::Pdf),
            (b"{\"resourceType\":\"Patient\"}", Kind::Json),
            (b"MSH|^~\\&|LAB|", Kind::Hl7),
            (b"ISA*00*          *", Kind::X12),
            (b"##fileformat=VCFv4.3\n", Kind::Vcf),
            (
                b"<?xml version=\"1.0\"?><ClinicalDocument xmlns=\"urn:hl7-org:v3\"/>",
                Kind::Xml,
            ),
            (b"\xff\xd8\xff\xe0\0\x10JFIF", Kind::Jpeg),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", Kind::Png),
            (b"\x1f\x8b\x08\0\0\0\0\0", Kind::Gzip),
            (b"CRAM\x03\x01", Kind::Cram),
            (b"PAR1\x15\x04", Kind::Parquet),
            (b"\x30\x82\x05\x00\x06\x09", Kind::Der),
            (b"0       X X X X", Kind::Edf),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0", Kind::Ole),
            (b"\x00\x01\x02\x03", Kind::Other),
            (b"text then \x00 nothing", Kind::Other),
            (b"\xff\xfeT\0e\0x\0t\0", Kind::Other),
        ];
        for (head, kind) in table {
            assert_eq!(
                sniff(head, true),
                *kind,
                "{:?}",
                String::from_utf8_lossy(head)
            );
        }
    }

    #[test]
    fn what_could_be_executed_is_recognised_in_every_disguise() {
        let table: &[(&[u8], Kind)] = &[
            (b"MZ\x90\0\x03", Kind::Executable),
            (b"\x7fELF\x02\x01\x01\0", Kind::Executable),
            (b"\xcf\xfa\xed\xfe\x07\0\0\x01", Kind::Executable),
            (b"\0asm\x01\0\0\0", Kind::Executable),
            (b"#!/bin/sh\nrm -rf /", Kind::Script),
            (b"<?php system($_GET[0]);", Kind::Script),
            (b"\x4c\0\0\0\x01\x14\x02\0\0\0", Kind::Script),
            (b"\xef\xbb\xbf  \n<!DOCTYPE html><p>", Kind::Html),
            (b"<ScRiPt>alert(1)</script>", Kind::Html),
            (b"<p><script>alert(1)</script>", Kind::Html),
            (b"<svg onload=alert(1)>", Kind::Svg),
            (
                b"<?xml version=\"1.0\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\"/>",
                Kind::Svg,
            ),
            (
                b"<?xml version=\"1.0\"?><x:svg xmlns:x='http://www.w3.org/2000/svg'/>",
                Kind::Svg,
            ),
            (
                b"<?xml version=\"1.0\"?><?xml-stylesheet href='a.xsl'?><a/>",
                Kind::StyledXml,
            ),
        ];
        for (head, kind) in table {
            assert_eq!(
                sniff(head, true),
                *kind,
                "{:?}",
                String::from_utf8_lossy(head)
            );
        }
    }

    #[test]
    fn a_dicom_preamble_may_hold_zeros_or_tiff_and_nothing_else() {
        assert_eq!(sniff(&dicom_with(b""), true), Kind::Dicom);
        assert_eq!(sniff(&dicom_with(b"II*\0\x08"), true), Kind::Dicom);
        for preamble in [
            b"MZ\x90\0".as_slice(),
            b"\x7fELF",
            b"#!/bin/sh",
            b"%PDF-1.4",
        ] {
            assert_eq!(sniff(&dicom_with(preamble), true), Kind::DicomPolyglot);
        }
    }
}
