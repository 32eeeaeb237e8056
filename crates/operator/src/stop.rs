//! The request to stop, for the part of the program that does not run on the runtime.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

/// A flag that can be waited for. Copies share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    /// Raises the flag.
    pub(crate) fn raise(&self) {
        let (raised, changed) = &*self.0;
        *raised.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }

    /// Sleeps, or less where the flag is raised meanwhile; whether it is.
    pub(crate) fn sleep(&self, time: Duration) -> bool {
        let (raised, changed) = &*self.0;
        let guard = raised.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(guard, time, |raised| !*raised);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
