//! What must not compile.

#[test]
fn a_verifier_without_one_of_its_parts_does_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
