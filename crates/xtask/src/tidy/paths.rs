//! No file speaks of a folder that exists on one machine only.

use crate::repo::{Repo, Source};

/// Put together from parts, so that this file does not break its own rule.
const WORDS: &[&str] = &[concat!("/wo", "rk/"), concat!("../sha", "red")];

pub(crate) fn check(repo: &Repo) -> Result<Vec<String>, String> {
    Ok(mentions(&repo.sources(|_| true)?))
}

fn mentions(sources: &[Source]) -> Vec<String> {
    let mut mentions = Vec::new();
    for source in sources {
        for (number, line) in source.text.lines().enumerate() {
            if let Some(word) = WORDS.iter().find(|word| line.contains(**word)) {
                mentions.push(format!("{}:{}: names {word}", source.path, number + 1));
            }
        }
    }
    mentions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_names_a_path_of_one_machine() {
        super::super::assert_obeyed(check);
    }

    #[test]
    fn a_path_of_one_machine_is_caught_with_its_line() {
        let source = |word: &str| Source {
            path: "docs/a.md".to_owned(),
            text: format!("# Title\nSee {word}data and rework/it.\n"),
        };
        for word in WORDS {
            let caught = mentions(&[source(word)]);
            assert_eq!(caught, [format!("docs/a.md:2: names {word}")]);
        }
        assert!(mentions(&[source("framework/")]).is_empty());
    }
}
