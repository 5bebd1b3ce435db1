//! Whether a flight's refresh function was called: decided once, between the leader and the call's own task.

use std::sync::atomic::{AtomicU8, Ordering};

/// The function is either called or cancelled, never both.
#[derive(Debug, Default)]
pub(crate) struct Intent(AtomicU8);

/// The function was called, and the provider may have heard of the token.
#[derive(Debug)]
pub(crate) struct Started;

impl Intent {
    const DECLARED: u8 = 0;
    const STARTED: u8 = 1;
    const CANCELLED: u8 = 2;

    /// The call's task is about to call the function. False: it must not.
    pub(crate) fn start(&self) -> bool {
        self.0.compare_exchange(Self::DECLARED, Self::STARTED, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// The leader gives the call up.
    ///
    /// # Errors
    ///
    /// [`Started`] when it is too late.
    pub(crate) fn cancel(&self) -> Result<(), Started> {
        match self.0.compare_exchange(Self::DECLARED, Self::CANCELLED, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) | Err(Self::CANCELLED) => Ok(()),
            Err(_) => Err(Started),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn function_is_called_or_cancelled_and_never_both() {
        let (called, cancelled) = (Intent::default(), Intent::default());

        assert!(called.start() && called.cancel().is_err() && !called.start());
        assert!(cancelled.cancel().is_ok() && !cancelled.start() && cancelled.cancel().is_ok());
    }
}
