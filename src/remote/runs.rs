//! A listing in several runs side by side: which part of the keys each reads, what to ask next, and whether all of them together are the
//! whole. Sends nothing.
//!
//! Each run reads the keys after one and up to another, page after page, as a listing from there. That a store takes `start-after` as S3
//! does is not believed but seen: a run goes on until it has passed its end, so that neighbours overlap, and a key that both have seen
//! joins them ([`Runs::whole`]). Together they then are one unbroken listing, in whatever order the store keeps its keys. Whatever does not
//! fit (keys that go back, a page from elsewhere, an end before another run's keys) makes all of it void, and the listing is read plainly.
//!
//! As in any listing of more than one page, pages are read at different moments: what is renamed meanwhile may show twice or not at all.
//! Nothing concludes from a listing alone that an object was removed.

use crate::view::Listed;

/// One of so many known keys is a mark.
const EVERY: usize = 50;
/// Marks to a run: a page of 1,000 keys goes beyond it even where some keys are new.
const MARKS: usize = 19;
/// Marks to the first run, which has lsync's own objects too.
const MARKS_FIRST: usize = 18;
/// Runs that marks make where one page each would be more than that: several times as many as are read at once.
const MOST_RUNS: usize = 64;
/// Keys of a page that a run between names of directories is meant to have.
const PAGE: usize = 900;
/// The most runs that one level of names makes.
const MOST_POINTS: usize = 64;
/// How often names are asked for to split one run, and those that it was split from.
const MOST_LOOKS: u8 = 16;

/// Some of the keys that a bucket is thought to hold, evenly spread over them: where a listing of it may be split. They need not be right.
#[derive(Clone, Debug, Default)]
pub struct Marks(Vec<String>);

impl Marks {
    /// Of all keys that are known, in their order.
    pub fn of<'a>(keys: impl Iterator<Item = &'a str>) -> Marks {
        Marks(keys.skip(EVERY - 1).step_by(EVERY).map(str::to_owned).collect())
    }

    /// Those below a start.
    pub(super) fn below(mut self, start: &str) -> Marks {
        self.0.retain(|key| key.starts_with(start));
        self
    }
}

/// A page to ask for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) run: usize,
    /// The first page of a run begins after this key; `None`: at the beginning.
    pub(super) after: Option<String>,
    /// Where the page before it ended.
    pub(super) token: Option<String>,
}

/// Names of directories to ask for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AskNames {
    run: usize,
    level: Level,
    /// They come after this key.
    pub(super) after: String,
}

impl AskNames {
    /// The directory that holds them, with its slash; empty: the root.
    pub(super) fn directory(&self) -> &str {
        &self.level.directory
    }
}

/// The answers do not fit together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Odd;

/// All runs of a listing, the first one first.
#[derive(Debug)]
pub(super) struct Runs(Vec<Run>);

#[derive(Debug)]
struct Run {
    after: Option<String>,
    /// `None`: to the end.
    until: Option<String>,
    next: Next,
    seen: Vec<Listed>,
    pages: usize,
    /// Pages that it may have before it is split further.
    patience: usize,
    /// Whose names may split it further; `None`: nothing does, or they are asked for.
    level: Option<Level>,
}

#[derive(Debug)]
enum Next {
    /// The page that this token leads to, or the run's first.
    Ask(Option<String>),
    UnderWay,
    /// It has passed its end.
    Passed,
    /// There is nothing more.
    Ended,
}

/// A directory, with its slash, and the how manieth it is that was looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Level {
    directory: String,
    depth: u8,
}

impl Run {
    fn new(after: Option<String>, until: Option<String>, patience: usize, level: Option<Level>) -> Run {
        Run { after, until, next: Next::Ask(None), seen: Vec::new(), pages: 0, patience, level }
    }

    fn last(&self) -> Option<&str> {
        self.seen.last().map(|object| object.key.as_str())
    }

    fn is_over(&self) -> bool {
        matches!(self.next, Next::Passed | Next::Ended)
    }

    /// How many of its keys are in its part.
    fn own(&self) -> usize {
        self.until.as_ref().map_or(self.seen.len(), |until| self.seen.partition_point(|object| object.key <= *until))
    }
}

impl Runs {
    /// One run over everything that starts with this.
    pub(super) fn new(start: &str) -> Runs {
        let directory = start[..start.rfind('/').map_or(0, |at| at + 1)].to_owned();
        Runs(vec![Run::new(None, None, 1, Some(Level { directory, depth: 0 }))])
    }

