//! What is generated agrees with what it is generated from.

use crate::codegen;
use crate::repo::Repo;

pub(crate) fn check(_: &Repo) -> Result<Vec<String>, String> {
    Ok(codegen::run(true).err().into_iter().collect())
}

// The rule's test stands beside the generator.
