//! Panics of a user's code, caught and told in a line.
//!
//! A panic of a state machine is something that was found, like any other, and shrinking finds it
//! hundreds of times. The program's panic hook would print each of them with a backtrace and bury
//! the result. So there is one hook before it that keeps still while this thread says so, and
//! notes where the panic was, which only a hook is told.
//!
//! The hook is the process's and stays; what other threads panic with goes to the one before.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

thread_local! {
    /// How many callers on this thread want panics to be silent.
    static SILENT: Cell<u32> = const { Cell::new(0) };
    /// Where the last silent panic of this thread was.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Silences panics of this thread while it lives.
struct Silence;

impl Silence {
    fn begin() -> Self {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                if SILENT.get() == 0 {
                    before(info);
                } else {
                    PLACE.set(info.location().map(ToString::to_string));
                }
            }));
        });
        SILENT.set(SILENT.get() + 1);
        Self
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        SILENT.set(SILENT.get() - 1);
    }
}

/// Runs `work`; panics in it, caught there or not, are not printed.
pub(crate) fn silently<T>(work: impl FnOnce() -> T) -> T {
    let _silence = Silence::begin();
    work()
}

/// Runs `work`, and returns what it panics with and where, if it does.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    silently(|| panic::catch_unwind(AssertUnwindSafe(work))).map_err(|panic| {
        let place = PLACE.take().unwrap_or_else(|| "a place unknown".to_owned());
        format!("panicked at {place}: {}", text_of(panic.as_ref()))
    })
}

/// Returns what a panic says.
pub(crate) fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_with_its_place() {
        let told = catch(|| panic!("no {}", "luck")).unwrap_err();
        assert!(told.starts_with("panicked at "), "{told}");
        assert!(told.contains("panics.rs:"), "{told}");
        assert!(told.ends_with(": no luck"), "{told}");
        assert_eq!(catch(|| 7), Ok(7));
        assert_eq!(SILENT.get(), 0);
    }
}
