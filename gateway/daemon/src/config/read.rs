//! Finding and reading the file, and saying in one line what is wrong with it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::Config;
use crate::exit::{Exit, Failure};
use crate::host;

/// Where all users' configuration is.
const SYSTEM_FILE: &str = "/etc/tidegate/tidegate.toml";
/// Nobody writes more by hand.
const FILE_BYTES_MAX: usize = 1 << 20;

/// The file that is read where none is named: the user's own if it is there, or that of the system.
pub(crate) fn find(named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        return host::absolute(path).map_err(|error| Failure::refuse("read configuration", path.display(), error));
    }
    let own = own_file().filter(|path| host::metadata(path).is_ok());
    Ok(own.unwrap_or_else(|| PathBuf::from(SYSTEM_FILE)))
}

/// Where a new configuration is written that names no place.
pub(super) fn new_file() -> PathBuf {
    let system = nix::unistd::geteuid().is_root() && std::env::var_os("XDG_CONFIG_HOME").is_none();
    own_file().filter(|_| !system).unwrap_or_else(|| PathBuf::from(SYSTEM_FILE))
}

fn own_file() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")))?;
    Some(base.join("tidegate/tidegate.toml"))
}

/// The configuration in `file`.
///
/// # Errors
/// One line that names file, line, section, key, and what is expected there.
pub(crate) fn read(file: &Path) -> Result<Config, Failure> {
    let refuse = |why: &str| Failure::refuse("read configuration", file.display(), why);
    let text = host::read_file(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            refuse(&format!("there is no such file: `tidegate init -c {}` writes one to start from", file.display()))
                .with_exit(Exit::NotRunning)
        }
        std::io::ErrorKind::InvalidData => refuse("it is not UTF-8 text"),
        _ => refuse(&error.to_string()),
    })?;
    if text.len() > FILE_BYTES_MAX {
        return Err(refuse("it is larger than 1 MiB: this is no configuration"));
    }
    let config: Config = toml::from_str(&text).map_err(|error| {
        let place = error.span().map_or_else(String::new, |span| place(&text, span));
        Failure::refuse("read configuration", format!("{}{place}", file.display()), error.message())
    })?;
    if !config.opens_a_door() {
        return Err(refuse("it opens no door: add [[mounts]] with a path, or [nfs], or both"));
    }
    Ok(config)
}

