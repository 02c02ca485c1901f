//! The token of the admin interface: what every request to it carries. Whoever can read the file may do what the store's
//! owner may.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use objstore_env::Rng;

use crate::exit::Failure;
use crate::host;

/// Halves of a made token, 16 hexadecimal digits each: 128 bits nobody guesses.
const PARTS: u32 = 2;
/// One written by hand must not be guessed either.
const CHARS_MIN: usize = 16;
/// It goes through a header of HTTP.
const CHARS_MAX: usize = 1024;

/// The token in `file`; made there where the file is missing.
///
/// # Errors
/// One line that names the file and what to do.
pub(super) fn read_or_make(file: &Path, rng: &dyn Rng) -> Result<String, Failure> {
    let refuse = |why: &str| Failure::refuse("read the admin token", file.display(), why);
    let text = match host::read_file(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return make(file, rng),
        Err(error) => return Err(refuse(&error.to_string())),
    };
    let token = text.trim();
    if token.len() < CHARS_MIN || token.len() > CHARS_MAX {
        return Err(refuse(&format!(
            "a token has {CHARS_MIN} to {CHARS_MAX} characters: write one there, or remove the file, and the next start \
             makes one"
        )));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(refuse("a token is one word of letters, digits and signs of ASCII"));
    }
    if host::metadata(file).is_ok_and(|found| found.permissions().mode() & 0o077 != 0) {
        tracing::warn!(file = %file.display(), "others than its owner can reach the admin token: chmod 600 it");
    }
    Ok(token.to_owned())
}

fn make(file: &Path, rng: &dyn Rng) -> Result<String, Failure> {
    let token: String = (0..PARTS).map(|_| format!("{:016x}", rng.next_u64())).collect();
    host::write_private(file, &format!("{token}\n"))
        .map_err(|error| Failure::refuse("make the admin token", file.display(), error))?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use objstore_env::real::OsRng;

    use super::*;

    #[test]
    fn a_token_is_made_once_for_its_owner_only() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (rng, file) = (OsRng::new().expect("chance"), dir.path().join("admin.token"));
        let made = read_or_make(&file, &rng).expect("made");
        assert!(made.len() == 32 && made.bytes().all(|b| b.is_ascii_hexdigit()), "{made}");
        assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(read_or_make(&file, &rng).expect("read"), made);
        let other = read_or_make(&dir.path().join("other"), &rng).expect("made");
        assert_ne!(other, made);
        assert_eq!(std::fs::read_dir(dir.path()).expect("read").count(), 2, "nothing else is left");
    }

    #[test]
    fn a_token_that_is_none_is_refused_with_its_file() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (rng, file) = (OsRng::new().expect("chance"), dir.path().join("t"));
        for bad in ["", "\n", "short", "two words that are long", "ümlaut-ümlaut-ümlaut", &"x".repeat(2000)] {
            std::fs::write(&file, bad).expect("written");
            let why = read_or_make(&file, &rng).expect_err(bad).message;
            assert!(why.contains(&file.display().to_string()) && !why.contains('\n'), "{why}");
        }
        let nowhere = dir.path().join("no/folder/t");
        assert!(read_or_make(&nowhere, &rng).is_err(), "a folder that is not there is not made");
    }
}
