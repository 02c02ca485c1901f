//! Who sent a request, as far as the kernel's request does not say it: supplementary groups, pending signals.

use std::sync::{Arc, OnceLock};

use fs_api::{Credentials, Groups};

use crate::host;

/// Credentials of the caller with thread id `pid`. Root's groups decide nothing, so they are not looked for.
pub(crate) fn credentials(uid: u32, gid: u32, pid: u32) -> Credentials {
    static NO_GROUPS: OnceLock<Arc<[u32]>> = OnceLock::new();
    let groups = match uid {
        0 => Groups::Known(Arc::clone(NO_GROUPS.get_or_init(|| Arc::from([])))),
        _ => Groups::lazy(move || supplementary_groups(pid)),
    };
    Credentials { uid, gid, groups }
}

/// A caller outside our PID namespace (pid 0) or gone by now has no groups: that can only refuse, never allow more.
fn supplementary_groups(pid: u32) -> Vec<u32> {
    status_of(pid).map(|status| groups_in(&status)).unwrap_or_default()
}

fn groups_in(status: &str) -> Vec<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap_or_default();
    line.split_ascii_whitespace().filter_map(|gid| gid.parse().ok()).collect()
}

/// Whether the thread `pid`, asleep in our request, has a signal to act on. fuser cannot hear the kernel's INTERRUPT,
/// and a wait for a lock may be without end, so such a wait looks at its caller now and then.
pub(crate) fn has_signal(pid: u32) -> bool {
    // The caller is gone: nobody waits any more. A caller outside our PID namespace cannot be looked at.
    pid != 0 && status_of(pid).is_none_or(|status| signal_pending_in(&status))
}

fn signal_pending_in(status: &str) -> bool {
    let mask = |name: &str| {
        let text = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        u64::from_str_radix(text.trim(), 16).unwrap_or(0)
    };
    (mask("SigPnd:") | mask("ShdPnd:")) & !mask("SigBlk:") != 0
}

fn status_of(pid: u32) -> Option<String> {
    (pid != 0).then(|| host::read_text(&format!("/proc/{pid}/status")).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tsh\nGroups:\t4 24 1000 \nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000002\nSigBlk:\t0000000000000000\n";

    #[test]
    fn groups_and_pending_signals_are_read_from_a_status_file() {
        assert_eq!(groups_in(STATUS), [4, 24, 1000]);
        assert!(signal_pending_in(STATUS));
        assert!(!signal_pending_in(&STATUS.replace("SigBlk:\t0000000000000000", "SigBlk:\t0000000000000002")));
        assert_eq!(groups_in(""), [0_u32; 0]);
    }

    #[test]
    fn this_process_has_a_status_and_process_zero_has_none() {
        assert!(status_of(std::process::id()).is_some());
        assert!(status_of(0).is_none());
    }
}
