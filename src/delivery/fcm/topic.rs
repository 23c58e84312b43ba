//! The form of FCM's topics and of conditions over them.
//!
//! Source: Firebase, "Topic messaging".

/// Google's limit for the name of a topic.
const TOPIC_BYTES_MAX: usize = 900;
/// Google's limit for the topics of a condition.
const TOPICS_MAX: usize = 5;
const CONDITION_BYTES_MAX: usize = 4_096;
/// So that no nesting is deeper than a reader follows.
const DEPTH_MAX: usize = 16;

/// Whether a topic has the form that Google asks for.
///
/// # Errors
/// What is wrong, as the rest of a sentence about it.
pub(crate) fn check(topic: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte);
    if topic.is_empty() || topic.len() > TOPIC_BYTES_MAX || !topic.bytes().all(fits) {
        let allowed = "letters, digits, `-`, `_`, `.`, `~` and `%`";
        return Err(format!("must be a topic without `/topics/`: 1 to {TOPIC_BYTES_MAX} {allowed}"));
    }
    Ok(())
}

/// Whether a condition can be read as Google reads it.
///
/// # Errors
/// What is wrong, as the rest of a sentence about it.
pub(crate) fn check_condition(text: &str) -> Result<(), String> {
    if text.len() > CONDITION_BYTES_MAX {
        return Err(format!("must have at most {CONDITION_BYTES_MAX} bytes"));
    }
    let mut condition = Condition { rest: text, topics: 0 };
    condition.any(DEPTH_MAX)?;
    match condition.rest.trim_start().chars().next() {
        Some(odd) => Err(format!("has {odd:?} where `&&`, `||` or the end is expected")),
        None if condition.topics > TOPICS_MAX => Err(format!("names more than {TOPICS_MAX} topics")),
        None => Ok(()),
    }
}

/// Reads `'a' in topics && ('b' in topics || !('c' in topics))`.
struct Condition<'a> {
    rest: &'a str,
    topics: usize,
}

impl Condition<'_> {
    fn any(&mut self, depth: usize) -> Result<(), String> {
        self.one(depth)?;
        while self.take("&&") || self.take("||") {
            self.one(depth)?;
        }
        Ok(())
    }

    fn one(&mut self, depth: usize) -> Result<(), String> {
        let deeper = depth.checked_sub(1).ok_or_else(|| format!("is nested deeper than {DEPTH_MAX} levels"))?;
        if self.take("!") {
            return self.one(deeper);
        }
        if self.take("(") {
            self.any(deeper)?;
            return if self.take(")") { Ok(()) } else { Err("lacks a `)`".to_owned()) };
        }
        self.topic()
    }

    fn topic(&mut self) -> Result<(), String> {
        let form = || "must be made of `'topic' in topics`, `&&`, `||`, `!` and parentheses".to_owned();
        if !self.take("'") {
            return Err(form());
        }
        let (topic, rest) = self.rest.split_once('\'').ok_or_else(form)?;
        check(topic).map_err(|why| format!("the topic {topic:?} {why}"))?;
        self.rest = rest;
        self.topics += 1;
        if self.take("in") && self.take("topics") { Ok(()) } else { Err(form()) }
    }

    fn take(&mut self, word: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(word);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_read_as_its_service_reads_it() {
        for fine in [
            "'a' in topics",
            "'a' in topics && ('b' in topics || 'c' in topics)",
            "!('a' in topics)&&'b-_.~%' in topics",
            " ( 'a'  in  topics ) ",
        ] {
            assert_eq!(check_condition(fine), Ok(()), "{fine}");
        }
        let six = ["'a' in topics"; 6].join(" || ");
        let deep = format!("{}'a' in topics{}", "(".repeat(100_000), ")".repeat(100_000));
        for odd in [
            "",
            "a in topics",
            "'a' in topics &&",
            "('a' in topics",
            "'a' in topics)",
            "'a b' in topics",
            "'a' of topics",
            "'a",
            "'a' in topics 'b' in topics",
            "!",
            &six,
            &deep,
            &format!("{}'a'", "!".repeat(4_000)),
        ] {
            assert!(check_condition(odd).is_err(), "{}", &odd[..odd.len().min(40)]);
        }
    }
}
