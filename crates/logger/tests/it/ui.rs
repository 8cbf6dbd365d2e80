//! What must not compile.

#[test]
fn phi_as_a_value_and_phi_for_display_do_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
