//! Rust source reduced to what a textual rule may trust: no comments, no literals, no tests.
//!
//! Blanked text keeps its line breaks, so positions still name lines of the original.

/// The source with every comment, string and character literal blanked.
pub(crate) fn blank_literals(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut code = String::with_capacity(source.len());
    let mut at = 0;
    while let Some(&char) = chars.get(at) {
        if let Some(end) = literal_end(&chars, at) {
            push_blank(&mut code, chars.get(at..end).unwrap_or_default());
            at = end;
        } else if is_word(char) {
            let word: String = run(&chars, at, is_word).iter().collect();
            at += word.chars().count();
            code.push_str(&word);
            if !matches!(word.as_str(), "r" | "br" | "cr") {
                continue;
            }
            if let Some(end) = raw_string_end(&chars, at) {
                push_blank(&mut code, chars.get(at..end).unwrap_or_default());
                at = end;
            }
        } else {
            code.push(char);
            at += 1;
        }
    }
    code
}

/// Blanked code without the items marked `#[cfg(test)]` and `#[test]`.
pub(crate) fn blank_tests(code: &str) -> String {
    let mut chars: Vec<char> = code.chars().collect();
    for mark in ["#[cfg(test)]", "#[test]"] {
        let mark: Vec<char> = mark.chars().collect();
        let mut at = 0;
        while at < chars.len() {
            if !chars.get(at..).is_some_and(|rest| rest.starts_with(&mark)) {
                at += 1;
                continue;
            }
            let end = item_end(&chars, at + mark.len());
            for char in chars.get_mut(at..end).unwrap_or_default() {
                *char = if *char == '\n' { '\n' } else { ' ' };
            }
            at = end;
        }
    }
    chars.into_iter().collect()
}

/// One past the end of the item that begins at `at`: its body, or its semicolon.
pub(crate) fn item_end(chars: &[char], at: usize) -> usize {
    match body_start(chars, at) {
        Some(open) => block_end(chars, open),
        None => chars
            .iter()
            .skip(at)
            .position(|&char| char == ';')
            .map_or(chars.len(), |semicolon| at + semicolon + 1),
    }
}

/// Where the body of the item at `at` opens, unless a semicolon ends the item before.
pub(crate) fn body_start(chars: &[char], at: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (offset, char) in chars.get(at..)?.iter().enumerate() {
        match char {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => return Some(at + offset),
            ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// One past the brace that closes the block which `open` opens.
pub(crate) fn block_end(chars: &[char], open: usize) -> usize {
    let mut depth = 0_i32;
    for (offset, char) in chars.iter().skip(open).enumerate() {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return open + offset + 1;
        }
    }
    chars.len()
}

/// The number of the line, from 1, that holds the character at `at`.
pub(crate) fn line_of(chars: &[char], at: usize) -> usize {
    1 + chars.iter().take(at).filter(|&&char| char == '\n').count()
}

pub(crate) fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

fn push_blank(code: &mut String, chars: &[char]) {
    code.extend(
        chars
            .iter()
            .map(|&char| if char == '\n' { '\n' } else { ' ' }),
    );
}

fn run(chars: &[char], at: usize, admit: fn(char) -> bool) -> &[char] {
    let rest = chars.get(at..).unwrap_or_default();
    let len = rest.iter().take_while(|&&char| admit(char)).count();
    rest.get(..len).unwrap_or_default()
}

fn literal_end(chars: &[char], at: usize) -> Option<usize> {
    let next = chars.get(at + 1).copied();
    match (chars.get(at)?, next) {
        ('/', Some('/')) => Some(at + run(chars, at, |char| char != '\n').len()),
        ('/', Some('*')) => Some(comment_end(chars, at)),
        ('"', _) => Some(quoted_end(chars, at + 1, '"')),
        ('\'', Some('\\')) => Some(quoted_end(chars, at + 1, '\'')),
        ('\'', Some(_)) if chars.get(at + 2) == Some(&'\'') => Some(at + 3),
        _ => None,
    }
}

fn comment_end(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars.get(at), chars.get(at + 1)) {
            (Some('/'), Some('*')) => {
                depth += 1;
                at += 2;
            }
            (Some('*'), Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

fn quoted_end(chars: &[char], mut at: usize, quote: char) -> usize {
    while let Some(&char) = chars.get(at) {
        match char {
            '\\' => at += 2,
            _ if char == quote => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// The end of the raw string whose hashes, or whose quote, stand at `at`.
fn raw_string_end(chars: &[char], at: usize) -> Option<usize> {
    let hashes = run(chars, at, |char| char == '#').len();
    if chars.get(at + hashes) != Some(&'"') {
        return None;
    }
    let mut closing = vec!['"'];
    closing.resize(hashes + 1, '#');
    let mut end = at + hashes + 1;
    while end < chars.len() {
        if chars
            .get(end..)
            .is_some_and(|rest| rest.starts_with(&closing))
        {
            return Some(end + closing.len());
        }
        end += 1;
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> String {
        let code = blank_literals(source);
        assert_eq!(code.lines().count(), source.lines().count());
        code.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_and_literals_are_blanked_and_code_stays() {
        for (source, left) in [
            ("let a = 1; // fn b() {", "let a = 1;"),
            ("a /* x /* y */ z */ b", "a b"),
            (r#"f("{ \" fn", g)"#, "f( , g)"),
            (r##"f(r#"a " {"#, g)"##, "f(r , g)"),
            ("r#type + x", "r#type + x"),
            (
                r"match c { '{' => 1, '\'' => 2, '\u{7b}' => 3 }",
                "match c { => 1, => 2, => 3 }",
            ),
            (
                "fn f<'a>(x: &'a str) -> &'a str",
                "fn f<'a>(x: &'a str) -> &'a str",
            ),
            ("let x = b'\"'; y", "let x = b ; y"),
            ("\"a\n{\"\n}", "}"),
        ] {
            assert_eq!(words(source), left, "{source}");
        }
    }

    #[test]
    fn test_items_are_blanked_with_their_bodies() {
        let code = "fn a() { b(); }\n#[cfg(test)]\nmod tests { fn c() {} }\n\
                    #[cfg(test)]\nmod more;\nfn d() {}\n#[test]\nfn e() { f([0; 3]) }\n";
        let left = blank_tests(code);
        assert_eq!(
            left.split_whitespace().collect::<String>(),
            "fna(){b();}fnd(){}"
        );
        assert_eq!(left.lines().count(), code.lines().count());
    }
}
