//! The messages of Quorate, and, with the feature `grpc`, its services.
//!
//! Everything here is generated from `proto/quorate/v1/*.proto`; the comments there are the documentation.

/// Version 1 of the API, of the records and of what masters say to each other.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::nursery,
    clippy::restriction
)]
pub mod v1 {
    #[cfg(feature = "grpc")]
    tonic::include_proto!("quorate.v1");
    #[cfg(not(feature = "grpc"))]
    include!(concat!(env!("OUT_DIR"), "/quorate.v1.rs"));
}

/// The compiled descriptors of all files, as an encoded `FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/quorate.bin"));
