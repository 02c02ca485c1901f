//! The time after a start in which clients of before take their locks again, and nobody else gets any.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;

use crate::door::NlmDoor;

impl NlmDoor {
    pub fn in_grace(&self) -> bool {
        !self.grace_left().is_zero()
    }

    /// Calls `then` when clients have had their time to take their locks again: at once where there is none to wait for.
    /// A door that stops before drops it.
    pub fn after_grace(self: &Arc<Self>, then: impl FnOnce() + Send + 'static) {
        if !self.in_grace() {
            return then();
        }
        let door = Arc::clone(self);
        let work = async move {
            door.grace_over().await;
            then();
        };
        self.run("nlm grace", work.boxed());
    }

    pub(crate) async fn grace_over(&self) {
        let left = self.grace_left();
        if !left.is_zero() {
            self.hooks.clock.sleep(left).await;
        }
    }

    fn grace_left(&self) -> Duration {
        self.grace_until.saturating_sub(self.hooks.clock.monotonic())
    }
}
