//! The door of the shards: hands inputs to their shoppers' owners, or refuses them at once.
//!
//! Must not wait for room on behalf of those who come from outside.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use parvis_engine::id::ShopperId;
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};

use super::{Answer, Input};

/// Why an input was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The inbox is full: come back later.
    Full,
    /// The node is closing, or the shard waits for a store that is away.
    Unavailable(String),
}

/// An input on its way through a shard.
#[derive(Debug)]
pub struct Job {
    /// Whose it is.
    pub shopper: ShopperId,
    /// What is to be done.
    pub input: Input,
    /// Gets the answer after the commit.
    pub reply: Reply,
}

/// Where the answer to one input goes. Whoever drops it unsent says that the node is closing.
#[derive(Debug)]
pub struct Reply {
    together: Arc<Together>,
    place: usize,
}

/// The answers to inputs that came together, in their order. They are there when the last of them is.
#[derive(Debug)]
pub struct Answers(oneshot::Receiver<Gathered>);

type Gathered = Vec<Option<Result<Answer, Refusal>>>;

/// Goes out with the last [`Reply`]: who asked for many is woken once.
#[derive(Debug)]
struct Together {
    gathered: Mutex<Gathered>,
    asker: Option<oneshot::Sender<Gathered>>,
}

/// The way into a shard.
#[derive(Clone, Debug)]
pub struct Inbox {
    pub(super) jobs: mpsc::Sender<Job>,
    /// Whether the shard waits for the store.
    pub(super) stalled: Arc<AtomicBool>,
}

impl From<mpsc::Sender<Job>> for Inbox {
    fn from(jobs: mpsc::Sender<Job>) -> Inbox {
        Inbox { jobs, stalled: Arc::default() }
    }
}

type Room<'i> = mpsc::PermitIterator<'i, Job>;

/// The shards' inboxes. When the last handle is dropped, the shards finish what waits and end.
#[derive(Clone, Debug)]
pub struct Shards {
    inboxes: Arc<[Inbox]>,
}

impl Shards {
    /// Handles for these inboxes.
    pub fn new(inboxes: Vec<impl Into<Inbox>>) -> Shards {
        Shards { inboxes: inboxes.into_iter().map(Into::into).collect() }
    }

    /// Hands an input to the shopper's owner and waits until what it caused is durable.
    ///
    /// # Errors
    /// If it was not taken; then it had no effect.
    pub async fn ask(&self, shopper: ShopperId, input: Input) -> Result<Answer, Refusal> {
        self.submit(shopper, input)?.one().await
    }

    /// Hands an input to the shopper's owner; what comes back waits for the commit.
    ///
    /// # Errors
    /// If it was not taken; then it had no effect.
    pub fn submit(&self, shopper: ShopperId, input: Input) -> Result<Answers, Refusal> {
        let mut room = self.inboxes[self.owner(&shopper)].room(1)?;
        let (reply, answers) = Reply::alone();
        put(&mut room, Job { shopper, input, reply });
        Ok(answers)
    }

    /// Hands inputs that came together to their shoppers' owners, all or none; what comes back waits for the commits.
    /// Those of one shopper are decided in their order. For more than [`Shards::at_once`] there may never be room.
    ///
    /// # Errors
    /// If there is no room for all of them; then none had an effect.
    pub fn submit_all(&self, inputs: Vec<(ShopperId, Input)>) -> Result<Answers, Refusal> {
        let owners: Vec<usize> = inputs.iter().map(|(shopper, _)| self.owner(shopper)).collect();
        let mut counts = vec![0_usize; self.inboxes.len()];
        owners.iter().for_each(|owner| counts[*owner] += 1);
        // What nothing is for is not asked: it may be closed.
        let room = |(inbox, count): (_, usize)| (count > 0).then(|| Inbox::room(inbox, count)).transpose();
        let mut rooms = self.inboxes.iter().zip(counts).map(room).collect::<Result<Vec<_>, Refusal>>()?;
        let (replies, answers) = Reply::gathered(inputs.len());
        for (((shopper, input), reply), owner) in inputs.into_iter().zip(replies).zip(owners) {
            put(rooms[owner].as_mut().expect("it was counted"), Job { shopper, input, reply });
        }
        Ok(answers)
    }

