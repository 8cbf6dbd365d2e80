//! Files and functions stay small: a longer one is a sign that a noun is missing.

use crate::repo::{Repo, Source};

use super::code::{blank_literals, blank_tests, block_end, body_start, is_word, line_of};

const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 80;

/// Functions that may be longer: `path::name`, since when, why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

pub(crate) fn check_files(repo: &Repo) -> Result<Vec<String>, String> {
    Ok(long_files(&repo.rust()?))
}

/// Functions of the crates, tests aside.
pub(crate) fn check_functions(repo: &Repo) -> Result<Vec<String>, String> {
    let sources = repo.sources(|path| {
        let test = path.contains("/tests/") || path.ends_with("tests.rs");
        path.ends_with(".rs") && path.starts_with("crates/") && !test
    })?;
    Ok(long_functions(&sources))
}

fn long_files(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .map(|source| (&source.path, source.text.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES)
        .map(|(path, lines)| format!("{path}: {lines} lines of {FILE_LINES}"))
        .collect()
}

fn long_functions(sources: &[Source]) -> Vec<String> {
    let mut long = Vec::new();
    for source in sources {
        for function in functions(&source.text) {
            let Function { name, line, lines } = function;
            let path = &source.path;
            let key = format!("{path}::{name}");
            let excepted = EXCEPTIONS.iter().any(|(exception, ..)| *exception == key);
            if lines > FUNCTION_LINES && !excepted {
                long.push(format!(
                    "{path}:{line}: fn {name} has {lines} lines of {FUNCTION_LINES}"
                ));
            }
        }
    }
    long
}

#[derive(Debug, PartialEq, Eq)]
struct Function {
    name: String,
    line: usize,
    /// From the line of `fn` to that of the closing brace.
    lines: usize,
}

fn functions(text: &str) -> Vec<Function> {
    let chars: Vec<char> = blank_tests(&blank_literals(text)).chars().collect();
    let mut functions = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let rest = chars.get(at..).unwrap_or_default();
        let word: String = rest.iter().take_while(|&&char| is_word(char)).collect();
        if word.is_empty() {
            at += 1;
            continue;
        }
        at += word.chars().count();
        if word != "fn" {
            continue;
        }
        let name = rest.iter().skip(2).skip_while(|char| char.is_whitespace());
        let name: String = name.take_while(|&&char| is_word(char)).collect();
        // A function pointer's type has no name, a trait's method may have no body.
        if let (false, Some(open)) = (name.is_empty(), body_start(&chars, at)) {
            let line = line_of(&chars, at);
            let end = line_of(&chars, block_end(&chars, open));
            functions.push(Function {
                name,
                line,
                lines: end + 1 - line,
            });
        }
    }
    functions
}

#[cfg(test)]
mod tests {
    use super::super::assert_obeyed;
    use super::*;

    #[test]
    fn no_file_is_too_long() {
        assert_obeyed(check_files);
    }

    #[test]
    fn no_function_is_too_long() {
        assert_obeyed(check_functions);
    }

    #[test]
    fn functions_are_found_with_their_lengths() {
        let text = "trait T { fn bodyless(&self, x: [u8; 3]); }\n\
                    type F = fn(u8) -> u8;\n\
                    fn one() -> [u8; 2] { f(\"}\") }\n\
                    pub(crate) async fn three<'a>(\n    f: impl Fn() -> u8,\n) {}\n\
                    #[cfg(test)]\nmod tests {\n    fn test() {}\n}\n";
        let found = functions(text);
        let expected = [("one", 3, 1), ("three", 4, 3)].map(|(name, line, lines)| Function {
            name: name.to_owned(),
            line,
            lines,
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn one_line_too_many_is_caught() {
        let source = |lines: usize| Source {
            path: "crates/a/src/b.rs".to_owned(),
            text: format!("fn f() {{\n{}}}\n", "    g();\n".repeat(lines - 2)),
        };
        assert!(long_functions(&[source(FUNCTION_LINES)]).is_empty());
        assert_eq!(long_functions(&[source(FUNCTION_LINES + 1)]).len(), 1);
        assert!(long_files(&[source(FILE_LINES)]).is_empty());
        assert_eq!(long_files(&[source(FILE_LINES + 1)]).len(), 1);
    }
}
