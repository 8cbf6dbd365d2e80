//! A look into zip archives, as far as it is cheap: which family, encrypted, with macros.
//!
//! Names come from the headers, nothing is inflated. An archive that lies completely in view is
//! judged by its central directory, as a reader would find it; of a longer one only the head is
//! seen here, and the guard looks for macros in the whole stream.

use crate::sniff::Kind;

const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const EMPTY: &[u8] = END;
const END_LEN: usize = 22;
const LONGEST_COMMENT: usize = 0xffff;
/// APPNOTE 4.4.4: bit 0 of the general purpose flag.
const ENCRYPTED: u16 = 1;
/// The member that holds the macros of an office document.
pub(crate) const MACRO_MEMBER: &[u8] = b"vbaProject.bin";

pub(crate) fn looks_like_zip(head: &[u8]) -> bool {
    head.starts_with(LOCAL) || head.starts_with(EMPTY)
}

/// The kind of the zip archive that begins with `head`.
pub(crate) fn classify(head: &[u8], complete: bool) -> Kind {
    let first_encrypted = number(head, 6).is_some_and(|flags| flags & ENCRYPTED != 0);
    if first_encrypted && head.starts_with(LOCAL) {
        return Kind::EncryptedZip;
    }
    if contains(head, MACRO_MEMBER) {
        return Kind::MacroOffice;
    }
    let traits = if complete {
        match directory(head) {
            Some(traits) => traits,
            // A reader that finds the directory elsewhere would see another archive than we.
            None => return Kind::Other,
        }
    } else {
        by_head(head)
    };
    match traits {
        Traits {
            encrypted: true, ..
        } => Kind::EncryptedZip,
        Traits {
            word: true,
            sheet: false,
            ..
        } => Kind::Docx,
        Traits {
            word: false,
            sheet: true,
            ..
        } => Kind::Xlsx,
        _ => Kind::Zip,
    }
}

#[derive(Default)]
struct Traits {
    encrypted: bool,
    word: bool,
    sheet: bool,
}

fn by_head(head: &[u8]) -> Traits {
    let office = contains(head, b"[Content_Types].xml");
    Traits {
        encrypted: false,
        word: office && contains(head, b"word/"),
        sheet: office && contains(head, b"xl/"),
    }
}

/// Walks the central directory; `None` if it is not exactly where the archive's end says.
fn directory(archive: &[u8]) -> Option<Traits> {
    let end = end_record(archive)?;
    let count = number(archive, end + 10)?;
    let size = usize::try_from(wide(archive, end + 12)?).ok()?;
    let start = usize::try_from(wide(archive, end + 16)?).ok()?;
    // Readers find the directory by its offset or by its size: both must tell the same, else each
    // sees another archive.
    if start.checked_add(size)? != end {
        return None;
    }
    let mut traits = Traits::default();
    let mut at = start;
    for _ in 0..count {
        if archive.get(at..at + 4)? != CENTRAL {
            return None;
        }
        let flags = number(archive, at + 8)?;
        let name_len = usize::from(number(archive, at + 28)?);
        let extra = usize::from(number(archive, at + 30)?);
        let comment = usize::from(number(archive, at + 32)?);
        let name = archive.get(at + 46..at + 46 + name_len)?;
        traits.encrypted |= flags & ENCRYPTED != 0;
        traits.word |= name.starts_with(b"word/");
        traits.sheet |= name.starts_with(b"xl/");
        at += 46 + name_len + extra + comment;
    }
    (at == end).then_some(traits)
}

/// Where the end record begins: the one whose comment reaches exactly to the end of the archive.
fn end_record(archive: &[u8]) -> Option<usize> {
    let last = archive.len().checked_sub(END_LEN)?;
    let first = last.saturating_sub(LONGEST_COMMENT);
    (first..=last).rev().find(|at| {
        let comment = number(archive, at + 20).map(usize::from);
        archive.get(*at..at + 4) == Some(END) && comment == Some(last - at)
    })
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..at.checked_add(2)?)?;
    field.try_into().ok().map(u16::from_le_bytes)
}

fn wide(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    field.try_into().ok().map(u32::from_le_bytes)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|part| part == needle)
}