    /// Like [`Shards::ask`], but waits for room: for what comes from inside and must not be lost.
    ///
    /// # Errors
    /// If the node is closing.
    pub async fn tell(&self, shopper: ShopperId, input: Input) -> Result<Answer, Refusal> {
        let room = self.inboxes[self.owner(&shopper)].jobs.reserve().await.map_err(|_| closing())?;
        let (reply, answers) = Reply::alone();
        room.send(Job { shopper, input, reply });
        answers.one().await
    }

    /// The most inputs that find room together in every case where nothing else waits.
    pub fn at_once(&self) -> usize {
        self.inboxes.iter().map(|inbox| inbox.jobs.max_capacity()).min().unwrap_or(1)
    }

    /// How many jobs wait in all inboxes.
    pub fn waiting(&self) -> usize {
        self.inboxes.iter().map(|inbox| inbox.jobs.max_capacity() - inbox.jobs.capacity()).sum()
    }

    fn owner(&self, shopper: &ShopperId) -> usize {
        usize::try_from(shopper.stable_hash() % self.inboxes.len() as u64).unwrap_or(0)
    }
}

impl Inbox {
    /// Room for so many jobs.
    fn room(&self, count: usize) -> Result<Room<'_>, Refusal> {
        // Whoever came before waits for the store already; who comes now is better told than kept waiting.
        if self.stalled.load(Ordering::Relaxed) {
            return Err(Refusal::Unavailable("the store is away".to_owned()));
        }
        self.jobs.try_reserve_many(count).map_err(|full| match full {
            TrySendError::Full(()) => Refusal::Full,
            TrySendError::Closed(()) => closing(),
        })
    }
}

impl Reply {
    /// For an input that came alone.
    pub fn alone() -> (Reply, Answers) {
        let (together, answers) = Together::new(1);
        (Reply { together, place: 0 }, answers)
    }

    /// For so many inputs that came together.
    pub fn gathered(count: usize) -> (impl Iterator<Item = Reply>, Answers) {
        let (together, answers) = Together::new(count);
        ((0..count).map(move |place| Reply { together: together.clone(), place }), answers)
    }

    /// Answers. Whoever asked may have gone; what was decided stands.
    pub fn send(self, answer: Result<Answer, Refusal>) {
        let mut gathered = self.together.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        gathered[self.place] = Some(answer);
    }
}

impl Answers {
    /// All of them, each answered or refused on its own.
    pub async fn all(self) -> impl Iterator<Item = Result<Answer, Refusal>> {
        let gathered = self.0.await.unwrap_or_default();
        gathered.into_iter().map(|answer| answer.unwrap_or_else(|| Err(closing())))
    }

    /// The first, for who asked for one.
    pub async fn one(self) -> Result<Answer, Refusal> {
        self.all().await.next().unwrap_or_else(|| Err(closing()))
    }
}

impl Together {
    fn new(count: usize) -> (Arc<Together>, Answers) {
        let (asker, answers) = oneshot::channel();
        let gathered = Mutex::new((0..count).map(|_| None).collect());
        (Arc::new(Together { gathered, asker: Some(asker) }), Answers(answers))
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        let gathered = std::mem::take(self.gathered.get_mut().unwrap_or_else(PoisonError::into_inner));
        if let Some(asker) = self.asker.take() {
            let _ = asker.send(gathered);
        }
    }
}

fn put(room: &mut Room<'_>, job: Job) {
    room.next().expect("there is room for each that was counted").send(job);
}

fn closing() -> Refusal {
    Refusal::Unavailable("the node is closing".to_owned())
}

#[cfg(test)]
mod tests {
    use parvis_engine::shopper::Profile;

    use super::*;

    type Waiting = mpsc::Receiver<Job>;

    /// Two inboxes, and a shopper of each.
    fn two(room: usize) -> (Shards, [Waiting; 2], [ShopperId; 2]) {
        let (inboxes, waiting): (Vec<_>, Vec<_>) = (0..2).map(|_| mpsc::channel::<Job>(room)).unzip();
        let shards = Shards::new(inboxes);
        let of = |owner: usize| {
            let mut ids = (0..).map(|number| format!("C-{number}").parse::<ShopperId>().expect("an id"));
            ids.find(|id| shards.owner(id) == owner).expect("every inbox is somebody's")
        };
        let shoppers = [of(0), of(1)];
        (shards, waiting.try_into().expect("two"), shoppers)
    }

