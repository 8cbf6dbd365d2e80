//! Placeholder until the catalogue is generated.
