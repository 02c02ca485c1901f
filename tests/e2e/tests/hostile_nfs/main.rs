//! Hostile clients of the NFS door of the real binary, and what honest ones may rely on, at full size.

#![allow(clippy::disallowed_methods)]

mod connections;
mod handles;
mod listings;
mod names;
mod refusals;
mod verifiers;

use tests_e2e::{Site, SiteOptions};

const NFS: &str = "[nfs]\nlisten = [\"127.0.0.1:0\"]\n";
const MOUNT_AND_NFS: &str = "[[mounts]]\npath = \"@MNT@\"\n[nfs]\nlisten = [\"127.0.0.1:0\"]\n";

fn serving(doors: &str) -> Site {
    let mut site = Site::new(SiteOptions { doors: Some(doors.to_owned()), ..SiteOptions::default() });
    site.mount();
    site
}
