//! Has a release rebuilt when the console was: what is embedded is not looked at otherwise. A development build reads the
//! files when they are asked for.

#[expect(clippy::disallowed_methods, reason = "cargo tells build scripts everything in the environment")]
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo:rerun-if-changed=../../console/dist");
    }
}
