//! Commits whose answer was lost, so that one that says the same again is known for the same try. Two that say the same
//! and are not one try conflict, as any two do: they may be two steps of one count.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What this node does not know the end of, by what it says; each with the mark under which it may be stored.
#[derive(Debug, Default)]
pub(super) struct Unsure(Mutex<BTreeMap<String, String>>);

/// A commit that was said again later than so many others failed is taken for another: it conflicts, and is decided
/// again.
const MOST: usize = 65_536;

impl Unsure {
    /// Replaces what items say by marks of their own: of a repeat, the mark of its first try. What is given back goes to
    /// [`Unsure::end`].
    pub(super) fn begin<'m>(&self, marks: impl Iterator<Item = &'m mut String>, chance: u64) -> Vec<(String, String)> {
        let known = self.known();
        let begin = |(place, mark): (u64, &mut String)| {
            let fresh = || format!("{:016x}", chance.wrapping_add(place));
            let content = std::mem::take(mark);
            *mark = known.get(&content).cloned().unwrap_or_else(fresh);
            (content, mark.clone())
        };
        (0..).zip(marks).map(begin).collect()
    }

    /// The tries have been answered, or not.
    pub(super) fn end(&self, tries: Vec<(String, String)>, unsure: bool) {
        let mut known = self.known();
        if unsure {
            known.extend(tries);
            while known.len() > MOST {
                known.pop_first();
            }
        } else if !known.is_empty() {
            tries.iter().for_each(|(content, _)| drop(known.remove(content)));
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_has_the_mark_of_its_first_try_until_it_is_answered() {
        let unsure = Unsure::default();
        let begin = |content: &str, chance| {
            let mut mark = content.to_owned();
            let tries = unsure.begin([&mut mark].into_iter(), chance);
            (mark, tries)
        };
        let (first, tries) = begin("A", 1);
        unsure.end(tries, true);
        let (other, _) = begin("B", 2);
        let (repeat, tries) = begin("A", 3);
        assert!(first == repeat && first != other);
        unsure.end(tries, false);
        assert_ne!(begin("A", 4).0, first, "what is said once more is another try");
    }
}
