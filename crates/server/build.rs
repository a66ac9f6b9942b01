//! Has a release rebuilt when the console was: what is embedded is not looked at otherwise. A development build reads the
//! files when they are asked for, from a folder that has to be there when it is compiled; it may be empty.

#[expect(clippy::disallowed_methods, reason = "cargo tells build scripts everything in the environment")]
fn main() {
    const DIST: &str = "../../console/dist";
    println!("cargo:rerun-if-changed=build.rs");
    // Sources that cannot be written to have no console, and no folder for one that is built later.
    if let Err(error) = std::fs::create_dir_all(DIST) {
        println!("cargo:warning=the web console is left out: {DIST}: {error}");
    }
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo:rerun-if-changed={DIST}");
    }
}