/// `, line 7, [nfs] listen`.
fn place(text: &str, span: Range<usize>) -> String {
    let before = text.get(..span.start).unwrap_or(text);
    let number = before.matches('\n').count() + 1;
    let line = text.lines().nth(number - 1).unwrap_or_default().trim();
    let is_header = |line: &&str| line.starts_with('[') && line.contains(']');
    let section = before.lines().chain([line]).map(str::trim).rfind(is_header);
    let section = section.map(|header| header.split('#').next().unwrap_or(header).trim());
    let key = line.split_once('=').map(|(key, _)| key.trim());
    let parts = section.into_iter().chain(key);
    parts.fold(format!(", line {number},"), |place, part| format!("{place} {part}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read_text(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("t.toml");
        std::fs::write(&file, text).expect("written");
        read(&file).map_err(|failure| failure.message)
    }

    #[test]
    fn every_mistake_is_named_with_its_line_its_key_and_what_is_expected() {
        let cases: [(&str, &[&str]); 23] = [
            ("[nfs]\nlisten = [\"127.0.0.1:1\"]\nport = 2049\n", &["line 3", "[nfs] port", "`port`", "`listen`"]),
            ("[nsf]\n", &["line 1", "`nsf`", "`nfs`"]),
            ("[cache]\n\n# how much\nsize = \"much\"\n", &["line 4", "[cache] size", "`much` is no size", "10GiB"]),
            ("[cache]\nsize = 10\n", &["line 2", "[cache] size", "integer `10`", "string"]),
            ("[cache]\nmax_dirty = \"1MiB\"\n", &["line 2", "at least 16.0 MiB"]),
            ("[cache]\nupload_delay = \"soon\"\n", &["line 2", "`soon` is no time"]),
            ("[store]\ncode = \"4-2\"\n", &["line 2", "[store] code", "`4-2` is no code", "4+2"]),
            ("[store]\ncompression = \"gzip\"\n", &["line 2", "`gzip`", "`zstd`"]),
            ("[store]\ndata = \"here\"\n", &["line 2", "`here` is no absolute path"]),
            ("[[drives]]\npath = \"/a\"\n[[drives]]\npth = \"/b\"\n", &["line 4", "[[drives]] pth", "`path`"]),
            ("[[mounts]]\n", &["line 1", "[[mounts]]", "missing field `path`"]),
            ("[nfs]\nlisten = []\n", &["line 2", "no address"]),
            ("[nfs]\nlisten = [\"0.0.0.0\"]\n", &["line 2", "`0.0.0.0` is no address with a port"]),
            ("[nfs]\nmanage_gids = \"yes\"\n", &["line 2", "boolean"]),
            ("[admin]\nport = 9420\n", &["line 2", "[admin] port", "`port`", "`listen`"]),
            ("[admin]\nlisten = \"9420\"\n", &["line 2", "[admin] listen", "`9420` is no address with a port"]),
            ("[admin]\ntoken_file = \"t\"\n", &["line 2", "`t` is no absolute path"]),
            ("[audit]\nshares = [\"/a\"]\n", &["[audit]", "missing field `path`"]),
            ("[audit]\npath = \"/a\"\nshares = [\"/a/../b\"]\n", &["line 3", "`/a/../b` is no path of a share"]),
            ("[audit]\npath = \"/a\"\nfile_bytes_max = \"1k\"\n", &["line 3", "`1k` is too little", "4.0 KiB"]),
            ("[audit]\npath = \"/a\"\nolder_files = 100000\n", &["line 3", "100000 are too many"]),
            ("[service]\nlog = \"a=b=c\"\n", &["line 2", "no log filter"]),
            ("[store]\ndata = \"/x\"\n", &["it opens no door", "[[mounts]]", "[nfs]"]),
        ];
        for (text, parts) in cases {
            let why = read_text(text).expect_err(text);
            assert!(parts.iter().all(|part| why.contains(part)), "{text}\n{why}");
            assert!(why.contains("t.toml") && !why.contains('\n'), "{why}");
        }
    }

    #[test]
    fn a_file_becomes_what_is_served() {
        let text = "[store]\ndata = \"/srv/t\"\ncode = \"2+1\"\ncompression = \"lz4\"\n[[drives]]\npath = \"/a\"\n\
                    [cache]\nsize = \"1GiB\"\nmax_dirty = \"64MiB\"\nupload_delay = \"5s\"\n[[mounts]]\npath = \"/m\"\n\
                    [nfs]\nlisten = [\"[::]:2049\"]\nprivileged_port = true\n[service]\nstop_limit = \"1m\"\n";
        let options = read_text(text).expect("a valid file").into_options(Path::new("/t.toml"));
        assert_eq!(options.store.data, Some("/srv/t".into()));
        assert_eq!(options.store.drives, [PathBuf::from("/a")]);
        assert_eq!(options.store.max_dirty, Some(64 << 20));
        assert_eq!(options.mounts, [PathBuf::from("/m")]);
        assert_eq!(options.stop_limit, Duration::from_secs(60));
        let nfs = options.nfs.expect("an NFS door");
        assert!(nfs.privileged_port && !nfs.manage_gids);
        assert_eq!(nfs.listen, ["[::]:2049".parse().expect("an address")]);
    }

    #[test]
    fn without_a_section_there_is_no_http_and_no_audit() {
        let options = read_text("[nfs]\n").expect("a valid file").into_options(Path::new("/t.toml"));
        assert_eq!((options.admin, options.audit), (None, None));
        let text = "[nfs]\n[admin]\n[audit]\npath = \"/log/a\"\nshares = [\"p/\"]\nolder_files = 0\n";
        let options = read_text(text).expect("a valid file").into_options(Path::new("/t.toml"));
        let admin = options.admin.expect("an interface");
        assert_eq!((admin.listen, admin.token_file), ("127.0.0.1:9420".parse().expect("an address"), None));
        let audit = options.audit.expect("a log");
        assert_eq!((audit.shares, audit.older_files_max), (vec!["/p".to_owned()], 0));
    }

    #[test]
    fn nfs_listens_on_this_machine_only_unless_told_otherwise() {
        let options = read_text("[nfs]\n").expect("a valid file").into_options(Path::new("/t.toml"));
        let nfs = options.nfs.expect("an NFS door");
        assert_eq!(nfs.listen, ["127.0.0.1:2049".parse().expect("an address")]);
    }
}
