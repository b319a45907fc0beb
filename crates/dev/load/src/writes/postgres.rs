//! PostgreSQL, by its own protocol (version 3.0, "Frontend/Backend Protocol" of its documentation): simple queries of a user
//! who needs no password.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use super::store::{ACCOUNTS, WriteFault, WriteSession, WriteStore, broken, open};

/// The protocol's number.
const VERSION: i32 = 196_608;
/// A message of the server is some bytes, a row of ours as well.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// A PostgreSQL server that trusts `postgres`.
#[derive(Debug, Clone, Copy)]
pub struct PostgresStore {
    /// Where it answers.
    pub address: SocketAddr,
}

impl WriteStore for PostgresStore {
    fn connect(&self) -> Result<Box<dyn WriteSession>, WriteFault> {
        let mut session = PostgresSession { stream: open(self.address)? };
        let unserved = |fault: WriteFault| WriteFault::Unserved(fault.to_string());
        session.greet().map_err(unserved)?;
        Ok(Box::new(session))
    }
}

struct PostgresSession {
    stream: TcpStream,
}

impl PostgresSession {
    fn greet(&mut self) -> Result<(), WriteFault> {
        let mut body = VERSION.to_be_bytes().to_vec();
        body.extend(b"user\0postgres\0database\0postgres\0\0");
        self.send(None, &body)?;
        self.answer().map(drop)
    }

    fn send(&mut self, kind: Option<u8>, body: &[u8]) -> Result<(), WriteFault> {
        let length = i32::try_from(body.len() + 4).map_err(broken)?;
        let mut message: Vec<u8> = kind.into_iter().collect();
        message.extend(length.to_be_bytes());
        message.extend(body);
        self.stream.write_all(&message).map_err(broken)
    }

    fn message(&mut self) -> Result<(u8, Vec<u8>), WriteFault> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head).map_err(broken)?;
        let [kind, length @ ..] = head;
        let length = usize::try_from(i32::from_be_bytes(length)).map_err(broken)?;
        let length = length.saturating_sub(4);
        if length > MAX_MESSAGE_BYTES {
            return Err(broken("a message is too long"));
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).map_err(broken)?;
        Ok((kind, body))
    }

    /// The first column of every row until the server is ready for the next query.
    fn answer(&mut self) -> Result<Vec<String>, WriteFault> {
        let (mut rows, mut fault) = (Vec::new(), None);
        loop {
            match self.message()? {
                (b'D', body) => rows.push(first_column(&body)),
                (b'E', body) => {
                    let text = fields(&body);
                    // An error before the session began, or that ends it: nothing follows.
                    if text.contains("FATAL") || text.contains("PANIC") {
                        return Err(WriteFault::Broken(text));
                    }
                    fault = Some(text);
                }
                (b'R', body) if body.get(..4) != Some(&[0; 4]) => {
                    return Err(broken("it wants a password"));
                }
                (b'Z', _) => break,
                _ => {}
            }
        }
        match fault {
            None => Ok(rows),
            Some(text) => Err(WriteFault::Broken(text)),
        }
    }

    fn query(&mut self, sql: &str) -> Result<Vec<String>, WriteFault> {
        let mut body = sql.as_bytes().to_vec();
        body.push(0);
        self.send(Some(b'Q'), &body)?;
        self.answer()
    }

    fn number(&mut self, sql: &str) -> Result<i64, WriteFault> {
        let rows = self.query(sql)?;
        let row = rows.first().ok_or_else(|| broken("no row"))?;
        row.parse().map_err(broken)
    }
}

/// The text of an error: its fields, of which each begins with a letter.
fn fields(body: &[u8]) -> String {
    let parts = body.split(|byte| *byte == 0).filter(|part| part.len() > 1);
    let wanted = parts.filter(|part| matches!(part[0], b'S' | b'C' | b'M'));
    let texts: Vec<_> = wanted.map(|part| String::from_utf8_lossy(&part[1..])).collect();
    texts.join(" ")
}

fn first_column(body: &[u8]) -> String {
    let length = body.get(2..6).and_then(|bytes| bytes.try_into().ok()).map(i32::from_be_bytes);
    let length = length.and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
    let value = body.get(6..6 + length).unwrap_or_default();
    String::from_utf8_lossy(value).into_owned()
}

impl WriteSession for PostgresSession {
    fn prepare(&mut self) -> Result<(), WriteFault> {
        let accounts = ACCOUNTS - 1;
        self.query(&format!(
            "create table acks (n bigint); create table counters (id bigint primary key, n bigint not null); \
             create table accounts (id bigint primary key, n bigint not null); \
             insert into accounts select id, 0 from generate_series(0, {accounts}) id"
        ))
        .map(drop)
    }

    fn append(&mut self, number: u64) -> Result<(), WriteFault> {
        self.query(&format!("insert into acks values ({number})")).map(drop)
    }

    fn count(&mut self, counter: u64) -> Result<(), WriteFault> {
        self.query(&format!(
            "insert into counters values ({counter}, 1) on conflict (id) do update set n = counters.n + 1"
        ))
        .map(drop)
    }

    fn transfer(&mut self, from: u64, to: u64) -> Result<(), WriteFault> {
        // Queries of one message are one transaction. By number, so that no two wait for each other.
        let (first, by) = if from < to { (from, -1) } else { (to, 1) };
        let (second, back) = (from.max(to), -by);
        self.query(&format!(
            "update accounts set n = n + ({by}) where id = {first}; update accounts set n = n + ({back}) where id = {second}"
        ))
        .map(drop)
    }

    fn appended(&mut self) -> Result<Vec<u64>, WriteFault> {
        let rows = self.query("select n from acks")?;
        rows.iter().map(|row| row.parse().map_err(broken)).collect()
    }

    fn counted(&mut self, counter: u64) -> Result<u64, WriteFault> {
        let sql = format!("select coalesce((select n from counters where id = {counter}), 0)");
        self.number(&sql).and_then(|number| u64::try_from(number).map_err(broken))
    }

    fn balance(&mut self) -> Result<i64, WriteFault> {
        self.number("select sum(n) from accounts")
    }
}
