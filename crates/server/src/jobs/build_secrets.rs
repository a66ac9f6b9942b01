//! A build's secrets on their way to a machine: before the context, and with a Dockerfile that the engine's own builder reads. A
//! `# syntax=` line would have an engine fetch a program that reads it instead, which no engine of ours runs: the line counts as the comment
//! that it is to every other builder.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::Path;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use sha2::{Digest as _, Sha256};
use tokio_util::io::ReaderStream;
use wire::link::BuildSecrets;
use wire::names::SecretName;
use wire::secret::Secret;

use super::build_image::{READ_BYTES, Stop, Work};
use super::veil::Veil;
use crate::blobs::blocking;
use crate::domain::git_repo_secrets::{self, OfBuild};

/// What is read of a Dockerfile; what it names lies at its beginning.
const DOCKERFILE_BYTES: u64 = 4 << 20;
/// One is enough for anybody.
const FRONT_ENDS_MAX: usize = 16;
/// Characters of a scope: what tells builds apart, not what keeps them secret.
const SCOPE_CHARS: usize = 32;

/// What is sent in place of the context alone.
pub(super) struct Sealed {
    pub(super) secrets: BuildSecrets,
    pub(super) body: Body,
    pub(super) veil: Veil,
    /// The Dockerfile, by which it is known on what the image is built: BuildKit tells of stages in any order.
    pub(super) dockerfile: String,
}

/// The secrets of a build with its context; none of a build that has none.
pub(super) async fn with_context(work: &Work<'_>) -> Result<Option<Sealed>, Stop> {
    let Some(of_build) = git_repo_secrets::of_build(work.app, work.build.id).await? else { return Ok(None) };
    let (context, _) = work.context().await?;
    let path = work.build.dockerfile.clone();
    let mut file = context.into_std().await;
    let (file, found) = blocking(move || {
        let found = find(&mut file, &path)?;
        file.rewind()?;
        Ok((file, found))
    })
    .await?;
    let Some((at, text)) = found else {
        let message = format!("there is no file `{}` in the context", work.build.dockerfile);
        return Err(Stop::failed("build_failed", message));
    };
    let words = front_ends(&text).map_err(|message| Stop::failed("build_failed", message))?;
    let head = written(&of_build.secrets);
    let secrets = BuildSecrets {
        bytes: head.len() as u64,
        scope: scope(&of_build),
        may_be_unbounded: work.app.config.builds.unbounded_secrets,
    };
    let places: Vec<u64> = words.into_iter().map(|place| at + place as u64).collect();
    let mut position = 0;
    let context = ReaderStream::with_capacity(tokio::fs::File::from_std(file), READ_BYTES);
    let context = context.map(move |piece| piece.map(|piece| spoiled(piece, &mut position, &places)));
    let body = Body::from_stream(stream::once(std::future::ready(Ok(Bytes::from(head)))).chain(context));
    let dockerfile = String::from_utf8_lossy(&text).into_owned();
    Ok(Some(Sealed { secrets, body, veil: Veil::over(&of_build.secrets), dockerfile }))
}

/// A JSON object of names and values.
fn written(secrets: &[(SecretName, Secret)]) -> Vec<u8> {
    let values: BTreeMap<&str, &str> =
        secrets.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    serde_json::to_vec(&values).expect("text can be written as JSON")
}

/// Builds of one repository share results of steps, until one of its secrets is another.
fn scope(of_build: &OfBuild) -> String {
    let mut hash = Sha256::new();
    hash.update(of_build.git_repo.to_string());
    for version in &of_build.versions {
        hash.update([0]);
        hash.update(version);
    }
    let mut scope = hex::encode(hash.finalize());
    scope.truncate(SCOPE_CHARS);
    scope
}

/// Where in a context a file begins, and what it says.
fn find(context: &mut File, path: &str) -> io::Result<Option<(u64, Vec<u8>)>> {
    let mut archive = tar::Archive::new(context);
    for entry in archive.entries_with_seek()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() && entry.path()?.as_ref() == Path::new(path) {
            let at = entry.raw_file_position();
            let mut text = Vec::new();
            entry.by_ref().take(DOCKERFILE_BYTES).read_to_end(&mut text)?;
            return Ok(Some((at, text)));
        }
    }
    Ok(None)
}

