//! Failpoints from the environment, for tests of the real program: `TIDEGATE_FAILPOINTS=name=abort@3,name=errno:5@1`.
//!
//! `@n` is the hit that fails (counted from 1); without it every hit does.

use objstore_env::{FailAction, Failpoints};

use crate::exit::{Exit, Failure};

const VARIABLE: &str = "TIDEGATE_FAILPOINTS";

#[derive(Clone, Debug, PartialEq, Eq)]
struct Plan {
    name: String,
    action: FailAction,
    nth: Option<u64>,
}

/// The plan of the environment; nothing where the variable is not set.
pub(crate) fn from_environment() -> Result<Failpoints, Failure> {
    let Some(text) = std::env::var_os(VARIABLE).filter(|text| !text.is_empty()) else { return Ok(Failpoints::none()) };
    let text = text.to_string_lossy().into_owned();
    let plans = text.split(',').map(parse).collect::<Option<Vec<Plan>>>().ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            format!("read {VARIABLE}: {text}: write name=abort@3 or name=errno:5@1, with commas between"),
        )
    })?;
    tracing::warn!(plan = text, "failpoints are armed");
    Ok(Failpoints::with(move |name, nth| {
        let due = plans.iter().find(|plan| plan.name == name && plan.nth.is_none_or(|at| at == nth));
        due.map_or(FailAction::Continue, |plan| plan.action)
    }))
}

fn parse(text: &str) -> Option<Plan> {
    let (name, what) = text.split_once('=')?;
    let (action, nth) = match what.split_once('@') {
        Some((action, nth)) => (action, Some(nth.parse().ok().filter(|nth| *nth > 0)?)),
        None => (what, None),
    };
    let action = match action.split_once(':') {
        Some(("errno", number)) => FailAction::Errno(number.parse().ok().filter(|number| *number > 0)?),
        None if action == "abort" => FailAction::Abort,
        _ => return None,
    };
    (!name.is_empty()).then(|| Plan { name: name.to_owned(), action, nth })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_read_and_nonsense_is_not() {
        assert_eq!(
            parse("journal.sync=errno:5@1"),
            Some(Plan { name: "journal.sync".into(), action: FailAction::Errno(5), nth: Some(1) })
        );
        assert_eq!(parse("x=abort"), Some(Plan { name: "x".into(), action: FailAction::Abort, nth: None }));
        for bad in ["", "x", "=abort", "x=explode", "x=errno:no", "x=abort@0", "x=errno:-5"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