#[cfg(test)]
pub(crate) mod fixture {
    /// A zip archive of stored, empty members.
    pub(crate) fn zip(names: &[&str], flags: u16) -> Vec<u8> {
        let (mut local, mut central) = (Vec::new(), Vec::new());
        for name in names {
            let offset = u32::try_from(local.len()).unwrap();
            let len = u16::try_from(name.len()).unwrap();
            local.extend_from_slice(super::LOCAL);
            local.extend_from_slice(&[20, 0]);
            local.extend_from_slice(&flags.to_le_bytes());
            local.extend_from_slice(&[0; 18]);
            local.extend_from_slice(&len.to_le_bytes());
            local.extend_from_slice(&[0; 2]);
            local.extend_from_slice(name.as_bytes());
            central.extend_from_slice(super::CENTRAL);
            central.extend_from_slice(&[20, 0, 20, 0]);
            central.extend_from_slice(&flags.to_le_bytes());
            central.extend_from_slice(&[0; 18]);
            central.extend_from_slice(&len.to_le_bytes());
            central.extend_from_slice(&[0; 12]);
            central.extend_from_slice(&offset.to_le_bytes());
            central.extend_from_slice(name.as_bytes());
        }
        let (start, size) = (local.len(), central.len());
        let count = u16::try_from(names.len()).unwrap().to_le_bytes();
        local.extend_from_slice(&central);
        local.extend_from_slice(super::END);
        local.extend_from_slice(&[0; 4]);
        local.extend_from_slice(&count);
        local.extend_from_slice(&count);
        local.extend_from_slice(&u32::try_from(size).unwrap().to_le_bytes());
        local.extend_from_slice(&u32::try_from(start).unwrap().to_le_bytes());
        local.extend_from_slice(&[0; 2]);
        local
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::zip;
    use super::*;

    #[test]
    fn the_members_names_tell_the_family() {
        let types = "[Content_Types].xml";
        for (names, flags, kind) in [
            (&["a.json", "b.json"][..], 0, Kind::Zip),
            (&[types, "word/document.xml"], 0, Kind::Docx),
            (&[types, "xl/workbook.xml"], 0, Kind::Xlsx),
            (
                &[types, "word/document.xml", "word/vbaProject.bin"],
                0,
                Kind::MacroOffice,
            ),
            (&["a.json"], 1, Kind::EncryptedZip),
            (&["a.json"], 0x0801, Kind::EncryptedZip),
            (&[], 0, Kind::Zip),
        ] {
            assert_eq!(classify(&zip(names, flags), true), kind, "{names:?}");
        }
    }

    #[test]
    fn an_archive_whose_directory_is_not_where_it_says_is_no_archive() {
        let mut shifted = zip(&["a"], 0);
        shifted.extend_from_slice(b"trailing");
        assert_eq!(classify(&shifted, true), Kind::Other);
        let mut lying = zip(&["a"], 0);
        let size = lying.len() - 10;
        lying[size] ^= 1;
        assert_eq!(classify(&lying, true), Kind::Other);
        let mut cut = zip(&["a"], 0);
        cut.truncate(40);
        assert_eq!(classify(&cut, true), Kind::Other);
        let mut prefixed = zip(&["a"], 0);
        prefixed.splice(0..0, LOCAL.iter().copied().chain([0; 26]));
        assert_eq!(classify(&prefixed, true), Kind::Other);
    }

    #[test]
    fn an_encrypted_member_hides_nowhere_in_the_directory() {
        let mut archive = zip(&["a", "b"], 0);
        let second = archive
            .windows(4)
            .rposition(|part| part == CENTRAL)
            .unwrap();
        archive[second + 8] = 1;
        assert_eq!(classify(&archive, true), Kind::EncryptedZip);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_fail(mut bytes in proptest::collection::vec(0_u8.., 0..400), at in 0..400_usize) {
            bytes.splice(0..0, LOCAL.iter().copied());
            let end = at.min(bytes.len());
            bytes.splice(end..end, END.iter().copied());
            let _ = classify(&bytes, true);
            let _ = classify(&bytes, false);
        }
    }
}
