//! PHI within the text of a message.

use eonpro_core::phi::Phi;

fn main() {
    let name = Phi::from("Ada Lovelace");
    tracing::info!("admitted {name}");
}
