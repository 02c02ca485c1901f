//! `tidegate guard`: not for people; see `gateway_fuse::guard`.

use crate::Outcome;
use crate::cli::GuardArgs;
use crate::exit::Exit;

pub(crate) fn run(args: &GuardArgs) -> Outcome {
    let mounts = args.mounts.as_chunks::<2>().0;
    let mounts: Vec<_> = mounts.iter().map(|[device, path]| (device.clone(), path.into())).collect();
    gateway_fuse::guard::run(args.server, &mounts)?;
    Ok(Exit::Ok)
}
