//! Cells started and parked ahead of calls, a shelf an image. A cell leaves its shelf once, for one
//! job; a thread refills behind it. What is parked has seen no one's code.
//!
//! A shelf holds cells of one image id, runtime and set of limits: the latter two are the engine's
//! own, for its whole life, and a name whose image has changed loses its cells: when a cell is
//! made, when somebody else has seen the new image, and when the thread looks, every few seconds.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::forge::{Forge, ReadyCell, Standing};
use super::labels::Kind;
use crate::base::deadline::Deadline;
use crate::domain::asking::MAX_WAIT;
use crate::domain::failure::Failure;
use crate::domain::image::ImageRef;

/// Most images with a shelf; cells of others are made on the spot.
const MAX_SHELVES: usize = 16;
/// A parked cell older than this is replaced.
const MAX_AGE: Duration = Duration::from_secs(600);
/// What a parked cell may live: its last job and what that waits for its client included.
const LIFETIME: Duration = MAX_WAIT.saturating_add(Duration::from_secs(600 + 300 + 90));
/// Bound on making one cell ahead of calls.
const MAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long after a take the next one is made: making it takes what the job would run on, and most
/// jobs are done by then.
const REFILL_PAUSE: Duration = Duration::from_millis(15);
/// Pause after a failure to make one, doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How often the thread asks what the names of the shelves stand for now.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Bound on asking that for one of them.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause between two looks at whether the thread has ended.
const STOP_PAUSE: Duration = Duration::from_millis(2);

/// What a pool has and has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolCounts {
    /// Cells ready now.
    pub parked: u64,
    /// Takes that found one.
    pub hits: u64,
    /// Takes that found none.
    pub misses: u64,
    /// Age of the cell that has been ready longest; zero while none is.
    pub oldest: Duration,
    /// Cells that were made ahead of calls.
    pub refills: u64,
    /// The time that making them took, together.
    pub refill_time: Duration,
}

/// The shelves, and the way to wake the thread that fills them.
pub(super) struct Pool {
    shelves: Arc<Shelves>,
    nudges: Sender<()>,
    filler: Mutex<Option<JoinHandle<()>>>,
}

struct Shelves {
    forge: Arc<dyn Forge>,
    /// Cells a shelf.
    size: usize,
    /// `None` once stopped.
    parked: Mutex<Option<HashMap<ImageRef, Shelf>>>,
    hits: AtomicU64,
    misses: AtomicU64,
    refills: AtomicU64,
    refill_micros: AtomicU64,
}

#[derive(Default)]
struct Shelf {
    /// The id of the image that all its cells are made of.
    made_of: Option<String>,
    cells: VecDeque<Parked>,
}

struct Parked {
    cell: ReadyCell,
    since: Instant,
}

impl Parked {
    fn made_of(&self) -> Option<&str> {
        self.cell.image().map(|image| image.id.as_str())
    }

    fn is_good(&mut self) -> bool {
        self.since.elapsed() < MAX_AGE && !self.cell.has_ended()
    }
}

impl Pool {
    /// A pool with `size` cells an image; with none of them it only counts misses.
    pub(super) fn start(forge: Arc<dyn Forge>, size: usize) -> io::Result<Self> {
        let shelves = Arc::new(Shelves {
            forge,
            size,
            parked: Mutex::new(Some(HashMap::new())),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            refills: AtomicU64::new(0),
            refill_micros: AtomicU64::new(0),
        });
        // One waiting nudge is as good as many: the thread looks at every shelf.
        let (nudges, nudged) = bounded(1);
        let mut filler = None;
        if size > 0 {
            let shelves = Arc::clone(&shelves);
            let thread = std::thread::Builder::new().name("pool".to_owned());
            filler = Some(thread.spawn(move || shelves.keep_full(&nudged))?);
        }
        Ok(Self {
            shelves,
            nudges,
            filler: Mutex::new(filler),
        })
    }

