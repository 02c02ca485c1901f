//! The engine's files over a real journal in a temporary folder, an index in memory and a pool in memory.

mod cold;
mod compaction;
mod damage;
mod failpoints;
mod full;
mod history;
mod quota_history;
mod quota_room;
mod quota_walk;
mod quotas;
mod races;
mod recovery;
mod refused;
mod space;
mod timelines;
mod world;
