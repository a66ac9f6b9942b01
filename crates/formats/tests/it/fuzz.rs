//! Feeds every target its corpus, which holds what was found to go wrong once, and a fixed number of mutations of it, the same in every
//! run. `scripts/fuzz` does it for as long as one likes, guided by what is reached.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::path::{Path, PathBuf};

use crate::targets::{ALL, Target};

/// Mutations per target.
const ROUNDS: usize = 600;
/// Changes in one mutation, at most.
const MAX_CHANGES: usize = 6;
/// Longest mutation, in bytes.
const MAX_BYTES: usize = 32 << 10;
/// How much more memory anything may take, in KiB, whatever it is fed.
const MAX_GROWTH_KIB: u64 = 128 << 10;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// The files of a target's corpus, by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder().join("corpus").join(target))
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    assert!(files.len() >= 3, "the corpus of `{target}` is gone");
    files
}

/// Words that mean something to one of the readers: lines of `"…"` as libFuzzer has them.
fn words() -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(folder().join("words.dict")).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    let words: Vec<_> = lines.map(unescaped).collect();
    assert!(words.len() > 20);
    words
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut word = Vec::new();
    while let Some(byte) = bytes.next() {
        word.push(match (byte, byte == b'\\') {
            (_, true) => match bytes.next().unwrap() {
                b'x' => {
                    let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => other,
            },
            (byte, false) => byte,
        });
    }
    word
}

/// Numbers that are the same in every run: xorshift.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % end.max(1)
    }
}

/// Changes bytes somewhere, with words and with parts of others.
fn mutate(bytes: &mut Vec<u8>, others: &[(String, Vec<u8>)], words: &[Vec<u8>], numbers: &mut Numbers) {
    for _ in 0..=numbers.below(MAX_CHANGES) {
        let at = numbers.below(bytes.len() + 1);
        let bits = numbers.below(10);
        let count = numbers.below(1 << bits).min(bytes.len() - at);
        match numbers.below(8) {
            0 => drop(bytes.drain(at..at + count)),
            1 => {
                let part = bytes[at..at + count].to_vec();
                let to = numbers.below(bytes.len() + 1);
                bytes.splice(to..to, part);
            }
            2 | 3 if at < bytes.len() => bytes[at] ^= 1 << numbers.below(8),
            4 if at < bytes.len() => bytes[at] = u8::try_from(numbers.below(256)).unwrap(),
            5 => {
                let (_, other) = &others[numbers.below(others.len())];
                let from = numbers.below(other.len());
                let to = from + numbers.below(other.len() - from + 1);
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            6 => bytes.truncate(at),
            _ => {
                let word = &words[numbers.below(words.len())];
                bytes.splice(at..at, word.iter().copied());
            }
        }
    }
    bytes.truncate(MAX_BYTES);
}

/// Feeds bytes, and says what they were where something did not hold.
fn feed(target: Target, name: &str, bytes: &[u8]) {
    if std::panic::catch_unwind(|| target(bytes)).is_err() {
        let place = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        std::fs::write(&place, bytes).unwrap();
        panic!("`{name}` does not stand what is in {}", place.display());
    }
}

/// This process's highest resident memory in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// One test, one target after the other: memory is the whole process's.
#[test]
fn nothing_that_is_sent_takes_a_reader_down_or_much_memory() {
    let words = words();
    for (name, target) in ALL {
        let files = corpus(name);
        let before = peak_kib();
        for (file, bytes) in &files {
            feed(target, &format!("{name}: {file}").replace([':', ' ', '/'], "-"), bytes);
        }
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        for round in 0..ROUNDS {
            let mut bytes = files[round % files.len()].1.clone();
            mutate(&mut bytes, &files, &words, &mut numbers);
            feed(target, &format!("{name}-{round}"), &bytes);
        }
        let grown = peak_kib() - before;
        assert!(grown <= MAX_GROWTH_KIB, "`{name}` took {grown} KiB");
    }
}
