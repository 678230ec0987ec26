//! claviger.
