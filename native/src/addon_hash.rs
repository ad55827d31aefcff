//! SHA-256 beside the event loop, on threads of its own: those of Node have files to read, and wait for solvers.

use napi::bindgen_prelude::*;
use napi_derive::napi;
use rayon::{ThreadPool, ThreadPoolBuilder};
use sha2::Digest;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Contents that are hashed side by side.
const THREADS: usize = 4;

fn threads() -> Result<&'static ThreadPool> {
    static POOL: OnceLock<std::result::Result<ThreadPool, String>> = OnceLock::new();
    POOL.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        ThreadPoolBuilder::new()
            .num_threads(cores.min(THREADS))
            .thread_name(|i| format!("quantloom-hash-{i}"))
            .build()
            .map_err(|error| error.to_string())
    })
    .as_ref()
    .map_err(|reason| Error::from_reason(reason.clone()))
}

/// The SHA-256 of pieces, one after the other.
#[napi(js_name = "Sha256")]
pub struct JsSha256 {
    state: Arc<Mutex<sha2::Sha256>>,
}

#[napi]
impl JsSha256 {
    #[allow(clippy::new_without_default)]
    #[napi(constructor)]
    pub fn new() -> Self {
        Self {
            state: Arc::default(),
        }
    }

    /// Hashes a piece, which must stay as it is until this has resolved; so must the next call wait.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn update<'env>(&self, env: &'env Env, piece: Uint8Array) -> Result<Object<'env>> {
        let (deferred, promise) = env.create_deferred()?;
        let state = self.state.clone();
        threads()?.spawn(move || {
            let mut hash = state.lock().unwrap_or_else(PoisonError::into_inner);
            hash.update(&piece);
            drop(hash);
            // Let go of on the thread that it came from.
            deferred.resolve(move |_| {
                drop(piece);
                Ok(())
            });
        });
        Ok(promise)
    }

    /// Lower-case hexadecimal; it begins anew.
    #[napi]
    pub fn digest(&self) -> String {
        let mut hash = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = hash.finalize_reset();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
