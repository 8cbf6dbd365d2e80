//! PHI on its way into JSON.

use eonpro_encryption::Phi;

fn write_down(_: &impl serde::Serialize) {}

fn main() {
    write_down(&Phi::from("Ada Lovelace"));
}