    /// The next page to ask for.
    pub(super) fn next(&mut self) -> Option<Ask> {
        let run = self.0.iter().position(|run| matches!(run.next, Next::Ask(_)))?;
        let Next::Ask(token) = std::mem::replace(&mut self.0[run].next, Next::UnderWay) else { return None };
        let after = self.0[run].after.clone().filter(|_| token.is_none());
        Some(Ask { run, after, token })
    }

    /// A page has come: its keys, and where the next one begins. Returns how many keys nobody else is to read.
    pub(super) fn page(&mut self, run: usize, mut objects: Vec<Listed>, next: Option<String>) -> Result<usize, Odd> {
        let run = &mut self.0[run];
        let before = run.last().or(run.after.as_deref());
        let fits = objects.is_sorted_by(|a, b| a.key < b.key)
            && before.zip(objects.first()).is_none_or(|(before, first)| before < first.key.as_str())
            && (next.is_none() || !objects.is_empty());
        if !fits {
            return Err(Odd);
        }
        let own = run.own();
        run.pages += 1;
        run.seen.append(&mut objects);
        let passed = run.until.as_deref().zip(run.last()).is_some_and(|(until, last)| last > until);
        run.next = match next {
            None => Next::Ended,
            Some(_) if passed => Next::Passed,
            token => Next::Ask(token),
        };
        Ok(run.own() - own)
    }

    /// True when nothing is left to ask: each run is at its end, or the first has come to the end of everything.
    pub(super) fn are_over(&self) -> bool {
        matches!(self.0[0].next, Next::Ended) || self.0.iter().all(Run::is_over)
    }

    /// Splits the only run at marks.
    pub(super) fn split_at(&mut self, marks: &Marks) {
        let run = &self.0[0];
        if self.0.len() > 1 || run.is_over() {
            return;
        }
        let seen = run.last().map_or(0, |last| marks.0.partition_point(|mark| mark.as_str() <= last));
        // The page that is under way reaches as far as a run does.
        let first = if run.last().is_none() { MARKS_FIRST } else { MARKS };
        if marks.0.len() < seen + MARKS + 1 {
            return; // the page reaches about as far
        }
        // Of a large bucket each run reads several pages, without an overlap for every page; what it holds is then large enough for the
        // system to take it back while all is put together.
        let pages = (marks.0.len() / (MARKS * MOST_RUNS)).max(1);
        let points = marks.0.iter().skip(seen + first - 1).step_by(pages * (MARKS + 1) - 1).cloned().collect();
        // One page more is no sign yet that there is much more than was thought.
        self.split(0, points, pages + 2);
    }

    fn split(&mut self, run: usize, points: Vec<String>, patience: usize) {
        let run = &mut self.0[run];
        let Some(level) = run.level.clone().filter(|_| !points.is_empty()) else { return };
        run.patience = patience;
        let end = std::mem::replace(&mut run.until, points.first().cloned());
        let ends: Vec<Option<String>> = points.iter().skip(1).cloned().map(Some).chain([end]).collect();
        let level = Some(level).filter(|level| level.depth < MOST_LOOKS);
        run.level.clone_from(&level);
        self.0.extend(points.into_iter().zip(ends).map(|(after, until)| Run::new(Some(after), until, patience, level.clone())));
    }

    /// Names of directories that may split a run which is longer than was thought.
    pub(super) fn next_names(&mut self) -> Option<AskNames> {
        let is_long = |run: &Run| !run.is_over() && run.level.is_some() && run.pages >= run.patience && run.pages > 0;
        let at = self.0.iter().position(is_long)?;
        let run = &mut self.0[at];
        let (after, mut level) = (run.last()?.to_owned(), run.level.take()?);
        // All that is still to come lies in the directory that both ends share.
        let shared = run.until.as_deref().map_or("", |until| shared_directory(&after, until));
        if shared.starts_with(&level.directory) {
            level.directory = shared.to_owned();
        }
        Some(AskNames { run: at, level, after })
    }

