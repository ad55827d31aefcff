//! Pools of threads, and how work is called off.

use rayon::{ThreadPool, ThreadPoolBuilder};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A flag that is looked at between blocks of work.
#[derive(Clone, Default)]
pub struct Cancellation(Arc<AtomicBool>);

/// The work was called off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled;

impl Cancellation {
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn check(&self) -> Result<(), Cancelled> {
        if self.0.load(Ordering::Relaxed) {
            Err(Cancelled)
        } else {
            Ok(())
        }
    }
}

/// The pool of so many threads: started at first use, shared by all who ask for as many, asleep without work.
pub fn pool(threads: usize) -> Result<Arc<ThreadPool>, String> {
    static POOLS: OnceLock<Mutex<HashMap<usize, Arc<ThreadPool>>>> = OnceLock::new();
    let pools = POOLS.get_or_init(Mutex::default);
    let mut pools = pools.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pool) = pools.get(&threads) {
        return Ok(pool.clone());
    }
    let pool = Arc::new(start(threads, false)?);
    pools.insert(threads, pool.clone());
    Ok(pool)
}

/// The calling thread's own pool: who call at the same time do not wait for each other. The only thread of a pool of one is the caller.
pub fn own_pool(threads: usize) -> Result<Arc<ThreadPool>, String> {
    thread_local! {
        static POOLS: RefCell<HashMap<usize, Arc<ThreadPool>>> = RefCell::default();
    }
    POOLS.with_borrow_mut(|pools| {
        if let Some(pool) = pools.get(&threads) {
            return Ok(pool.clone());
        }
        let pool = Arc::new(start(threads, threads == 1)?);
        pools.insert(threads, pool.clone());
        Ok(pool)
    })
}

fn start(threads: usize, with_caller: bool) -> Result<ThreadPool, String> {
    let builder = ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|index| format!("quantloom-{index}"));
    let builder = if with_caller {
        builder.use_current_thread()
    } else {
        builder
    };
    builder
        .build()
        .map_err(|error| format!("{threads} threads could not be started: {error}"))
}
