//! Topic names and the conditions over them, such as `'shoes' in topics && !('sale' in topics)`. Nobody is subscribed
//! in the sandbox: only the form is looked at.

/// FCM takes at most five topics in a condition.
const TOPICS: usize = 5;
const DEPTH: usize = 16;

/// Whether a topic may have this name.
pub(super) fn is_topic(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte))
}

/// Whether a condition can be read.
pub(super) fn is_valid(condition: &str) -> bool {
    let mut topics = 0;
    let rest = any(condition, DEPTH, &mut topics);
    rest.is_some_and(|rest| rest.trim_start().is_empty()) && topics <= TOPICS
}

/// Terms joined by `&&` and `||`; gives what follows them.
fn any<'a>(mut text: &'a str, depth: usize, topics: &mut usize) -> Option<&'a str> {
    loop {
        text = term(text.trim_start(), depth, topics)?;
        let rest = text.trim_start();
        match rest.strip_prefix("&&").or_else(|| rest.strip_prefix("||")) {
            Some(next) => text = next,
            None => return Some(text),
        }
    }
}

fn term<'a>(text: &'a str, depth: usize, topics: &mut usize) -> Option<&'a str> {
    let depth = depth.checked_sub(1)?;
    if let Some(negated) = text.strip_prefix('!') {
        return term(negated.trim_start(), depth, topics);
    }
    if let Some(inner) = text.strip_prefix('(') {
        return any(inner, depth, topics)?.trim_start().strip_prefix(')');
    }
    let (name, rest) = text.strip_prefix('\'')?.split_once('\'')?;
    *topics += 1;
    is_topic(name).then_some(())?;
    rest.trim_start().strip_prefix("in")?.trim_start().strip_prefix("topics")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read() {
        for good in ["'a' in topics", "'a' in topics && ('b' in topics || !('c' in topics))"] {
            assert!(is_valid(good), "{good}");
        }
        let many = ["'a' in topics"; 6].join(" && ");
        let deep = "!".repeat(100);
        for bad in ["", "a in topics", "'a' in topics &&", "('a' in topics", "'a#' in topics", "'a' in", &many, &deep] {
            assert!(!is_valid(bad), "{bad}");
        }
    }
}