    /// The names have come; none, if none could be had.
    pub(super) fn names(&mut self, asked: AskNames, names: &[String]) {
        let run = &mut self.0[asked.run];
        let depth = asked.level.depth + 1;
        let start = asked.level.directory.len();
        // It has gone on meanwhile, and perhaps out of the directory.
        let within = run.last().filter(|last| last.starts_with(&asked.level.directory));
        let Some(last) = within.filter(|_| !run.is_over() && names.is_sorted()) else { return };
        let points: Vec<&String> =
            names.iter().filter(|name| name.as_str() > last && run.until.as_ref().is_none_or(|until| *name < until)).collect();
        if points.is_empty() {
            // Perhaps all of it lies in one directory, the last key's.
            let deeper = Some(name_at(last, start)).filter(|name| name.ends_with('/') && depth < MOST_LOOKS);
            run.level = deeper.map(|name| Level { directory: last[..start + name.len()].to_owned(), depth });
            return;
        }
        let mut here: Vec<&str> = run.seen.iter().rev().take(1000).map(|object| name_at(&object.key, start)).collect();
        let keys = here.len();
        here.dedup();
        let step = (PAGE * here.len() / keys.max(1)).max(points.len().div_ceil(MOST_POINTS)).max(1);
        let points: Vec<String> = points.into_iter().skip(step - 1).step_by(step).cloned().collect();
        // Where it is hardly longer than a page they are not worth it.
        run.level = (!points.is_empty()).then_some(Level { depth, ..asked.level });
        self.split(asked.run, points, 2);
    }

    /// Everything that the runs have seen, in order and in pieces, if they are one unbroken listing.
    pub(super) fn whole(mut self) -> Result<Vec<Vec<Listed>>, Odd> {
        if matches!(self.0[0].next, Next::Ended) {
            // From the beginning to the end: it needs no other.
            return Ok(vec![self.0.swap_remove(0).seen]);
        }
        self.0.sort_by(|a, b| a.after.cmp(&b.after));
        let mut all = Vec::with_capacity(self.0.len());
        let mut runs = self.0.into_iter();
        let Some(mut before) = runs.next() else { return Err(Odd) };
        for mut run in runs {
            let beyond = before.seen.split_off(before.own());
            if !joins(&before.next, &beyond, &run.seen) {
                return Err(Odd);
            }
            all.push(before.seen);
            // What either has seen; of a key that both have, one version.
            if !beyond.is_empty() {
                run.seen.extend(beyond);
                run.seen.sort_by(|a, b| a.key.cmp(&b.key));
                run.seen.dedup_by(|a, b| a.key == b.key);
            }
            before = run;
        }
        all.push(before.seen);
        if matches!(before.next, Next::Ended) { Ok(all) } else { Err(Odd) }
    }
}

/// True when a run and the next one overlap, or both say that there is nothing after the point between them.
fn joins(next: &Next, beyond: &[Listed], seen: &[Listed]) -> bool {
    if beyond.is_empty() {
        return matches!(next, Next::Ended) && seen.is_empty();
    }
    beyond.iter().any(|object| seen.binary_search_by(|other| other.key.cmp(&object.key)).is_ok())
}

/// The directory, with its slash, that two keys share.
fn shared_directory<'a>(a: &'a str, b: &str) -> &'a str {
    let same = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    a.as_bytes()[..same].iter().rposition(|byte| *byte == b'/').map_or("", |at| &a[..=at])
}

