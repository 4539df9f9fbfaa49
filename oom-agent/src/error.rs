//! Errors for people.

/// An error and its causes on one line; a cause that the text before it already says is left out.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        let next = next.lines().next().unwrap_or_default();
        if !text.contains(next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::chain;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("inner\nwith a second line")]
    struct Inner;

    #[test]
    fn causes_follow_on_one_line() {
        assert_eq!(chain(&Outer(Inner)), "outer: inner");
    }
}
