//! Seeded generators of inputs on which two implementations are compared. The same seed gives the
//! same inputs.

pub mod random;
pub mod requests;
pub mod schemas;
