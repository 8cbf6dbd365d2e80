//! A foundation cannot be built without an audit log.

use eonpro::{EmbeddedDirectory, Foundation, Profile};

fn main() {
    let builder = Foundation::builder(Profile::Embedded).backends(EmbeddedDirectory::at("data"));
    let _foundation = builder.build();
}
