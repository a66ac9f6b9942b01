//! An image with a real shell and some programs, made of this machine's own, so that nothing has to be pulled.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where each program is looked for here, and its name in the image.
const PROGRAMS: [(&str, &str); 15] = [
    ("dash", "sh"),
    ("cat", "cat"),
    ("sleep", "sleep"),
    ("stty", "stty"),
    ("nohup", "nohup"),
    ("rm", "rm"),
    ("rmdir", "rmdir"),
    ("mkdir", "mkdir"),
    ("ls", "ls"),
    ("ln", "ln"),
    ("find", "find"),
    ("id", "id"),
    ("head", "head"),
    ("wc", "wc"),
    ("touch", "touch"),
];

const DOCKERFILE: &str = "FROM scratch\nCOPY root /\nCMD [\"/bin/sleep\", \"3600\"]\n";

/// A context for an image in which `/bin/sh` is a real shell; with further lines of its Dockerfile.
pub(crate) fn context(more: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut append = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, name, bytes).unwrap();
    };
    append("Dockerfile", format!("{DOCKERFILE}{more}").as_bytes());
    let mut libraries = BTreeSet::new();
    for (program, name) in PROGRAMS {
        let path = found(program);
        libraries.extend(libraries_of(&path));
        append(&format!("root/bin/{name}"), &std::fs::read(path).unwrap());
    }
    for library in libraries {
        append(&format!("root{}", library.display()), &std::fs::read(&library).unwrap());
    }
    append("root/etc/passwd", b"root:x:0:0:root:/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n");
    append("root/tmp/.keep", b"");
    tar.into_inner().unwrap()
}

/// Where a program is here.
pub(crate) fn found(program: &str) -> PathBuf {
    let path = ["/bin", "/usr/bin"].iter().map(|folder| Path::new(folder).join(program));
    path.into_iter().find(|path| path.exists()).unwrap_or_else(|| panic!("`{program}` is missing here"))
}

/// What the loader would load, and the loader itself.
pub(crate) fn libraries_of(program: &Path) -> Vec<PathBuf> {
    let listed = Command::new("ldd").arg(program).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}
