//! `tidegate serve`: what a configuration file says, in the foreground.

use crate::cli::ConfigArgs;
use crate::service::Presence;
use crate::{Outcome, config, service};

pub(crate) fn run(args: &ConfigArgs, json: bool) -> Outcome {
    let file = config::find(args.config.as_deref())?;
    let options = config::read(&file)?.into_options(&file);
    service::run(options, Presence::Foreground { json })
}
