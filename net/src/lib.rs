//! net

pub mod storage;
