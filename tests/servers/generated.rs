//! The generated code in the repository, which makes `protoc` unnecessary, fits the proto
//! files.

use std::{env, fs, path::Path};

/// Folders with the proto file of each.
const GENERATED: &[(&str, &str)] = &[
    ("support/proto", "whoami"),
    ("../../examples/grpc/src", "greeter"),
];

/// `REGENERATE=1 cargo test -p servers-tests generated` writes the code again.
#[test]
fn generated_code_is_what_its_proto_file_says() {
    let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join("generated");
    fs::create_dir_all(&fresh).expect("a folder for what is generated");
    for (folder, name) in GENERATED {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let files = protox::compile([format!("{name}.proto")], [&folder]).expect("a proto file");
        tonic_prost_build::configure()
            .out_dir(&fresh)
            .emit_rerun_if_changed(false)
            .compile_fds(files)
            .expect("generated code");

        let fresh = fs::read_to_string(fresh.join(format!("{name}.rs"))).expect("generated code");
        let checked_in = folder.join(format!("{name}.rs"));
        if env::var_os("REGENERATE").is_some() {
            fs::write(&checked_in, &fresh).expect("written anew");
        }
        let checked_in = fs::read_to_string(checked_in).expect("what is checked in");
        assert!(
            fresh == checked_in,
            "{name}.rs is not what {name}.proto says: run \
             `REGENERATE=1 cargo test -p servers-tests generated`"
        );
    }
}
