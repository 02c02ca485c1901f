//! The engine's files over a real journal in a temporary folder, an index in memory and a pool in memory.

mod compaction;
mod damage;
mod history;
mod races;
mod recovery;
mod space;
mod world;
