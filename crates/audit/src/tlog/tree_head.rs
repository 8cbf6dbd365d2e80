//! What a checkpoint says: which log, how large, and its root. Format: C2SP tlog-checkpoint.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eonpro_core::event::Digest;

use super::tile::decimal;
use crate::checkpoint::Checkpoint;

/// The text of a checkpoint of any log. Prints as that text; whether somebody signed it says the
/// [`Note`](super::Note) around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeHead {
    origin: String,
    size: u64,
    root: Digest,
    extensions: Vec<String>,
}

impl TreeHead {
    /// The head of the log that `origin` names; `None` if that is not one line that says something.
    #[must_use]
    pub fn new(origin: &str, size: u64, root: Digest) -> Option<Self> {
        let origin = line(origin)?;
        Some(Self {
            origin,
            size,
            root,
            extensions: Vec::new(),
        })
    }

    /// With one more extension line, which nobody audits; `None` if it is no line that says something.
    #[must_use]
    pub fn with_extension(mut self, extension: &str) -> Option<Self> {
        self.extensions.push(line(extension)?);
        Some(self)
    }

    /// Which log it is about.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// How many leaves the log has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Their RFC 6962 root.
    #[must_use]
    pub const fn root(&self) -> &Digest {
        &self.root
    }

    /// The extension lines, without their line feeds.
    #[must_use]
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }

    /// Reads the text of a checkpoint; `None` if it is not spelt exactly as it would be printed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size) = (lines.next()?, lines.next()?);
        let root = hash(lines.next()?)?;
        let head = Self::new(origin, decimal(size)?, root)?;
        lines.try_fold(head, Self::with_extension)
    }
}

impl From<Checkpoint> for TreeHead {
    /// One of our own: its origin is one line.
    fn from(checkpoint: Checkpoint) -> Self {
        Self {
            origin: checkpoint.log.to_string(),
            size: checkpoint.size,
            root: checkpoint.root,
            extensions: Vec::new(),
        }
    }
}

impl fmt::Display for TreeHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = STANDARD.encode(self.root.as_bytes());
        write!(f, "{}\n{}\n{root}\n", self.origin, self.size)?;
        let mut extensions = self.extensions.iter();
        extensions.try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// A line of a note that is not empty.
fn line(text: &str) -> Option<String> {
    let good = !text.is_empty() && text.bytes().all(|byte| byte >= b' ');
    good.then(|| text.to_owned())
}

/// A hash as one line of base64.
pub(super) fn hash(line: &str) -> Option<Digest> {
    let bytes = STANDARD.decode(line).ok()?;
    bytes.try_into().ok().map(Digest::from_bytes)
}

/// `hash` as one line of base64, with its line feed.
pub(super) fn write_hash(f: &mut fmt::Formatter<'_>, hash: &Digest) -> fmt::Result {
    writeln!(f, "{}", STANDARD.encode(hash.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISHED: &str =
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    #[test]
    fn the_specification_s_example_is_read_and_written() {
        let head = TreeHead::parse(PUBLISHED).unwrap();
        assert_eq!(head.origin(), "example.com/behind-the-sofa");
        assert_eq!(head.size(), 20_852_163);
        assert_eq!(head.to_string(), PUBLISHED);
        let extended = head
            .with_extension("first")
            .unwrap()
            .with_extension(" ")
            .unwrap();
        let text = format!("{PUBLISHED}first\n \n");
        assert_eq!(extended.to_string(), text);
        assert_eq!(TreeHead::parse(&text), Some(extended));
    }

    #[test]
    fn an_origin_is_any_line_and_a_size_any_number() {
        let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
        for (origin, size) in [("a b + \u{e9}", "0"), (" ", "18446744073709551615")] {
            let text = format!("{origin}\n{size}\n{root}\n");
            assert_eq!(TreeHead::parse(&text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
        for bad in [
            String::new(),
            "\n\n\n".to_owned(),
            "a\n1\n".to_owned(),
            format!("a\n1\n{root}"),
            format!("\n1\n{root}\n"),
            format!("a\n\n{root}\n"),
            format!("a\n01\n{root}\n"),
            format!("a\n00\n{root}\n"),
            format!("a\n+1\n{root}\n"),
            format!("a\n-1\n{root}\n"),
            format!("a\n 1\n{root}\n"),
            format!("a\n1 \n{root}\n"),
            format!("a\n0x1\n{root}\n"),
            format!("a\n18446744073709551616\n{root}\n"),
            format!("a\n1\n{}\n", root.trim_end_matches('=')),
            // The same 32 bytes with other bits in the last, unused ones.
            format!("a\n1\n{}\n", root.replace("q2I=", "q2J=")),
            format!("a\n1\n{}\n", root.replace('/', "_")),
            format!("a\n1\n{root}AAAA\n"),
            "a\n1\nAAAA\n".to_owned(),
            format!("a\n1\n{root}\n\n"),
            format!("a\n1\n{root}\n\nextension\n"),
            format!("a\r\n1\n{root}\n"),
            format!("a\n1\n{root}\nta\tb\n"),
        ] {
            assert_eq!(TreeHead::parse(&bad), None, "{bad:?}");
        }
        let root = Digest::of(b"");
        assert_eq!(TreeHead::new("", 0, root), None);
        assert_eq!(TreeHead::new("a\nb", 0, root), None);
        assert_eq!(
            TreeHead::new("a", 0, root).unwrap().with_extension(""),
            None
        );
    }
}
