//! What must not compile.

#[test]
fn a_builder_without_audit_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
