// The only program in the tests' images: compiled once, static, so that images are made FROM scratch.

use std::io::{Read, Write};
use std::time::Duration;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["print", rest @ ..] => println!("{}", rest.join(" ")),
        ["complain", rest @ ..] => eprintln!("{}", rest.join(" ")),
        ["fail", code] => std::process::exit(code.parse().unwrap()),
        ["touch", path] => std::fs::write(path, "touched").unwrap(),
        ["cat", path] => print!("{}", std::fs::read_to_string(path).unwrap()),
        ["sleep"] => sleep(),
        ["live", rest @ ..] => live(rest),
        ["eat"] => eat(),
        // So many numbered lines, and then one of so many bytes.
        ["lines", count, wide] => {
            let mut out = std::io::BufWriter::with_capacity(64 << 10, std::io::stdout().lock());
            for number in 1..=count.parse::<u64>().unwrap() {
                writeln!(out, "line {number}").unwrap();
            }
            writeln!(out, "{}", "w".repeat(wide.parse().unwrap())).unwrap();
        }
        // Lines of 1,000 bytes, then silence.
        ["flood", count] => {
            let line = "x".repeat(999);
            for _ in 0..count.parse::<u64>().unwrap() {
                println!("{line}");
            }
            sleep();
        }
        ["serve", port, text] => serve(port.parse().unwrap(), text),
        other => panic!("no such order: {other:?}"),
    }
}

/// Counts its lives in each of the files, and removes what the last word names; says what it found.
fn live(words: &[&str]) {
    let (files, gone) = words.split_at(words.len() - 1);
    for file in files {
        let before: u32 = std::fs::read_to_string(file).map_or(0, |text| text.parse().unwrap());
        std::fs::write(file, (before + 1).to_string()).unwrap();
        println!("{file}: life {}", before + 1);
    }
    println!("{}: {}", gone[0], if std::fs::remove_file(gone[0]).is_ok() { "removed" } else { "not there" });
}

fn sleep() {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// More and more memory, until somebody stops it.
fn eat() {
    let mut eaten = Vec::new();
    loop {
        eaten.push(vec![1_u8; 1 << 20]);
    }
}

fn serve(port: u16, text: &str) {
    let listener = std::net::TcpListener::bind(("0.0.0.0", port)).unwrap();
    println!("listening");
    for connection in listener.incoming() {
        let mut connection = connection.unwrap();
        let mut request = [0; 4096];
        if connection.read(&mut request).is_ok_and(|length| length > 0) {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", text.len());
            drop(connection.write_all(format!("{head}{text}").as_bytes()));
        }
    }
}