/// The name that a key has in the directory whose name has so many bytes, with its slash if it is a directory's.
fn name_at(key: &str, start: usize) -> &str {
    let rest = key.get(start..).unwrap_or_default();
    rest.find('/').map_or(rest, |at| &rest[..=at])
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::digest::ETag;

    /// What a store makes of `start-after`.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Begins {
        After,
        AtTheBeginning,
        At,
        Nowhere,
        /// So many keys too late.
        Late(usize),
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Order {
        Bytes,
        /// As one walks through directories.
        Names,
        NoCase,
    }

    impl Order {
        fn of(self, a: &str, b: &str) -> Ordering {
            match self {
                Order::Bytes => a.cmp(b),
                Order::Names => a.split('/').cmp(b.split('/')),
                Order::NoCase => a.to_lowercase().cmp(&b.to_lowercase()).then(a.cmp(b)),
            }
        }
    }

    struct Store {
        keys: BTreeSet<String>,
        begins: Begins,
        order: Order,
        page: usize,
    }

    fn object(key: &str) -> Listed {
        Listed { key: key.to_owned(), size: 1, etag: ETag::parse("x"), last_modified: 0 }
    }

    impl Store {
        /// A page, and the last key of it if there is more.
        fn page(&self, ask: &Ask) -> (Vec<Listed>, Option<String>) {
            let mut keys: Vec<&String> = self.keys.iter().collect();
            keys.sort_by(|a, b| self.order.of(a, b));
            let beyond = |from: &str, at: bool| {
                let less = |key: &&String| self.order.of(key, from) == Ordering::Less || (!at && key.as_str() == from);
                keys.partition_point(less)
            };
            let from = match (&ask.token, &ask.after, self.begins) {
                (Some(token), ..) => beyond(token, false),
                (None, None, _) | (None, Some(_), Begins::AtTheBeginning) => 0,
                (None, Some(after), Begins::After) => beyond(after, false),
                (None, Some(after), Begins::At) => beyond(after, true),
                (None, Some(_), Begins::Nowhere) => keys.len(),
                (None, Some(after), Begins::Late(n)) => (beyond(after, false) + n).min(keys.len()),
            };
            let to = (from + self.page).min(keys.len());
            let next = if to < keys.len() { Some(keys[to - 1].clone()) } else { None };
            (keys[from..to].iter().map(|key| object(key)).collect(), next)
        }

        fn names(&self, asked: &AskNames) -> Vec<String> {
            let below = self.keys.iter().filter(|key| key.starts_with(asked.directory()) && key.as_str() > asked.after.as_str());
            let names = below.map(|key| name_at(key, asked.directory().len())).filter(|name| name.ends_with('/'));
            let names: BTreeSet<String> = names.map(|name| format!("{}{name}", asked.directory())).collect();
            names.into_iter().take(self.page).collect()
        }
    }

    /// Lists a store whose answers come in any order, while `change` changes it, and returns the keys.
    fn list(store: &mut Store, marks: &[String], luck: &[Index], mut change: impl FnMut(&mut Store)) -> Result<Vec<String>, Odd> {
        let (mut runs, mut marks) = (Runs::new(""), Some(Marks(marks.to_vec())));
        let (mut pages, mut names): (Vec<Ask>, Vec<AskNames>) = (Vec::new(), Vec::new());
        let mut luck = luck.iter().cycle();
        while !runs.are_over() {
            while pages.len() < 5
                && let Some(ask) = runs.next()
            {
                pages.push(ask);
            }
            if marks.is_none() {
                names.extend(runs.next_names());
            }
            let ready = pages.len() + names.len() + usize::from(marks.is_some());
            let chosen = luck.next().map_or(0, |luck| luck.index(ready));
            if chosen < pages.len() {
                let ask = pages.swap_remove(chosen);
                let (objects, next) = store.page(&ask);
                runs.page(ask.run, objects, next)?;
            } else if chosen < pages.len() + names.len() {
                let asked = names.swap_remove(chosen - pages.len());
                let found = store.names(&asked);
                runs.names(asked, &found);
            } else if let Some(marks) = marks.take() {
                runs.split_at(&marks);
            }
            change(store);
        }
        Ok(runs.whole()?.into_iter().flatten().map(|object| object.key).collect())
    }

    fn key() -> impl Strategy<Value = String> {
        "[abC.é-]{1,3}(/[abC.é-]{1,2}){0,3}"
    }

    fn begins() -> impl Strategy<Value = Begins> {
        let late = (0..60usize).prop_map(Begins::Late);
        prop_oneof![
            3 => Just(Begins::After),
            1 => Just(Begins::AtTheBeginning),
            1 => Just(Begins::At),
            1 => Just(Begins::Nowhere),
            1 => late
        ]
    }

    fn order() -> impl Strategy<Value = Order> {
        prop_oneof![3 => Just(Order::Bytes), 1 => Just(Order::Names), 1 => Just(Order::NoCase)]
    }

    #[test]
    fn a_large_bucket_is_read_in_few_long_runs() {
        let keys: Vec<String> = (0..1_000_000).map(|n| format!("k{n:07}")).collect();
        let runs_of = |count: usize| {
            let mut runs = Runs::new("");
            runs.split_at(&Marks::of(keys[..count].iter().map(String::as_str)));
            (runs.0.len(), runs.0[1].patience)
        };
        assert_eq!((runs_of(20_000), runs_of(100_000)), ((22, 3), (106, 3)), "a page each");
        assert_eq!(runs_of(1_000_000), (64, 18));
    }

    proptest! {
        #[test]
        fn what_fits_together_is_every_key_once_in_order_whatever_the_store_does(
            keys in prop::collection::btree_set(key(), 0..150),
            marks in prop::collection::btree_set(key(), 0..100),
            luck in prop::collection::vec(any::<Index>(), 1..60),
            (begins, order, page) in (begins(), order(), 1..20usize),
        ) {
            let marks: Vec<String> = marks.into_iter().collect();
            let mut store = Store { keys, begins, order, page };
            match list(&mut store, &marks, &luck, |_| ()) {
                Ok(found) => prop_assert!(found.iter().eq(&store.keys), "{found:?}"),
                Err(Odd) => prop_assert!((begins, order) != (Begins::After, Order::Bytes), "a store that does as S3 does"),
            }
        }

        #[test]
        fn what_was_there_all_the_time_is_in_it(
            stays in prop::collection::btree_set(key(), 0..100),
            comes_and_goes in prop::collection::vec(key(), 1..50),
            marks in prop::collection::btree_set(key(), 0..100),
            luck in prop::collection::vec(any::<Index>(), 1..60),
            page in 1..15usize,
        ) {
            let marks: Vec<String> = marks.into_iter().collect();
            let mut store = Store { keys: stays.clone(), begins: Begins::After, order: Order::Bytes, page };
            let mut next = comes_and_goes.iter().filter(|key| !stays.contains(*key)).cycle();
            let change = |store: &mut Store| {
                if let Some(key) = next.next() && !store.keys.remove(key) {
                    store.keys.insert(key.clone());
                }
            };
            if let Ok(found) = list(&mut store, &marks, &luck, change) {
                let found: BTreeSet<String> = { prop_assert!(found.is_sorted_by(|a, b| a < b)); found.into_iter().collect() };
                prop_assert!(stays.is_subset(&found));
                prop_assert!(found.iter().all(|key| stays.contains(key) || comes_and_goes.contains(key)));
            }
        }
    }

    /// A tree of so many directories with so many files each, listed side by side; how many requests of each kind, and how many in a row.
    fn requests(directories: usize, files: usize, is_known: bool) -> (usize, usize, usize) {
        let keys: BTreeSet<String> = (0..directories).flat_map(|d| (0..files).map(move |f| format!("data/run{d:04}/{f:04}"))).collect();
        let own = (0..30).map(|n| format!(".lsync/manifests/{n}"));
        let marks = Marks::of(keys.iter().filter(|_| is_known).map(String::as_str));
        let store = Store { keys: keys.iter().cloned().chain(own).collect(), begins: Begins::After, order: Order::Bytes, page: 1000 };
        let (mut runs, mut count, mut rounds) = (Runs::new(""), (0, 0), 0);
        runs.split_at(&marks);
        while !runs.are_over() {
            let asks: Vec<Ask> = std::iter::from_fn(|| runs.next()).take(16).collect();
            let names: Vec<AskNames> = std::iter::from_fn(|| runs.next_names()).take(16 - asks.len()).collect();
            count = (count.0 + asks.len(), count.1 + names.len());
            rounds += 1;
            for ask in asks {
                let (objects, next) = store.page(&ask);
                runs.page(ask.run, objects, next).unwrap();
            }
            for asked in names {
                let found = store.names(&asked);
                runs.names(asked, &found);
            }
        }
        assert!(runs.whole().unwrap().iter().flatten().map(|object| &object.key).eq(&store.keys));
        (count.0, count.1, rounds)
    }

    #[test]
    fn a_run_that_ends_before_others_have_keys_is_not_believed() {
        let keys: Vec<String> = (0..30).map(|n| format!("{n:02}")).collect();
        for (liar, kept) in (1..3).flat_map(|liar| (0..3).map(move |kept| (liar, kept))) {
            let store = Store { keys: keys.iter().cloned().collect(), begins: Begins::After, order: Order::Bytes, page: 7 };
            let mut runs = Runs::new("");
            runs.split(0, ["04", "09", "14"].map(str::to_owned).to_vec(), 3);
            while let Some(ask) = runs.next() {
                let (mut objects, mut next) = store.page(&ask);
                if ask.run == liar {
                    objects.truncate(kept);
                    next = None;
                }
                runs.page(ask.run, objects, next).unwrap();
            }
            assert_eq!(runs.whole().map(|all| all.len()), Err(Odd), "{liar} {kept}");
        }
    }

    #[test]
    fn pages_are_hardly_more_and_come_in_few_rounds() {
        assert_eq!(requests(9, 100, true), (1, 0, 1), "one page");
        assert_eq!(requests(100, 100, true), (11, 0, 1));
        assert_eq!(requests(100, 1000, true), (106, 0, 7));
        assert_eq!(requests(100, 100, false), (11, 3, 4));
        assert_eq!(requests(1000, 10, false), (11, 3, 4));
        assert_eq!(requests(1, 5000, false), (6, 3, 6), "one flat directory");
    }
}
