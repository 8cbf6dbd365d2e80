//! The handbook's page on the policy is the policy.

use std::path::PathBuf;

fn page() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/storage-policy.md"
    ))
}

#[test]
fn the_page_in_the_handbook_is_the_one_generated_from_the_policy() {
    let written = std::fs::read_to_string(page()).unwrap();
    let generated = eonpro_storage::policy_page();
    assert!(
        written == generated,
        "docs/storage-policy.md is out of date: cargo test -p eonpro-storage -- --ignored write_policy_page"
    );
}

#[test]
#[ignore = "rewrites docs/storage-policy.md"]
fn write_policy_page() {
    std::fs::create_dir_all(page().parent().unwrap()).unwrap();
    std::fs::write(page(), eonpro_storage::policy_page()).unwrap();
}
