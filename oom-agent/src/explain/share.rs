//! Shares of a whole, for people. Refuses to divide by nothing.

/// `91 %`; below one percent it says so.
pub(super) fn of_whole(part: u64, whole: Option<u64>) -> Option<String> {
    let percent = percent(part, whole?)?;
    Some(match percent {
        0 if part > 0 => "less than 1 %".to_owned(),
        _ => format!("{percent} %"),
    })
}

/// Whole percents, rounded down.
pub(super) fn percent(part: u64, whole: u64) -> Option<u64> {
    let percent = u128::from(part) * 100 / (whole > 0).then(|| u128::from(whole))?;
    u64::try_from(percent).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_down_and_never_of_nothing() {
        assert_eq!(of_whole(91, Some(100)).as_deref(), Some("91 %"));
        assert_eq!(of_whole(999, Some(1000)).as_deref(), Some("99 %"));
        assert_eq!(of_whole(1, Some(1000)).as_deref(), Some("less than 1 %"));
        assert_eq!(of_whole(0, Some(1000)).as_deref(), Some("0 %"));
        assert_eq!(of_whole(3, Some(2)).as_deref(), Some("150 %"));
        assert_eq!(percent(u64::MAX, 1), None);
        assert_eq!(of_whole(1, Some(0)), None);
        assert_eq!(of_whole(1, None), None);
    }
}