    /// A parked cell of the image, if there is one that lives, and none of another id than the
    /// image was last seen with. From now on the image has a shelf.
    pub(super) fn take(&self, image: &ImageRef, last_seen: Option<String>) -> Option<ReadyCell> {
        self.shelves.open_shelf(image);
        if last_seen.is_some() {
            self.shelves.renew(image, last_seen);
        }
        let taken = self.shelves.take(image);
        let counter = match taken {
            Some(_) => &self.shelves.hits,
            None => &self.shelves.misses,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.nudge();
        taken
    }

    /// Gives the image a shelf, and a first cell where the caller has one already.
    pub(super) fn prepare(&self, image: &ImageRef, cell: Option<ReadyCell>) {
        self.shelves.open_shelf(image);
        if let Some(cell) = cell {
            self.shelves.park(image, cell);
        }
        self.nudge();
    }

    /// Replaces parked cells that are too old or have ended.
    pub(super) fn retire(&self) {
        for image in self.shelves.images() {
            for mut parked in self.shelves.empty_shelf(&image) {
                if parked.is_good() {
                    self.shelves.put(&image, parked);
                }
            }
        }
        self.nudge();
    }

    /// Empties the shelves for good, and waits for the cell that is being made; how many still are
    /// at the deadline.
    pub(super) fn stop(&self, deadline: Deadline) -> usize {
        let parked = self.shelves.lock().take();
        drop(parked);
        self.nudge();
        let mut filler = self
            .filler
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        while filler.as_ref().is_some_and(|thread| !thread.is_finished()) {
            if deadline.remaining().is_none() {
                return 1;
            }
            std::thread::sleep(STOP_PAUSE);
        }
        if let Some(Err(_)) = filler.take().map(JoinHandle::join) {
            log::error!("the thread that parks sandboxes had panicked");
        }
        0
    }

    pub(super) fn counts(&self) -> PoolCounts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let shelves = self.shelves.lock();
        let cells = || {
            let shelves = shelves.iter().flat_map(HashMap::values);
            shelves.flat_map(|shelf| &shelf.cells)
        };
        PoolCounts {
            parked: u64::try_from(cells().count()).unwrap_or(u64::MAX),
            hits: count(&self.shelves.hits),
            misses: count(&self.shelves.misses),
            oldest: cells()
                .map(|cell| cell.since.elapsed())
                .max()
                .unwrap_or_default(),
            refills: count(&self.shelves.refills),
            refill_time: Duration::from_micros(count(&self.shelves.refill_micros)),
        }
    }

    fn nudge(&self) {
        // Full means that it will look anyway; closed, that there is no thread.
        let _ = self.nudges.try_send(());
    }
}

impl Shelves {
    /// Makes cells until every shelf is full, then waits for a nudge; ends when the pool is stopped
    /// or gone. One at a time: refilling never takes more than one call's worth of the machine.
    fn keep_full(&self, nudged: &Receiver<()>) {
        let mut pause = FIRST_PAUSE;
        let mut trouble = String::new();
        let mut looked = Instant::now();
        while self.lock().is_some() {
            let waited = match self.shortest() {
                None => {
                    let left = LOOK_INTERVAL.saturating_sub(looked.elapsed());
                    let waited = nudged.recv_timeout(left);
                    waited.map(|()| std::thread::sleep(REFILL_PAUSE))
                }
                Some(image) => match self.make(&image) {
                    Ok(()) => {
                        pause = FIRST_PAUSE;
                        trouble.clear();
                        Ok(())
                    }
                    Err(failure) => {
                        // Trouble that lasts is told once; /readyz tells it all the time.
                        if trouble != failure.message {
                            trouble = failure.message;
                            log::warn!("no sandbox could be parked for {image}: {trouble}");
                        }
                        let waited = nudged.recv_timeout(pause);
                        pause = LONGEST_PAUSE.min(pause * 2);
                        waited
                    }
                },
            };
            if let Err(RecvTimeoutError::Disconnected) = waited {
                return;
            }
            if looked.elapsed() >= LOOK_INTERVAL {
                self.look();
                looked = Instant::now();
            }
        }
    }

