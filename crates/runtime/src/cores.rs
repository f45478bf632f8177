//! The threads that the CPU's numbers are made by.

/// Makes this thread one of those that work on the CPU is shared among. Otherwise it sleeps while others do all of it, and
/// at each of the hundred operations of a token one thread is woken more, which takes as long as a small operation. For a
/// program's first thread: it must live as long as the program, and begin the operations.
pub fn work_on_this_thread() {
    #[cfg(not(target_family = "wasm"))]
    {
        let asked = std::env::var("RAYON_NUM_THREADS").ok().and_then(|threads| threads.parse().ok());
        let threads =
            asked.filter(|threads| *threads > 0).or_else(|| std::thread::available_parallelism().ok().map(usize::from));
        // One thread has to be there for what others ask while this one is at something else.
        if let Some(threads @ 2..) = threads {
            // Only fails where the threads are there already, which is as well.
            let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build_global();
        }
    }
}
