//! ahead.
