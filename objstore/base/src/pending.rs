//! [`pending_once`].

use std::task::Poll;

/// Not ready at the first poll, ready at the second. For work that whoever polls first need not do itself: it may have more
/// to begin, or hand the rest to a task that runs beside it.
pub async fn pending_once() {
    let mut polled = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut polled, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
