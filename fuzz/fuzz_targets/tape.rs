//! See `quorate_fuzz::tape`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| quorate_fuzz::tape(bytes));

#[cfg(not(fuzzing))]
fn main() {
    quorate_fuzz::explore::main(quorate_fuzz::tape);
}
