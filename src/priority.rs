//! Threads that everybody else goes before.

/// Lets every other thread go before the one that calls this, for as long as it lives: there is no way back without
/// privileges. In Linux a priority is of a thread; elsewhere it would be of the process, and nothing is done.
///
/// For pure computation only. Whoever holds a lock at this priority keeps others waiting who want it.
pub fn step_back() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, LOWEST) {
        tracing::warn!("this thread works at the same priority as requests: {error}");
    }
}

/// The lowest priority there is: nice 19.
#[cfg(target_os = "linux")]
const LOWEST: i32 = 19;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn stepping_back_is_for_one_thread_alone() {
        let priority = || rustix::process::getpriority_process(None).unwrap();
        let before = priority();
        let after = std::thread::spawn(move || {
            step_back();
            priority()
        });
        assert_eq!(after.join().unwrap(), LOWEST);
        assert_eq!(priority(), before);
    }
}
