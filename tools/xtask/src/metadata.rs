//! The workspace as `cargo metadata` tells it.

use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;

/// One crate of the workspace and what it depends on.
#[derive(Debug, Clone)]
pub struct Package {
    pub name: String,
    /// Folder relative to the workspace root, with `/`.
    pub folder: String,
    /// Names of all dependencies, third-party ones included; tests' and build scripts' too.
    pub dependencies: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<RawPackage>,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct RawPackage {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<RawDependency>,
}

#[derive(Deserialize)]
struct RawDependency {
    name: String,
}

/// The members of the workspace that this is run in.
pub fn workspace_packages() -> Result<Vec<Package>, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .output()
        .map_err(|e| format!("cannot run cargo metadata: {e}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).map_err(|e| format!("cargo metadata gave no JSON that fits: {e}"))?;
    metadata
        .packages
        .into_iter()
        .map(|raw| {
            let folder = raw
                .manifest_path
                .parent()
                .and_then(|dir| dir.strip_prefix(&metadata.workspace_root).ok())
                .ok_or_else(|| format!("{} lies outside the workspace", raw.manifest_path.display()))?;
            Ok(Package {
                name: raw.name,
                folder: folder.to_string_lossy().into_owned(),
                dependencies: raw.dependencies.into_iter().map(|d| d.name).collect(),
            })
        })
        .collect()
}
