//! See `quorate_fuzz::cluster`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| quorate_fuzz::cluster(bytes));

#[cfg(not(fuzzing))]
fn main() {
    quorate_fuzz::explore::main(quorate_fuzz::cluster);
}
