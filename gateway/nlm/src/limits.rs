//! Bounds of what clients can make grow, and how patient the door is.

use std::time::Duration;

#[derive(Clone, Debug)]
pub struct NlmLimits {
    /// Addresses that hold or wait for anything.
    pub clients_max: usize,
    /// Ranges and reservations of one client.
    pub held_per_client_max: usize,
    pub held_max: usize,
    pub waiters_per_client_max: usize,
    pub waiters_max: usize,
    /// Answers to `_MSG` calls under way; the calls beyond are not answered, and clients repeat them.
    pub answers_max: usize,
    /// Attempts to tell a client that it got the lock it waited for; then the lock is taken back.
    pub grant_attempts_max: u32,
    /// Attempts to tell a client that this server restarted.
    pub notify_attempts_max: u32,
    /// Before the second attempt; doubled before each further one, up to a minute.
    pub retry_pause: Duration,
    /// For a connection to a client, and for each call on it.
    pub call_deadline: Duration,
}

impl Default for NlmLimits {
    fn default() -> Self {
        Self {
            clients_max: 4096,
            held_per_client_max: 16_384,
            held_max: 262_144,
            // A process waits for one lock at a time; below the bound of the whole store's waiters.
            waiters_per_client_max: 1024,
            waiters_max: 16_384,
            answers_max: 256,
            // 1 + 2 + 4 + 8 seconds and the deadlines: about as long as a Linux client takes to ask again (30 s).
            grant_attempts_max: 5,
            // Half an hour, as sm-notify has a quarter of one: clients may be down together with this server.
            notify_attempts_max: 32,
            retry_pause: Duration::from_secs(1),
            call_deadline: Duration::from_secs(5),
        }
    }
}

const RETRY_PAUSE_MAX: Duration = Duration::from_secs(60);

impl NlmLimits {
    /// How long to wait after failed attempt number `attempt` (from 0).
    pub(crate) fn pause_after(&self, attempt: u32) -> Duration {
        self.retry_pause.saturating_mul(1_u32.checked_shl(attempt).unwrap_or(u32::MAX)).min(RETRY_PAUSE_MAX)
    }
}
