//! What must not compile.

#[test]
fn an_event_without_its_field_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
