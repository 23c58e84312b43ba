//! Rows of older versions of the format, brought to this version one version at a time. Nothing is guessed: a version
//! without its step is refused.

use serde_json::Value;

use crate::store::rows::Row;

/// Brings one row from a version to the next.
pub(super) type Step = fn(&mut Value) -> Result<(), String>;

/// The step from version 1 to 2, from 2 to 3, and so on.
pub(super) const STEPS: &[Step] = &[has_no_notes];

/// 1 to 2: notes are new, and a Parvis of version 1 would not know what they are.
fn has_no_notes(_: &mut Value) -> Result<(), String> {
    Ok(())
}

/// The version that these steps lead to.
pub(super) fn version(steps: &[Step]) -> u32 {
    u32::try_from(steps.len()).unwrap_or(u32::MAX).saturating_add(1)
}

/// Refuses a version that can't be read.
pub(super) fn check(found: u32, steps: &[Step]) -> Result<(), String> {
    let newest = version(steps);
    match found {
        0 => Err("there is no version 0 of the format".to_owned()),
        found if found > newest => Err(format!(
            "the file has version {found} of the format and this Parvis reads up to {newest}: \
             it was written by a newer Parvis, which is needed to read it"
        )),
        _ => Ok(()),
    }
}

/// Reads a row that was written in a version that [`check`] has let pass.
pub(super) fn row(line: &[u8], written: u32, steps: &[Step]) -> Result<Row, String> {
    let steps = steps.get(written.saturating_sub(1) as usize..).unwrap_or_default();
    if steps.is_empty() {
        return serde_json::from_slice(line).map_err(|error| error.to_string());
    }
    let mut value: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    steps.iter().try_for_each(|step| step(&mut value))?;
    serde_json::from_value(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::rows::Budget;

    fn renames_spent(value: &mut Value) -> Result<(), String> {
        if let Some(Value::Object(budget)) = value.get_mut("budget") {
            let spent = budget.remove("used").ok_or("a budget without `used`")?;
            budget.insert("spent".to_owned(), spent);
        }
        Ok(())
    }

    fn names_the_campaign(value: &mut Value) -> Result<(), String> {
        if let Some(Value::Object(budget)) = value.get_mut("budget") {
            budget.entry("campaign").or_insert("unnamed".into());
        }
        Ok(())
    }

    const TWO: &[Step] = &[renames_spent, names_the_campaign];

    fn budget(campaign: &str) -> Row {
        Row::Budget(Budget { campaign: campaign.parse().expect("a valid id"), spent: 3 })
    }

    #[test]
    fn a_row_of_any_older_version_takes_every_step_from_there() {
        assert_eq!(row(br#"{"budget":{"used":3}}"#, 1, TWO), Ok(budget("unnamed")));
        assert_eq!(row(br#"{"budget":{"spent":3}}"#, 2, TWO), Ok(budget("unnamed")));
        assert_eq!(row(br#"{"budget":{"campaign":"tv","spent":3}}"#, 3, TWO), Ok(budget("tv")));
        assert!(row(br#"{"budget":{"spent":3}}"#, 3, TWO).expect_err("no steps are left").contains("campaign"));
        assert!(row(br#"{"budget":{}}"#, 1, TWO).expect_err("the step refuses").contains("`used`"));
    }

    #[test]
    fn a_newer_version_is_refused_and_named() {
        assert_eq!((1..4).map(|version| check(version, TWO).is_ok()).collect::<Vec<_>>(), [true; 3]);
        assert!(check(4, TWO).expect_err("newer").contains("version 4"));
        assert!(check(0, TWO).is_err());
    }
}
