//! The sample: a web server with nothing but the standard library, so that its image needs nothing from outside.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use std::{fs, io, thread};

fn main() -> io::Result<()> {
    let listener = TcpListener::bind("0.0.0.0:8000")?;
    println!("hello listens on port 8000");
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            if let Err(problem) = answer(stream) {
                eprintln!("a caller went away: {problem}");
            }
        });
    }
    Ok(())
}

fn answer(stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut lines = BufReader::new(&stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    // The headers are read, although nothing here needs them: closing over unread bytes would reset the connection.
    for line in lines.take(100) {
        if line?.is_empty() {
            break;
        }
    }
    println!("{request}");

    let host = fs::read_to_string("/etc/hostname").unwrap_or_default();
    let body = format!("Hello from Longshore! This is container {}.\n你好,这里是 Longshore。\n", host.trim());
    write!(
        &stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
