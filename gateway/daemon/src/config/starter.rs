//! The configuration that `tidegate init` writes: everything there is, explained, with what must be chosen filled in.

use std::path::{Path, PathBuf};

use super::read::new_file;
use crate::exit::Failure;
use crate::{host, store};

const STARTER: &str = include_str!("starter.toml");
/// Replaced by the default folder.
const DATA: &str = "@DATA@";
/// Where a system's services keep what is theirs.
const SYSTEM_DATA: &str = "/var/lib/tidegate";

/// Writes the starter to `named`, or where a configuration is looked for, and gives the place.
///
/// # Errors
/// Where there is a file already: it is never overwritten.
pub(crate) fn write_starter(named: Option<&Path>) -> Result<PathBuf, Failure> {
    let file = match named {
        Some(path) => host::absolute(path).map_err(|error| Failure::refuse("write", path.display(), error))?,
        None => new_file(),
    };
    let data = match nix::unistd::geteuid().is_root() {
        true => PathBuf::from(SYSTEM_DATA),
        false => store::data_folder(None)?,
    };
    let data = store::require_utf8(&data, "data folder")?;
    let text = STARTER.replace(DATA, &data.replace('\\', "\\\\").replace('"', "\\\""));
    host::write_new(&file, &text).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::refuse(
            "write configuration",
            file.display(),
            "it is there already, and is not overwritten: edit it, or name another with -c FILE",
        ),
        _ => Failure::refuse("write configuration", file.display(), error),
    })?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read;

    #[test]
    fn the_starter_is_valid_as_it_is_and_with_every_line_taken_in() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = write_starter(Some(&dir.path().join("made/t.toml"))).expect("written");
        read(&file).expect("valid as it is");
        let text = std::fs::read_to_string(&file).expect("read");
        // A comment is a sentence; a line that is only put out of use has no blank behind its sign.
        let all: Vec<&str> =
            text.lines().map(|line| line.strip_prefix('#').filter(|l| !l.starts_with(' ')).unwrap_or(line)).collect();
        assert!(all.len() > 20 && all.contains(&"[[mounts]]"), "{all:?}");
        let full = dir.path().join("full.toml");
        std::fs::write(&full, all.join("\n")).expect("written");
        let options = read(&full).expect("valid with all").into_options(&full);
        assert!(!options.mounts.is_empty() && !options.store.drives.is_empty());
    }

    #[test]
    fn what_is_there_is_not_overwritten() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("t.toml");
        std::fs::write(&file, "mine").expect("written");
        let why = write_starter(Some(&file)).expect_err("refused").message;
        assert!(why.contains("not overwritten"), "{why}");
        assert_eq!(std::fs::read_to_string(&file).expect("read"), "mine");
    }

    #[test]
    fn the_examples_are_valid() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        let mut seen = Vec::new();
        for entry in std::fs::read_dir(folder).expect("the folder of examples") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let options = read(&path).expect("valid").into_options(&path);
                seen.push((!options.mounts.is_empty(), options.nfs.is_some()));
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, [(false, true), (true, false), (true, true)], "NFS, a local mount, both");
    }
}
