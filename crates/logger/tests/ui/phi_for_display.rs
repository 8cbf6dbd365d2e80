//! PHI as a field printed with `Display`.

use eonpro_core::phi::Phi;

fn main() {
    let name = Phi::from("Ada Lovelace");
    tracing::info!(%name, "admitted");
}
