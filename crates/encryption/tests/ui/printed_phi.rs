//! PHI on its way to a terminal.

use eonpro_encryption::Phi;

fn main() {
    let _ = format!("{}", Phi::from("Ada Lovelace"));
}
