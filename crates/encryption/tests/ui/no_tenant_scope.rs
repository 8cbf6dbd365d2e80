//! A request alone is no proof that its tenant's data may be touched.

use eonpro_core::RequestContext;
use eonpro_encryption::{Encryption as _, Vault};

async fn open_without_a_scope(vault: &Vault, cx: &RequestContext) {
    let _ = vault.warm(cx).await;
}

fn main() {}
