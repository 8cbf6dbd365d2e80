//! What must not compile.

#[test]
fn misuse_of_scopes_cells_and_phi_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
