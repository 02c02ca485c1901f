//! Tests of the admin interface against the reference model: see `tests/`.

#![forbid(unsafe_code)]
