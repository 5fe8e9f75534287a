//! Compiles the .proto files with protox, so that no protoc has to be installed.

use std::{env, error::Error, fs, path::PathBuf};

// Paths from the folder of this package: the generator tells cargo to watch them, and cargo builds everything again, at each
// call, for one that is not there.
const FILES: [&str; 6] = [
    "proto/quorate/v1/records.proto",
    "proto/quorate/v1/members.proto",
    "proto/quorate/v1/api.proto",
    "proto/quorate/v1/executor.proto",
    "proto/quorate/v1/peer.proto",
    "proto/quorate/v1/stream.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let descriptors = protox::compile(FILES, ["proto"])?;
    let descriptor_path = out.join("quorate.bin");
    fs::write(&descriptor_path, protox::prost::Message::encode_to_vec(&descriptors))?;
    if env::var_os("CARGO_FEATURE_GRPC").is_some() {
        madsim_tonic_build::configure()
            .bytes(["."])
            .file_descriptor_set_path(&descriptor_path)
            .skip_protoc_run()
            .compile_protos(&FILES, &["proto"])?;
    } else {
        prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    }
    Ok(())
}
