//! JSON text, written so that one event stays one line and nothing in it can forge another.
//!
//! Beyond what RFC 8259 demands, C1 controls, line separators and bidirectional controls are
//! escaped: a terminal or a viewer that shows the line cannot be steered by it.

/// Appends `text` as a JSON string of at most `room` bytes with its quotes. Returns whether all of
/// it fitted; what did not is cut off between characters. Writes nothing if `room` is below two.
pub(crate) fn push_string(out: &mut String, text: &str, room: usize) -> bool {
    let Some(mut room) = room.checked_sub(2) else {
        return false;
    };
    out.push('"');
    let mut plain_from = 0;
    let mut whole = true;
    for (at, char) in text.char_indices() {
        let escape = escape(char);
        let width = escape.width(char);
        if width > room {
            push_plain(out, text, plain_from, at);
            plain_from = text.len();
            whole = false;
            break;
        }
        room -= width;
        if !matches!(escape, Escape::None) {
            push_plain(out, text, plain_from, at);
            escape.push(out, char);
            plain_from = at + char.len_utf8();
        }
    }
    push_plain(out, text, plain_from, text.len());
    out.push('"');
    whole
}

fn push_plain(out: &mut String, text: &str, from: usize, to: usize) {
    out.push_str(text.get(from..to).unwrap_or_default());
}

enum Escape {
    None,
    Short(&'static str),
    Unicode,
}

fn escape(char: char) -> Escape {
    match char {
        '"' => Escape::Short("\\\""),
        '\\' => Escape::Short("\\\\"),
        '\n' => Escape::Short("\\n"),
        '\r' => Escape::Short("\\r"),
        '\t' => Escape::Short("\\t"),
        '\0'..='\u{1f}'
        | '\u{7f}'..='\u{9f}'
        | '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}'
        | '\u{feff}' => Escape::Unicode,
        _ => Escape::None,
    }
}

impl Escape {
    fn width(&self, char: char) -> usize {
        match self {
            Self::None => char.len_utf8(),
            Self::Short(text) => text.len(),
            Self::Unicode => 6,
        }
    }

    fn push(&self, out: &mut String, char: char) {
        match self {
            Self::None => out.push(char),
            Self::Short(text) => out.push_str(text),
            // Every character of the list lies in the basic plane: four digits are enough.
            Self::Unicode => {
                out.push_str("\\u");
                for shift in [12, 8, 4, 0] {
                    let digit = (u32::from(char) >> shift) & 0xf;
                    out.push(char::from_digit(digit, 16).unwrap_or('0'));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(text: &str, room: usize) -> (String, bool) {
        let mut out = String::new();
        let whole = push_string(&mut out, text, room);
        (out, whole)
    }

    #[test]
    fn controls_and_separators_leave_as_escapes() {
        let (out, _) = written("a\n\u{1b}[2J\u{85}\u{2028}\u{202e}\"\\", 100);
        assert_eq!(out, r#""a\n\u001b[2J\u0085\u2028\u202e\"\\""#);
    }

    proptest! {
        #[test]
        fn any_text_comes_back_from_a_json_parser(text in any::<String>()) {
            let (out, whole) = written(&text, usize::MAX);
            prop_assert!(whole);
            prop_assert!(!out.contains(|char: char| char.is_control()));
            prop_assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }

        #[test]
        fn a_cut_string_is_valid_json_within_its_room(text in any::<String>(), room in 2_usize..40) {
            let (out, whole) = written(&text, room);
            let back: String = serde_json::from_str(&out).unwrap();
            prop_assert!(out.len() <= room);
            prop_assert!(text.starts_with(&back));
            prop_assert_eq!(whole, back == text);
        }
    }
}
