//! `tidegate share`: what NFS exports, through the running service.

use serde::Serialize;

use crate::cli::{ShareCommand, ShareStoreArgs, StoreArgs};
use crate::cmd::{find_store, unexpected};
use crate::control::{Answer, Request, ask_for};
use crate::exit::{Exit, Failure};
use crate::{Outcome, output};

#[derive(Serialize)]
struct DeletedReport {
    share: String,
}

pub(crate) fn run(command: ShareCommand, json: bool) -> Outcome {
    match command {
        ShareCommand::List(store) => {
            let Answer::Shares(list) = ask(&store, &Request::ShareList)? else { return Err(unexpected()) };
            output::report(&list, json, || list.text());
        }
        ShareCommand::Create { directory, make, terms, store } => {
            change(&store, &Request::ShareCreate { directory, make, terms: terms.into() }, json)?;
        }
        ShareCommand::Set { share, terms, store } => {
            change(&store, &Request::ShareSet { share, terms: terms.into() }, json)?;
        }
        ShareCommand::Delete { share, store } => {
            ask(&store, &Request::ShareDelete { share: share.clone() })?;
            let report = DeletedReport { share };
            output::report(&report, json, || format!("{} is no share any more; its directory stays", report.share));
        }
    }
    Ok(Exit::Ok)
}

fn change(store: &ShareStoreArgs, request: &Request, json: bool) -> Result<(), Failure> {
    let Answer::ShareChanged(changed) = ask(store, request)? else { return Err(unexpected()) };
    output::report(&changed, json, || changed.text());
    Ok(())
}

fn ask(store: &ShareStoreArgs, request: &Request) -> Result<Answer, Failure> {
    let args = StoreArgs { data: store.data.clone(), mountpoint: None };
    ask_for(&find_store(&args)?, request)
}
