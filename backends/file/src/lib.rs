//! The sealed local file.
