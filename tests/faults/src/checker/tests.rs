//! Planted violations.