    fn named(locale: &str) -> Input {
        Input::Profile(Profile { locale: Some(locale.into()), ..Profile::default() })
    }

    fn locale(job: &Job) -> Option<&str> {
        if let Input::Profile(profile) = &job.input { profile.locale.as_deref() } else { None }
    }

    #[test]
    fn inputs_that_came_together_are_taken_all_or_none() {
        let (shards, [mut one, mut other], [first, second]) = two(2);
        let both = || vec![(first.clone(), named("a")), (second.clone(), named("b"))];
        let waits = [shards.submit_all(both()), shards.submit(second.clone(), named("c"))];
        assert!(waits.iter().all(Result::is_ok));
        assert_eq!(shards.submit_all(both()).err(), Some(Refusal::Full), "one of the two inboxes is full");
        assert_eq!(shards.waiting(), 3, "and the other one was left as it was");
        assert_eq!(other.try_recv().as_ref().ok().and_then(locale), Some("b"));
        assert!(shards.submit_all(both()).is_ok(), "there is room again");
        let come = |waiting: &mut Waiting| std::iter::from_fn(|| waiting.try_recv().ok()).count();
        assert_eq!((come(&mut one), come(&mut other)), (2, 2));
        let three = vec![(first.clone(), named("a")); 3];
        assert_eq!((shards.at_once(), shards.submit_all(three).err()), (2, Some(Refusal::Full)));
        shards.inboxes[1].stalled.store(true, Ordering::Relaxed);
        assert!(matches!(shards.submit_all(both()), Err(Refusal::Unavailable(_))));
        assert!(shards.submit(first, named("a")).is_ok(), "a store is away for one shard at a time");
    }

    #[tokio::test]
    async fn answers_come_back_in_the_order_of_the_inputs() {
        let (shards, [mut one, mut other], [first, second]) = two(8);
        let inputs = [(&first, "a"), (&second, "b"), (&first, "c")].map(|(id, text)| (id.clone(), named(text)));
        let answers = shards.submit_all(inputs.into()).expect("there is room");
        let later = shards.submit(first, named("d")).expect("there is room");
        let of_first: Vec<Job> = std::iter::from_fn(|| one.try_recv().ok()).collect();
        assert_eq!(of_first.iter().map(locale).collect::<Vec<_>>(), [Some("a"), Some("c"), Some("d")]);
        for (job, told) in of_first.into_iter().zip([true, false, true]).rev() {
            job.reply.send(Ok(Answer::Deleted(told)));
        }
        other.try_recv().expect("it came").reply.send(Err(Refusal::Full));
        let (all, later) = (answers.all().await.collect::<Vec<_>>(), later.one().await);
        let (yes, no) = (Ok(Answer::Deleted(true)), Ok(Answer::Deleted(false)));
        assert_eq!((all, later), (vec![yes.clone(), Err(Refusal::Full), no], yes));
        let none = shards.submit_all(Vec::new()).expect("nothing needs no room");
        assert_eq!(none.all().await.count(), 0);
    }

    #[tokio::test]
    async fn a_shard_that_dies_refuses_its_own_inputs_only() {
        let (shards, [mut one, mut other], [first, second]) = two(8);
        let inputs = [&second, &first, &second].map(|id| (id.clone(), named("a")));
        let answers = shards.submit_all(inputs.into()).expect("there is room");
        let in_hand = other.try_recv().expect("it came");
        one.try_recv().expect("it came").reply.send(Ok(Answer::Done));
        drop((in_hand, other));
        let gone = || Err(closing());
        assert_eq!(answers.all().await.collect::<Vec<_>>(), [gone(), Ok(Answer::Done), gone()]);
        let asked = [shards.submit_all(vec![(first.clone(), named("a")), (second.clone(), named("a"))]).err()];
        assert_eq!((asked, shards.ask(second, named("a")).await), ([Some(closing())], gone()));
        assert!(one.try_recv().is_err(), "the living one was not given half of it");
        drop(shards.submit_all(vec![(first, named("a"))]).expect("nothing is for the dead one"));
        assert!(one.try_recv().is_ok());
    }
}
