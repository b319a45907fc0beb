//! Redis and what speaks its protocol (RESP2, "Redis serialization protocol specification").

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use super::store::{ACCOUNTS, WriteFault, WriteSession, WriteStore, broken, open};

/// Answers of ours nest once: a transaction has a list of answers.
const MAX_DEPTH: u32 = 4;
/// A line of an answer, or a value.
const MAX_BYTES: u64 = 1 << 20;

/// A Redis server without a password.
#[derive(Debug, Clone, Copy)]
pub struct RedisStore {
    /// Where it answers.
    pub address: SocketAddr,
}

impl WriteStore for RedisStore {
    fn connect(&self) -> Result<Box<dyn WriteSession>, WriteFault> {
        let mut session = RedisSession { stream: BufReader::new(open(self.address)?) };
        // While it reads its data it answers that it is loading.
        let greeted = session.ask(&["ping"]);
        greeted.map_err(|fault| WriteFault::Unserved(fault.to_string()))?;
        Ok(Box::new(session))
    }
}

struct RedisSession {
    stream: BufReader<TcpStream>,
}

impl RedisSession {
    fn ask(&mut self, words: &[&str]) -> Result<Vec<String>, WriteFault> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.get_mut().write_all(request.as_bytes()).map_err(broken)?;
        let mut values = Vec::new();
        self.answer(&mut values, 0)?;
        Ok(values)
    }

    fn line(&mut self) -> Result<String, WriteFault> {
        let mut line = String::new();
        (&mut self.stream).take(MAX_BYTES).read_line(&mut line).map_err(broken)?;
        let line = line.strip_suffix("\r\n").ok_or_else(|| broken("the connection ended"))?;
        Ok(line.to_owned())
    }

    /// Reads an answer, of a list every element.
    fn answer(&mut self, values: &mut Vec<String>, depth: u32) -> Result<(), WriteFault> {
        let line = self.line()?;
        let (kind, rest) = line.split_at_checked(1).ok_or_else(|| broken("an empty answer"))?;
        let length = || rest.parse::<i64>().map_err(broken);
        match kind {
            "+" | ":" => values.push(rest.to_owned()),
            "-" => return Err(WriteFault::Broken(rest.to_owned())),
            "$" => {
                if let Ok(length) = u64::try_from(length()?) {
                    let mut bytes =
                        vec![0; usize::try_from(length.min(MAX_BYTES)).map_err(broken)? + 2];
                    self.stream.read_exact(&mut bytes).map_err(broken)?;
                    bytes.truncate(bytes.len() - 2);
                    values.push(String::from_utf8_lossy(&bytes).into_owned());
                }
            }
            "*" if depth < MAX_DEPTH => {
                for _ in 0..length()?.max(0) {
                    self.answer(values, depth + 1)?;
                }
            }
            _ => return Err(broken(format!("`{line}` is no answer"))),
        }
        Ok(())
    }

    fn number<N: std::str::FromStr>(&mut self, words: &[&str]) -> Result<Option<N>, WriteFault>
    where
        N::Err: ToString,
    {
        self.ask(words)?.first().map(|value| value.parse().map_err(broken)).transpose()
    }
}

impl WriteSession for RedisSession {
    fn prepare(&mut self) -> Result<(), WriteFault> {
        self.ask(&["ping"]).map(drop)
    }

    fn append(&mut self, number: u64) -> Result<(), WriteFault> {
        self.ask(&["rpush", "acks", &number.to_string()]).map(drop)
    }

    fn count(&mut self, counter: u64) -> Result<(), WriteFault> {
        self.ask(&["incr", &format!("counter:{counter}")]).map(drop)
    }

    fn transfer(&mut self, from: u64, to: u64) -> Result<(), WriteFault> {
        let (from, to) = (format!("account:{from}"), format!("account:{to}"));
        self.ask(&["multi"])?;
        self.ask(&["decr", &from])?;
        self.ask(&["incr", &to])?;
        self.ask(&["exec"]).map(drop)
    }

    fn appended(&mut self) -> Result<Vec<u64>, WriteFault> {
        let values = self.ask(&["lrange", "acks", "0", "-1"])?;
        values.iter().map(|value| value.parse().map_err(broken)).collect()
    }

    fn counted(&mut self, counter: u64) -> Result<u64, WriteFault> {
        Ok(self.number(&["get", &format!("counter:{counter}")])?.unwrap_or_default())
    }

    fn balance(&mut self) -> Result<i64, WriteFault> {
        let mut sum = 0;
        for account in 0..ACCOUNTS {
            let has: Option<i64> = self.number(&["get", &format!("account:{account}")])?;
            sum += has.unwrap_or_default();
        }
        Ok(sum)
    }
}
