//! The pool's heal list, when it is gone: what the pool owes its blobs is not known then, which is not "nothing".
//!
//! A marker beside the list remembers that until a heal has looked at every blob: the pool itself starts a new, empty
//! list and would call itself whole.

use objstore_env::Disk;
use objstore_env::real::RealDisk;

use super::Layout;
use crate::exit::Failure;
use crate::host;

/// Notes a list that is missing. Called for a store that was there, before its pool is opened.
///
/// # Errors
/// Where the marker cannot be written.
pub(crate) fn note_if_lost(layout: &Layout) -> Result<(), Failure> {
    let list = layout.pool().join("heal.log");
    match host::metadata(&list) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        // There, or it cannot be looked at: opening the pool says so.
        _ => return Ok(()),
    }
    tracing::warn!(list = %list.display(), "the heal list is lost: run `tidegate pool heal`, which looks at every blob");
    let failed = |error: std::io::Error| Failure::refuse("note the lost heal list", layout.pool().display(), error);
    RealDisk.create_dir_durable(&layout.pool()).map_err(failed)?;
    RealDisk.write_atomic(&layout.heal_list_lost(), b"").map_err(failed)
}

/// Whether the list was lost and no heal has looked at every blob since.
pub(crate) fn is_lost(layout: &Layout) -> bool {
    host::metadata(&layout.heal_list_lost()).is_ok()
}

/// A heal has looked at every blob: the list says all there is to say again.
pub(crate) fn found_again(layout: &Layout) {
    match host::remove_file(&layout.heal_list_lost()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, "the note of the lost heal list stays; the next heal removes it");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_list_is_remembered_until_a_heal() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let layout = Layout::new(dir.path().to_path_buf());
        note_if_lost(&layout).expect("noted");
        assert!(is_lost(&layout));
        // The pool makes a new list; the next start must not take it for the old one.
        std::fs::write(layout.pool().join("heal.log"), b"new").expect("written");
        note_if_lost(&layout).expect("looked");
        assert!(is_lost(&layout));
        found_again(&layout);
        note_if_lost(&layout).expect("looked");
        assert!(!is_lost(&layout));
    }
}
