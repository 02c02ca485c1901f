//! `tidegate mount`.

use crate::cli::MountArgs;
use crate::exit::Exit;
use crate::service::Presence;
use crate::{Outcome, background, board, output, service};

pub(crate) fn run(args: &MountArgs, json: bool) -> Outcome {
    if args.foreground || args.in_background {
        let presence = if args.in_background { Presence::Background } else { Presence::Foreground { json } };
        return service::run(args.into(), presence).or_else(|failure| {
            // The command that started this process prints what was announced.
            if args.in_background { Ok(failure.exit) } else { Err(failure) }
        });
    }
    let report = background::start()?;
    output::report(&report, json, || board::text(&report));
    Ok(Exit::Ok)
}
