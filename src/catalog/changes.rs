//! A batch of changes, checked against what is there and against each other. Writes nothing.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use parvis_engine::problem::Problem;
use serde_json::Value;
use tokio::sync::oneshot;

use super::{
    Kind, Refusal,
    claims::{self, Claims},
    eid_keys,
    objects::Entry,
    relations,
    state::State,
};

/// What is to be changed, and who waits for it.
pub(super) enum Change {
    Put { kind: Kind, objects: Vec<Value>, answer: oneshot::Sender<Result<(), Refusal>> },
    Delete { kind: Kind, id: String, answer: oneshot::Sender<Result<bool, Refusal>> },
}

/// A change whose objects are compiled, to be judged as often as the state changes below it.
pub(super) enum Asked {
    Put(Put),
    Delete { kind: Kind, id: String },
}

/// Objects that are to be put.
pub(super) struct Put {
    kind: Kind,
    many: bool,
    objects: Vec<Object>,
    /// What is wrong with each by itself.
    problems: Numbered,
}

struct Object {
    index: usize,
    id: Arc<str>,
    entry: Arc<Entry>,
}

/// Who waits for a change.
pub(super) enum Waiting {
    Put(oneshot::Sender<Result<(), Refusal>>),
    Delete(oneshot::Sender<Result<bool, Refusal>>),
}

/// What became of a change; false if there was nothing to delete.
pub(super) type Verdict = Result<bool, Refusal>;

/// What is to be written: an object's text, or none if it goes.
pub(super) type Items = BTreeMap<(Kind, Arc<str>), Option<Arc<str>>>;

/// A batch after its check: the state as it will be, and what is to be written for it.
pub(super) struct Checked {
    pub(super) state: State,
    pub(super) items: Items,
    /// One for each change, in their order.
    pub(super) verdicts: Vec<Verdict>,
    /// Kept from the first change that needs them on.
    claims: Option<Claims>,
}

/// An object that is being put, and what it takes the place of.
struct Entering {
    index: usize,
    id: Arc<str>,
    entry: Arc<Entry>,
    before: Option<Arc<Entry>>,
}

/// Problems, each with the place of its object in what was put.
type Numbered = Vec<(usize, Problem)>;

impl Change {
    /// Compiles the objects, each by itself.
    pub(super) fn compiled(self) -> (Asked, Waiting) {
        match self {
            Change::Put { kind, objects, answer } => (Asked::Put(Put::compile(kind, objects)), Waiting::Put(answer)),
            Change::Delete { kind, id, answer } => (Asked::Delete { kind, id }, Waiting::Delete(answer)),
        }
    }
}

impl Asked {
    /// Whether other objects decide how it is judged.
    pub(super) fn depends_on_others(&self) -> bool {
        match self {
            Asked::Put(put) => put.problems.is_empty(),
            Asked::Delete { .. } => true,
        }
    }
}

impl Put {
    fn compile(kind: Kind, objects: Vec<Value>) -> Put {
        let many = objects.len() > 1;
        let mut compiled: BTreeMap<Arc<str>, Object> = BTreeMap::new();
        let mut problems = Vec::new();
        for (index, object) in objects.into_iter().enumerate() {
            match Entry::compile(kind, object, None) {
                Err(wrong) => problems.extend(wrong.into_iter().map(|problem| (index, problem))),
                Ok((id, _)) if compiled.contains_key(&id) => {
                    problems.push((index, Problem::new("/id", "the same id stands here twice")));
                }
                Ok((id, entry)) => drop(compiled.insert(id.clone(), Object { index, id, entry: Arc::new(entry) })),
            }
        }
        Put { kind, many, objects: compiled.into_values().collect(), problems }
    }
}

impl Waiting {
    /// Answers; a change that was to be made is refused instead if there is a refusal of the whole batch.
    pub(super) fn tell(self, verdict: Verdict, refusal: Option<&Refusal>) {
        let verdict = match (verdict, refusal) {
            (Ok(true), Some(refusal)) => Err(refusal.clone()),
            (verdict, _) => verdict,
        };
        // Nobody waits for the answer any more: then nobody needs it.
        match self {
            Waiting::Put(answer) => drop(answer.send(verdict.map(drop))),
            Waiting::Delete(answer) => drop(answer.send(verdict)),
        }
    }
}

impl Checked {
    pub(super) fn new(state: State, changes: &[Asked]) -> Checked {
        let mut checked = Checked { state, items: BTreeMap::new(), verdicts: Vec::new(), claims: None };
        for change in changes {
            let verdict = match change {
                Asked::Put(put) => checked.put(put).map(|()| true),
                Asked::Delete { kind, id } => checked.delete(*kind, id),
            };
            checked.verdicts.push(verdict);
        }
        checked
    }

