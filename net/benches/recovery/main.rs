//! How long a log takes to read. A simulated runtime has no files, and nothing to measure.

#[cfg(not(madsim))]
mod log;

fn main() {
    #[cfg(not(madsim))]
    {
        log::benches();
        criterion::Criterion::default().configure_from_args().final_summary();
    }
}
