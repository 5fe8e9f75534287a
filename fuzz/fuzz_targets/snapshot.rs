//! See `quorate_fuzz::snapshot`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| quorate_fuzz::snapshot(bytes));

#[cfg(not(fuzzing))]
fn main() {
    quorate_fuzz::explore::main(quorate_fuzz::snapshot);
}