    fn put(&mut self, put: &Put) -> Result<(), Refusal> {
        let Put { kind, many, .. } = *put;
        if let Some(file) = put.objects.iter().find_map(|object| self.file(kind, &object.id)) {
            return Err(Refusal::InFile { path: file.display().to_string() });
        }
        let mut entering: Vec<Entering> = put.objects.iter().map(Entering::of).collect();
        let mut problems = put.problems.clone();
        // All of them come in before any is judged, so that they may name each other and swap what only one may have.
        entering.iter_mut().for_each(|it| self.enter(kind, it));
        let tags = if kind == Kind::Campaign { self.state.all.tags() } else { Default::default() };
        for it in &entering {
            let mut wrong = self.state.all.unknown_names(&it.entry, &tags);
            wrong.extend(self.misfits(kind, it));
            problems.extend(wrong.into_iter().map(|problem| (it.index, problem)));
        }
        drop(tags);
        if !problems.is_empty() {
            entering.into_iter().rev().for_each(|it| self.leave(kind, it));
            problems.sort_by_key(|(index, _)| *index);
            let under = |(index, problem): (usize, Problem)| problem.under(&prefix(kind, index));
            let bare = |(_, problem)| problem;
            let problems = problems.into_iter();
            return Err(Refusal::Invalid(if many {
                problems.map(under).collect()
            } else {
                problems.map(bare).collect()
            }));
        }
        for Entering { id, entry, before, .. } in entering {
            if before.is_some_and(|before| before.json == entry.json) {
                continue;
            }
            self.items.insert((kind, id.clone()), Some(entry.text()));
            self.state.api.of_mut(kind).insert(id, entry);
        }
        Ok(())
    }

    fn enter(&mut self, kind: Kind, it: &mut Entering) {
        if matches!(kind, Kind::Beacon | Kind::Zone) && self.claims.is_none() {
            self.claims = Some(Claims::of(&self.state.all));
        }
        it.before = self.state.all.of_mut(kind).insert(it.id.clone(), it.entry.clone());
        self.reclaim(&it.id, it.before.as_deref(), Some(&it.entry));
    }

    fn leave(&mut self, kind: Kind, it: Entering) {
        self.reclaim(&it.id, Some(&it.entry), it.before.as_deref());
        match it.before {
            Some(before) => drop(self.state.all.of_mut(kind).insert(it.id, before)),
            None => drop(self.state.all.of_mut(kind).remove(&it.id)),
        }
    }

    fn reclaim(&mut self, id: &Arc<str>, old: Option<&Entry>, new: Option<&Entry>) {
        let Some(claims) = &mut self.claims else { return };
        old.into_iter().for_each(|entry| claims.remove(id, entry));
        new.into_iter().for_each(|entry| claims.insert(id, entry));
    }

    /// What does not fit between an object that has come in and the others.
    fn misfits(&self, kind: Kind, it: &Entering) -> Vec<Problem> {
        let all = &self.state.all;
        let mut problems = relations::problems(all, &it.entry);
        problems.extend(claims::region_problem(all, kind, &it.id));
        problems.extend(self.claims.iter().flat_map(|claims| claims.problems(&it.id, &it.entry)));
        let moved = it.before.as_ref().is_some_and(|before| before.compiled.store() != it.entry.compiled.store());
        if moved {
            problems.extend(relations::left_behind(all, &it.id, &it.entry));
        }
        if eid_keys::needs_key(&it.entry) && !self.state.eid_keys.contains_key(&*it.id) {
            let message =
                "there is no key for it in the file that catalog.eid_keys names; write it there and reload first";
            problems.push(Problem::new("/eid", message));
        }
        problems
    }

    fn delete(&mut self, kind: Kind, id: &str) -> Result<bool, Refusal> {
        if let Some(file) = self.file(kind, id) {
            return Err(Refusal::InFile { path: file.display().to_string() });
        }
        let Some((id, _)) = self.state.api.of(kind).get_key_value(id) else { return Ok(false) };
        let id = id.clone();
        // One that a file hides is named by nobody.
        let shown = self.state.all.of(kind).get(&id).cloned();
        let who = if shown.is_some() { self.state.all.who_names(kind, &id) } else { Vec::new() };
        if let Some(first) = who.first() {
            let others = if who.len() > 1 { format!(" and {} more", who.len() - 1) } else { String::new() };
            let message = format!("{first}{others} name this {kind}: change or delete them first");
            return Err(Refusal::Invalid(vec![Problem::new("", message)]));
        }
        self.reclaim(&id, shown.as_deref(), None);
        self.state.api.of_mut(kind).remove(&id);
        self.state.all.of_mut(kind).remove(&id);
        self.items.insert((kind, id), None);
        Ok(true)
    }

    fn file(&self, kind: Kind, id: &str) -> Option<Arc<Path>> {
        self.state.files.of(kind).get(id).and_then(|entry| entry.file.clone())
    }
}

impl Entering {
    fn of(object: &Object) -> Entering {
        Entering { index: object.index, id: object.id.clone(), entry: object.entry.clone(), before: None }
    }
}

/// Several objects are asked for as a FeatureCollection or as a list.
fn prefix(kind: Kind, index: usize) -> String {
    match kind {
        Kind::Geofence => format!("/features/{index}"),
        Kind::Store | Kind::Campaign | Kind::Beacon | Kind::Scanner | Kind::Zone | Kind::BeaconRegion => {
            format!("/{index}")
        }
    }
}
