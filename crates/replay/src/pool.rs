//! Worker threads that outlive runs, and the barrier between phases.
//!
//! A worker that panics breaks the barrier, so that the others stop waiting at it. The panic goes on in the caller once
//! all have left their parts.
//!
//! A thread that waits spins, then yields, then sleeps: a token has hundreds of phases of a few microseconds, and
//! between tokens the threads cost nothing.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::error::ReplayError;

/// Rounds of waiting before the thread yields, and before it sleeps.
const SPINS: u32 = 2_000;
const YIELDS: u32 = 200;

/// What a lock guards, be it that a thread panicked with it: no state here is half changed at any time.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number that only grows, and threads that wait for it.
#[derive(Default)]
struct Gate {
    passed: AtomicU32,
    sleepers: AtomicU32,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Gate {
    fn open(&self) {
        self.passed.fetch_add(1, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(held(&self.lock));
            self.wake.notify_all();
        }
    }

    /// Waits until the gate was opened since it was at `seen`, and calls `idle` again and again at first.
    fn wait(&self, seen: u32, mut idle: impl FnMut()) {
        for round in 0..SPINS + YIELDS {
            if self.passed.load(Ordering::Acquire) != seen {
                return;
            }
            if round < SPINS {
                idle();
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        let mut guard = held(&self.lock);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while self.passed.load(Ordering::SeqCst) == seen {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What a pool does together: every worker calls it once.
pub(crate) trait PoolWork: Send + Sync {
    /// The part of a worker; the caller is worker 0. It ends where the barrier is broken.
    fn part(&self, worker: usize, barrier: &Barrier);
}

/// The point that all workers reach before any goes on.
pub(crate) struct Barrier {
    workers: u32,
    arrived: AtomicU32,
    broken: AtomicBool,
    gate: Gate,
}

impl Barrier {
    fn new(workers: u32) -> Self {
        Self { workers, arrived: AtomicU32::new(0), broken: AtomicBool::new(false), gate: Gate::default() }
    }

    /// Waits for all workers; the last one to come calls `last` before any goes on, those that wait call `idle`. False
    /// when some worker will not come any more.
    #[must_use]
    pub(crate) fn meet(&self, last: impl FnOnce(), idle: impl FnMut()) -> bool {
        let seen = self.gate.passed.load(Ordering::SeqCst);
        if self.is_broken() {
            return false;
        }
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.workers {
            self.arrived.store(0, Ordering::Relaxed);
            last();
            self.gate.open();
        } else {
            self.gate.wait(seen, idle);
        }
        !self.is_broken()
    }

    /// Makes the barrier as new; no worker may be at it.
    fn mend(&self) {
        self.arrived.store(0, Ordering::SeqCst);
        self.broken.store(false, Ordering::SeqCst);
    }

    /// Lets all workers go that wait or will wait.
    fn break_up(&self) {
        self.broken.store(true, Ordering::SeqCst);
        self.gate.open();
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::SeqCst)
    }
}

struct PoolState {
    /// Between phases.
    phases: Barrier,
    /// After the work; never broken.
    end: Barrier,
    start: Gate,
    work: Mutex<Option<Arc<dyn PoolWork>>>,
    /// What a worker panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    over: AtomicBool,
}

impl PoolState {
    /// The part of a worker, and the wait for all others.
    fn part(&self, work: &Arc<dyn PoolWork>, worker: usize) {
        // The caller does not look at what a panic left of its work.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work.part(worker, &self.phases))) {
            held(&self.panic).get_or_insert(panic);
            self.phases.break_up();
        }
        let _ = self.end.meet(|| (), || ());
    }
}

/// Threads that work together; the caller is one of them.
pub(crate) struct Pool {
    shared: Arc<PoolState>,
    threads: Vec<JoinHandle<()>>,
    /// Held by the caller whose work is done.
    turn: Mutex<()>,
}

impl Pool {
    /// A pool of `workers`, at least one.
    pub(crate) fn new(workers: usize) -> Result<Self, ReplayError> {
        let workers = workers.max(1);
        let refused = |error| ReplayError::Threads { threads: workers, error };
        let count = u32::try_from(workers).map_err(|_| refused(std::io::ErrorKind::InvalidInput.into()))?;
        let shared = Arc::new(PoolState {
            phases: Barrier::new(count),
            end: Barrier::new(count),
            start: Gate::default(),
            work: Mutex::new(None),
            panic: Mutex::new(None),
            over: AtomicBool::new(false),
        });
        let mut pool = Self { shared, threads: Vec::new(), turn: Mutex::new(()) };
        for worker in 1..workers {
            let shared = Arc::clone(&pool.shared);
            let thread = std::thread::Builder::new().spawn(move || serve(&shared, worker)).map_err(refused)?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// Workers of the pool, the caller included.
    pub(crate) fn workers(&self) -> usize {
        self.threads.len() + 1
    }

    /// Does the work, once that of earlier callers is done, and returns when every worker has left its part. A panic
    /// of a worker goes on here.
    pub(crate) fn run(&self, work: &Arc<dyn PoolWork>) {
        let _turn = held(&self.turn);
        if !self.threads.is_empty() {
            *held(&self.shared.work) = Some(Arc::clone(work));
            self.shared.start.open();
        }
        self.shared.part(work, 0);
        let panic = held(&self.shared.panic).take();
        if let Some(panic) = panic {
            // All workers have left their parts, so none is at the barrier.
            self.shared.phases.mend();
            resume_unwind(panic);
        }
    }
}

fn serve(shared: &PoolState, worker: usize) {
    let mut seen = 0;
    loop {
        shared.start.wait(seen, || ());
        seen = seen.wrapping_add(1);
        if shared.over.load(Ordering::SeqCst) {
            return;
        }
        let work = held(&shared.work).clone();
        if let Some(work) = work {
            shared.part(&work, worker);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.shared.start.open();
        for thread in self.threads.drain(..) {
            // Workers catch panics.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Phases of which one worker panics in one, or none.
    struct Phases {
        count: usize,
        panics: Option<(usize, usize)>,
        done: AtomicU32,
    }

    impl PoolWork for Phases {
        fn part(&self, worker: usize, barrier: &Barrier) {
            for phase in 0..self.count {
                assert!(self.panics != Some((worker, phase)), "worker {worker} in phase {phase}");
                if !barrier.meet(|| (), || ()) {
                    return;
                }
            }
            self.done.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn phases(panics: Option<(usize, usize)>) -> Arc<Phases> {
        Arc::new(Phases { count: 5, panics, done: AtomicU32::new(0) })
    }

    #[test]
    fn a_panic_of_any_member_goes_on_in_the_caller() {
        for workers in 1..=4 {
            for (worker, phase) in (0..workers).flat_map(|worker| [0, 2, 4].map(|phase| (worker, phase))) {
                let pool = Pool::new(workers).unwrap();
                let whole = phases(None);
                pool.run(&(Arc::clone(&whole) as _));
                assert_eq!(whole.done.load(Ordering::SeqCst), workers as u32);
                let cut = phases(Some((worker, phase)));
                let panic = catch_unwind(AssertUnwindSafe(|| pool.run(&(Arc::clone(&cut) as _)))).unwrap_err();
                assert_eq!(panic.downcast_ref::<String>(), Some(&format!("worker {worker} in phase {phase}")));
                assert_eq!(cut.done.load(Ordering::SeqCst), 0, "no worker can pass a phase that a worker did not end");
                let next = phases(None);
                pool.run(&(Arc::clone(&next) as _));
                assert_eq!(next.done.load(Ordering::SeqCst), workers as u32, "the work of others goes on");
            }
        }
    }
}
