//! From a tree to a type, without stopping at the first problem.

use std::collections::{BTreeMap, BTreeSet};

use parvis_engine::problem::Problem;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

use super::{escape, insert, unescape, within};

/// The most problems that are looked for in one part of a file.
const PROBLEMS_MAX: usize = 200;

/// What [`typed`] could make of a tree.
#[derive(Debug)]
pub struct Typed<T> {
    /// The value; what was wrong in it is left at its default. None if something is wrong that has no default.
    pub value: Option<T>,
    /// Whether nothing was left out of the value but unknown keys.
    pub whole: bool,
    /// Unknown keys, wrong types and missing keys, with pointers into the tree.
    pub problems: Vec<Problem>,
}

/// Turns a tree into a type and goes on after each problem, so that all are found.
///
/// Where a value has the wrong type and `alternatives` knows another one for its pointer, that one is tried.
pub fn typed<T: DeserializeOwned>(tree: Value, alternatives: &mut BTreeMap<String, Value>) -> Typed<T> {
    let mut repair =
        Repair { tree, problems: Vec::new(), whole: true, removed: BTreeSet::new(), stand_ins: Vec::new() };
    while repair.problems.len() < PROBLEMS_MAX {
        let error = match serde_path_to_error::deserialize::<_, T>(&repair.tree) {
            Ok(value) => {
                let value = repair.stand_ins.is_empty().then_some(value);
                return Typed { value, whole: repair.whole, problems: repair.problems };
            }
            Err(error) => error,
        };
        let (pointer, message) = (pointer(error.path()), error.inner().to_string());
        if let Some(other) = alternatives.remove(&pointer) {
            insert(&mut repair.tree, &pointer, other);
        } else if !repair.mend(pointer, message) {
            break;
        }
    }
    Typed { value: None, whole: false, problems: repair.problems }
}

/// A tree that is changed until it fits its type: what is wrong is taken out, and what is missing gets a stand-in,
/// only to find the problems behind it.
struct Repair {
    tree: Value,
    problems: Vec<Problem>,
    whole: bool,
    removed: BTreeSet<String>,
    /// Where a stand-in was put, and how many were tried there.
    stand_ins: Vec<(String, usize)>,
}

impl Repair {
    /// Takes one problem out of the way; false if that can't be done.
    fn mend(&mut self, pointer: String, message: String) -> bool {
        let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        if let Some(name) = missing {
            return self.missing(format!("{pointer}/{}", escape(name)), message);
        }
        // Some types tell a problem not where it is but for the value around it.
        if let Some((latest, tried)) = self.stand_ins.last_mut().filter(|(latest, _)| within(latest, &pointer)) {
            *tried += 1;
            return match stand_in(*tried, &message) {
                Some(value) => insert(&mut self.tree, latest, value),
                None => self.remove(pointer),
            };
        }
        self.whole &= message.starts_with("unknown field");
        self.problems.push(Problem::new(pointer.clone(), message));
        self.remove(pointer)
    }

    fn missing(&mut self, pointer: String, message: String) -> bool {
        if self.stand_ins.iter().any(|(known, _)| within(known, &pointer)) {
            return false;
        }
        if let Some((around, _)) = self.stand_ins.iter().find(|(known, _)| within(&pointer, known)) {
            return self.remove(around.clone());
        }
        if !self.removed.contains(&pointer) {
            self.problems.push(Problem::new(parent(&pointer), message));
        }
        let inserted = insert(&mut self.tree, &pointer, Value::Null);
        self.stand_ins.push((pointer, 0));
        inserted
    }

    fn remove(&mut self, pointer: String) -> bool {
        let removed = remove(&mut self.tree, &pointer);
        self.removed.insert(pointer);
        removed
    }
}

/// Values that are put where a key is missing, only to find the problems behind it. `message` is what was wrong with
/// the last one.
fn stand_in(tried: usize, message: &str) -> Option<Value> {
    if let Some((_, expected)) = message.split_once("unknown variant `x`, expected ") {
        return expected.split('`').nth(1).map(Value::from);
    }
    let values = [Value::Null, "x".into(), 1.into(), true.into(), Value::Array(Vec::new()), serde_json::json!({})];
    values.into_iter().nth(tried)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    let mut pointer = String::new();
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } | Segment::Enum { variant: key } => pointer.push_str(&format!("/{}", escape(key))),
            Segment::Unknown => break,
        }
    }
    pointer
}

fn parent(pointer: &str) -> &str {
    pointer.rfind('/').map_or("", |end| &pointer[..end])
}

/// Takes a member out of a tree; false if it can't be taken out.
fn remove(tree: &mut Value, pointer: &str) -> bool {
    let Some((around, last)) = pointer.rsplit_once('/') else { return false };
    match tree.pointer_mut(around) {
        Some(Value::Object(members)) => members.remove(&*unescape(last)).is_some(),
        Some(Value::Array(_)) => remove(tree, around),
        Some(_) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Shelf {
        name: String,
        width_m: f64,
        #[serde(default)]
        depth_m: f64,
        #[serde(default)]
        levels: Vec<u32>,
    }

    fn paths(problems: &[Problem]) -> Vec<&str> {
        problems.iter().map(|problem| problem.path.as_str()).collect()
    }

    #[test]
    fn finds_every_problem_of_a_type() {
        let tree = serde_json::json!({"colour": 1, "depth_m": "deep", "levels": [1, "two"], "hue": 2});
        let typed = typed::<Shelf>(tree, &mut BTreeMap::new());
        assert_eq!(typed.value, None);
        assert_eq!(paths(&typed.problems), ["/colour", "/depth_m", "/hue", "/levels/1", "", ""]);
        assert!(typed.problems[5].message.contains("`width_m`"), "{:?}", typed.problems);
    }

    #[derive(Debug, Deserialize)]
    #[serde(tag = "type")]
    enum Shape {
        Square {
            #[serde(rename = "side_m")]
            _side_m: f64,
        },
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Shop {
        #[serde(rename = "floor")]
        _floor: Shape,
        #[serde(rename = "name")]
        _name: String,
    }

    #[test]
    fn a_tagged_value_does_not_hide_what_comes_after_it() {
        let told = |tree| typed::<Shop>(tree, &mut BTreeMap::new()).problems;
        let none = told(serde_json::json!({"name": 5, "size": 1}));
        assert_eq!(paths(&none), ["/name", "/size", ""]);
        let empty = told(serde_json::json!({"floor": {}, "name": 5, "size": 1}));
        assert_eq!(paths(&empty), ["/floor", "/floor", "/name", "/size"]);
        let wrong = told(serde_json::json!({"floor": {"type": "Square", "side_m": "wide"}, "name": 5}));
        assert_eq!(paths(&wrong), ["/floor", "/name"]);
    }

    #[test]
    fn goes_on_with_defaults_where_there_are_some() {
        let tree = serde_json::json!({"name": "A", "width_m": 1, "depth_m": "deep"});
        let typed = typed::<Shelf>(tree, &mut BTreeMap::new());
        let expected = Shelf { name: "A".to_owned(), width_m: 1.0, depth_m: 0.0, levels: Vec::new() };
        assert_eq!(typed.value, Some(expected));
        assert_eq!(paths(&typed.problems), ["/depth_m"]);
    }

    #[test]
    fn a_required_key_of_the_wrong_type_is_told_once() {
        let typed = typed::<Shelf>(serde_json::json!({"name": 5, "width_m": "wide"}), &mut BTreeMap::new());
        assert_eq!(paths(&typed.problems), ["/name", "/width_m"]);
    }
}
