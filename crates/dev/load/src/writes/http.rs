//! A program that keeps notes and is asked by HTTP/1.1: `PUT` of a note under a number, which can be repeated, and a `GET` of
//! all their numbers, one a line.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use super::store::{WriteFault, WriteRule, WriteSession, WriteStore, broken, open};

/// A line of an answer's head.
const MAX_LINE_BYTES: u64 = 1 << 14;
/// The numbers of all notes.
const MAX_BODY_BYTES: u64 = 1 << 28;

/// A program that keeps notes under a path.
#[derive(Debug, Clone)]
pub struct HttpStore {
    /// Where it answers.
    pub address: SocketAddr,
    /// The path of all of them; a note lies below it.
    pub path: String,
}

impl WriteStore for HttpStore {
    fn connect(&self) -> Result<Box<dyn WriteSession>, WriteFault> {
        let io = BufReader::new(open(self.address)?);
        Ok(Box::new(HttpSession { io, path: self.path.clone() }))
    }

    fn rule(&self) -> WriteRule {
        WriteRule::Once
    }
}

struct HttpSession {
    io: BufReader<TcpStream>,
    path: String,
}

impl HttpSession {
    fn ask(&mut self, method: &str, path: &str, body: &str) -> Result<String, WriteFault> {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: notes\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.io.get_mut().write_all(request.as_bytes()).map_err(broken)?;
        let first = self.line()?;
        let mut length = None;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = Some(value.trim().parse::<u64>().map_err(broken)?);
            }
        }
        let length = length.ok_or_else(|| broken("an answer without a length"))?;
        let mut body = String::new();
        let most = length.min(MAX_BODY_BYTES);
        (&mut self.io).take(most).read_to_string(&mut body).map_err(broken)?;
        let is_good = first.split(' ').nth(1).is_some_and(|status| status.starts_with('2'));
        match is_good && body.len() as u64 == length {
            true => Ok(body),
            false => Err(broken(format!("{method} {path}: {first}: {body}"))),
        }
    }

    fn line(&mut self) -> Result<String, WriteFault> {
        let mut line = String::new();
        (&mut self.io).take(MAX_LINE_BYTES).read_line(&mut line).map_err(broken)?;
        let line = line.strip_suffix("\r\n").ok_or_else(|| broken("the connection ended"))?;
        Ok(line.to_owned())
    }
}

impl WriteSession for HttpSession {
    fn prepare(&mut self) -> Result<(), WriteFault> {
        self.appended().map(drop)
    }

    fn append(&mut self, number: u64) -> Result<(), WriteFault> {
        let path = format!("{}/{number}", self.path);
        self.ask("PUT", &path, &format!("note {number}")).map(drop)
    }

    fn appended(&mut self) -> Result<Vec<u64>, WriteFault> {
        let path = self.path.clone();
        let all = self.ask("GET", &path, "")?;
        all.lines().map(|line| line.parse().map_err(broken)).collect()
    }
}