/// Where the comments before a Dockerfile's first instruction name a program that reads it.
fn front_ends(text: &[u8]) -> Result<Vec<usize>, &'static str> {
    const WORD: &[u8] = b"syntax";
    let start = if text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let mut places = Vec::new();
    let mut at = start;
    for line in text[start..].split_inclusive(|byte| *byte == b'\n') {
        let begin = at;
        at += line.len();
        let trimmed = line.trim_ascii_start();
        if trimmed.starts_with(b"{") {
            return Err("a Dockerfile begins with an instruction or a comment, and this one with `{`");
        }
        let comment = trimmed.strip_prefix(b"#").or_else(|| trimmed.strip_prefix(b"//"));
        let Some(comment) = comment else {
            if trimmed.is_empty() {
                continue;
            }
            break;
        };
        let comment = comment.trim_ascii_start();
        let is_word = comment.get(..WORD.len()).is_some_and(|word| word.eq_ignore_ascii_case(WORD));
        if is_word && comment[WORD.len()..].trim_ascii_start().starts_with(b"=") {
            places.push(begin + line.len() - comment.len());
            if places.len() > FRONT_ENDS_MAX {
                return Err("the Dockerfile names its syntax again and again");
            }
        }
    }
    Ok(places)
}

/// A piece of the context in which the words at some places are no longer the ones that are looked for.
fn spoiled(piece: Bytes, position: &mut u64, places: &[u64]) -> Bytes {
    let begin = *position;
    *position += piece.len() as u64;
    let inside = places.iter().filter(|place| (begin..*position).contains(place));
    let mut inside =
        inside.map(|place| usize::try_from(place - begin).expect("it is in the piece")).peekable();
    if inside.peek().is_none() {
        return piece;
    }
    let mut changed = BytesMut::from(piece);
    for place in inside {
        changed[place] = b'x';
    }
    changed.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn front_ends_are_found_where_builders_look_for_them() {
        for (text, expected) in [
            ("# syntax=docker/dockerfile:1\nFROM scratch\n", vec![2]),
            ("#syntax = x\n", vec![1]),
            ("\u{feff}# escape=`\n\n  //  SynTax=evil\n# syntax=x\nFROM x\n# syntax=y\n", vec![21, 35]),
            ("#!/usr/bin/env x\n# a comment\n# syntax=x", vec![31]),
            ("FROM scratch\n# syntax=x\n", vec![]),
            ("# syntaxes=x\n# the syntax=x\n# syntax\n", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(front_ends(text.as_bytes()), Ok(expected), "{text:?}");
        }
        assert!(front_ends(b"\n {\"syntax\": \"evil\"}").is_err());
    }

    #[test]
    fn words_are_spoiled_wherever_a_piece_ends() {
        let text = b"0123456789";
        for length in 1..=text.len() {
            let mut position = 0;
            let pieces = text
                .chunks(length)
                .map(|piece| spoiled(Bytes::from_static(piece), &mut position, &[3, 4, 9]));
            let whole: Vec<u8> = pieces.flatten().collect();

            assert_eq!(whole, b"012xx5678x", "{length}");
        }
    }

    #[test]
    fn a_file_is_found_in_a_context() {
        let mut tar = tar::Builder::new(tempfile::tempfile().unwrap());
        for (name, text) in [("a/Dockerfile", "FROM a"), ("Dockerfile", "FROM b")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            tar.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        let mut file = tar.into_inner().unwrap();
        for (path, text) in [("a/Dockerfile", "FROM a"), ("Dockerfile", "FROM b")] {
            file.rewind().unwrap();
            let (at, found) = find(&mut file, path).unwrap().unwrap();
            assert_eq!(found, text.as_bytes());
            let mut there = vec![0; text.len()];
            file.seek(io::SeekFrom::Start(at)).unwrap();
            file.read_exact(&mut there).unwrap();
            assert_eq!(there, text.as_bytes());
        }
        file.rewind().unwrap();
        assert!(find(&mut file, "b/Dockerfile").unwrap().is_none());
    }
}