    /// Empties the shelves of names that stand for something else than before.
    fn look(&self) {
        for image in self.images() {
            let deadline = Deadline::after(LOOK_TIMEOUT);
            match self.forge.look(&image, deadline) {
                Standing::For(id) => self.renew(&image, id),
                Standing::Gone => self.renew(&image, None),
                Standing::Unknown => {}
            }
        }
    }

    fn make(&self, image: &ImageRef) -> Result<(), Failure> {
        let began = Instant::now();
        let deadline = Deadline::after(MAKE_TIMEOUT);
        let kind = Kind::OneShot;
        let cell = self
            .forge
            .make(Some(image), kind, "parked", LIFETIME, deadline)?;
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.refill_micros.fetch_add(micros, Ordering::Relaxed);
        self.refills.fetch_add(1, Ordering::Relaxed);
        let made_of = cell.image().map(|image| image.id.clone());
        self.renew(image, made_of);
        self.park(image, cell);
        Ok(())
    }

    /// From now on the shelf is for cells of this id; those of another are dropped.
    fn renew(&self, image: &ImageRef, made_of: Option<String>) {
        let mut shelves = self.lock();
        let shelf = shelves.as_mut().and_then(|shelves| shelves.get_mut(image));
        let Some(shelf) = shelf.filter(|shelf| shelf.made_of != made_of) else {
            return;
        };
        shelf.made_of = made_of;
        let old = std::mem::take(&mut shelf.cells);
        drop(shelves);
        if !old.is_empty() {
            log::info!("image {image} has changed: parked sandboxes of it are replaced");
        }
    }

    /// The image of the emptiest shelf that is not full.
    fn shortest(&self) -> Option<ImageRef> {
        let shelves = self.lock();
        let shelves = shelves.iter().flatten();
        let (image, shelf) = shelves.min_by_key(|(_, shelf)| shelf.cells.len())?;
        (shelf.cells.len() < self.size).then(|| image.clone())
    }

    fn take(&self, image: &ImageRef) -> Option<ReadyCell> {
        loop {
            let mut parked = self.lock().as_mut()?.get_mut(image)?.cells.pop_front()?;
            // Looked at, and dropped where it is not good, without the lock.
            if parked.is_good() {
                return Some(parked.cell);
            }
        }
    }

    fn park(&self, image: &ImageRef, cell: ReadyCell) {
        let since = Instant::now();
        self.put(image, Parked { cell, since });
    }

    fn put(&self, image: &ImageRef, parked: Parked) {
        let mut shelves = self.lock();
        let shelf = shelves.as_mut().and_then(|shelves| shelves.get_mut(image));
        let fits = |shelf: &Shelf| {
            shelf.cells.len() < self.size && shelf.made_of.as_deref() == parked.made_of()
        };
        if let Some(shelf) = shelf.filter(|shelf| fits(shelf)) {
            shelf.cells.push_back(parked);
            return;
        }
        drop(shelves);
        // No shelf, no room, another image, or stopped meanwhile: dropped without the lock.
        drop(parked);
    }

    fn open_shelf(&self, image: &ImageRef) {
        let mut shelves = self.lock();
        if let Some(shelves) = shelves.as_mut().filter(|all| all.len() < MAX_SHELVES) {
            shelves.entry(image.clone()).or_default();
        }
    }

    fn empty_shelf(&self, image: &ImageRef) -> VecDeque<Parked> {
        let mut shelves = self.lock();
        let shelf = shelves.as_mut().and_then(|shelves| shelves.get_mut(image));
        shelf
            .map(|shelf| std::mem::take(&mut shelf.cells))
            .unwrap_or_default()
    }

    fn images(&self) -> Vec<ImageRef> {
        self.lock()
            .iter()
            .flat_map(HashMap::keys)
            .cloned()
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Option<HashMap<ImageRef, Shelf>>> {
        self.parked
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
