//! What several comparisons share.

pub mod reference;
