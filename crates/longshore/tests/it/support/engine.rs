//! An engine of a test's own, which it may kill.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Ends with the test, and with it all of its containers and images.
pub(crate) struct PrivateEngine {
    /// Short, because Unix socket paths are.
    folder: tempfile::TempDir,
}

impl PrivateEngine {
    /// None when the engine is skipped.
    pub(crate) fn start() -> Option<Self> {
        super::engine()?;
        let folder = tempfile::Builder::new().prefix("ls-it-").tempdir_in("/tmp").unwrap();
        let engine = Self { folder };
        engine.bring_up();
        Some(engine)
    }

    /// Also brings back one that was killed.
    pub(crate) fn bring_up(&self) {
        self.script("start");
    }

    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.home().join("docker.sock").display())
    }

    pub(crate) fn kill(&self) {
        let pid = std::fs::read_to_string(self.home().join("dockerd.pid")).unwrap();
        let pid = pid.split_whitespace().next().unwrap();
        assert!(Command::new("kill").args(["-KILL", pid]).status().unwrap().success());
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("e")
    }

    fn script(&self, verb: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/private-engine");
        let output = Command::new(script).arg(verb).arg(self.home()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        self.script("stop");
    }
}
