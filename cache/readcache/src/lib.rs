//! cache-readcache
