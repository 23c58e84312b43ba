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

/// An answer that waits until the batch is durable.
pub(super) enum Verdict {
    Put(Result<(), Refusal>, oneshot::Sender<Result<(), Refusal>>),
    Delete(Result<bool, Refusal>, oneshot::Sender<Result<bool, Refusal>>),
}

impl Verdict {
    /// Answers; a change that was to be made is refused instead if there is a refusal of the whole batch.
    pub(super) fn tell(self, refusal: Option<&Refusal>) {
        let refuse = |()| refusal.cloned().map_or(Ok(()), Err);
        match self {
            Verdict::Put(result, answer) => drop(answer.send(result.and_then(refuse))),
            Verdict::Delete(Ok(true), answer) => drop(answer.send(refuse(()).map(|()| true))),
            Verdict::Delete(result, answer) => drop(answer.send(result)),
        }
    }
}

/// What is to be written: an object's text, or none if it goes.
pub(super) type Items = BTreeMap<(Kind, Arc<str>), Option<Arc<str>>>;

/// A batch after its check: the state as it will be, and what is to be written for it.
pub(super) struct Checked {
    pub(super) state: State,
    pub(super) items: Items,
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

impl Checked {
    pub(super) fn new(state: State, changes: Vec<Change>) -> Checked {
        let mut checked = Checked { state, items: BTreeMap::new(), verdicts: Vec::new(), claims: None };
        for change in changes {
            let verdict = match change {
                Change::Put { kind, objects, answer } => Verdict::Put(checked.put(kind, objects), answer),
                Change::Delete { kind, id, answer } => Verdict::Delete(checked.delete(kind, &id), answer),
            };
            checked.verdicts.push(verdict);
        }
        checked
    }

    fn put(&mut self, kind: Kind, objects: Vec<Value>) -> Result<(), Refusal> {
        let many = objects.len() > 1;
        let (mut entering, mut problems) = self.compile(kind, objects)?;
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

    /// Compiles each object by itself.
    fn compile(&self, kind: Kind, objects: Vec<Value>) -> Result<(Vec<Entering>, Numbered), Refusal> {
        let mut entering: BTreeMap<Arc<str>, Entering> = BTreeMap::new();
        let mut problems = Vec::new();
        for (index, object) in objects.into_iter().enumerate() {
            let (id, entry) = match Entry::compile(kind, object, None) {
                Ok(compiled) => compiled,
                Err(wrong) => {
                    problems.extend(wrong.into_iter().map(|problem| (index, problem)));
                    continue;
                }
            };
            if let Some(file) = self.file(kind, &id) {
                return Err(Refusal::InFile { path: file.display().to_string() });
            }
            if entering.contains_key(&id) {
                problems.push((index, Problem::new("/id", "the same id stands here twice")));
                continue;
            }
            entering.insert(id.clone(), Entering { index, id, entry: Arc::new(entry), before: None });
        }
        Ok((entering.into_values().collect(), problems))
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

/// Several objects are asked for as a FeatureCollection or as a list.
fn prefix(kind: Kind, index: usize) -> String {
    match kind {
        Kind::Geofence => format!("/features/{index}"),
        Kind::Store | Kind::Campaign | Kind::Beacon | Kind::Scanner | Kind::Zone | Kind::BeaconRegion => {
            format!("/{index}")
        }
    }
}
