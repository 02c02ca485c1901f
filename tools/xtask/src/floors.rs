//! Floors: `objstore` < `cache` < `fs` < `gateway` < `tests`, `tools`. A crate uses its own floor and lower ones only.

use std::collections::HashMap;

use crate::metadata::Package;

const FLOORS: [&str; 4] = ["objstore", "cache", "fs", "gateway"];
/// Whole-system tests and tools look down on everything, and on each other.
const ROOF: [&str; 2] = ["tests", "tools"];
/// The crates that may link the metadata index's library.
const ROCKSDB_USERS: [&str; 1] = ["fs-rocks"];
/// Doors speak to the filesystem through this crate alone.
const DOOR_FS_CRATES: [&str; 1] = ["fs-api"];
/// The crate that assembles the house sees all floors.
const ASSEMBLER: &str = "gateway-daemon";

/// One line per broken rule.
pub fn check(packages: &[Package]) -> Vec<String> {
    let folders: HashMap<&str, &str> = packages.iter().map(|p| (p.name.as_str(), p.folder.as_str())).collect();
    let mut findings = Vec::new();
    for package in packages {
        if package.name != package.folder.replace('/', "-") || package.folder.matches('/').count() != 1 {
            findings.push(format!(
                "{} lies in {}: a crate is a folder two deep and its name is its path",
                package.name, package.folder
            ));
        }
        let Some(own) = floor(&package.folder) else {
            findings.push(format!("{} lies in {}, which is no floor", package.name, package.folder));
            continue;
        };
        for dependency in &package.dependencies {
            if dependency == "rocksdb" && !ROCKSDB_USERS.contains(&package.name.as_str()) {
                findings.push(format!("{} links rocksdb; only {} may", package.name, ROCKSDB_USERS.join(", ")));
            }
            let Some(folder) = folders.get(dependency.as_str()) else { continue };
            let below = floor(folder);
            if below.is_some_and(|below| below > own) {
                findings.push(format!("{} depends upwards on {dependency}", package.name));
            }
            let door = package.folder.starts_with("gateway/") && package.name != ASSEMBLER;
            let past_the_api = folder.starts_with("fs/") && !DOOR_FS_CRATES.contains(&dependency.as_str());
            if door && (past_the_api || folder.starts_with("cache/")) {
                findings.push(format!("{} is a door and reaches past fs-api to {dependency}", package.name));
            }
        }
    }
    findings
}

fn floor(folder: &str) -> Option<usize> {
    let top = folder.split('/').next()?;
    FLOORS.iter().position(|f| *f == top).or_else(|| ROOF.contains(&top).then_some(FLOORS.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, folder: &str, dependencies: &[&str]) -> Package {
        Package {
            name: name.into(),
            folder: folder.into(),
            dependencies: dependencies.iter().map(|d| (*d).to_owned()).collect(),
        }
    }

    #[test]
    fn downward_and_sideways_dependencies_pass() {
        let house = [
            package("objstore-base", "objstore/base", &["bytes"]),
            package("objstore-pool", "objstore/pool", &["objstore-base"]),
            package("fs-api", "fs/api", &["objstore-base"]),
            package("fs-rocks", "fs/rocks", &["rocksdb"]),
            package("gateway-fuse", "gateway/fuse", &["fs-api", "objstore-base"]),
            package("gateway-daemon", "gateway/daemon", &["fs-rocks", "gateway-fuse"]),
            package("tests-sim", "tests/sim", &["fs-rocks", "gateway-daemon"]),
        ];
        assert_eq!(check(&house), Vec::<String>::new());
    }

    #[test]
    fn each_broken_rule_is_named() {
        let house = [
            package("objstore-base", "objstore/base", &["fs-api"]),
            package("fs-api", "fs/api", &[]),
            package("fs-engine", "fs/engine", &["rocksdb"]),
            package("gateway-fuse", "gateway/fuse", &["fs-engine"]),
            package("odd", "gateway/odd", &[]),
            package("misc-x", "misc/x", &[]),
        ];
        let findings = check(&house).join("\n");
        for part in [
            "objstore-base depends upwards on fs-api",
            "fs-engine links rocksdb",
            "gateway-fuse is a door",
            "odd lies in gateway/odd",
            "misc/x, which is no floor",
        ] {
            assert!(findings.contains(part), "{part} not in:\n{findings}");
        }
    }
}
