//! PostgreSQL by its protocol, version 3.0 ("Frontend/Backend Protocol" of its documentation): one simple query.

use std::io::{Read, Write};

use hornero_model::{GuardMeasure, GuardVerdict, Millis, PostgresProbe};

use crate::{
    Login, ProbeError,
    md5::{hexadecimal, md5},
    scram::{MECHANISM, Scram, ServerProof},
    wire::{exactly, told},
};

/// The protocol's number.
const VERSION: i32 = 196_608;
/// Messages that are read before the one that is waited for: a server tells some dozens of its settings at first.
const MESSAGES_MAX: usize = 1_000;

/// Everything that a guard may want, in one row and so of one moment. Since PostgreSQL 10.
const QUERY: &str = "select pg_has_role(current_user, 'pg_read_all_stats', 'usage'), \
    (select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() \
        and xact_start is not null), \
    (select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()), \
    pg_is_in_recovery(), \
    (select count(*) from pg_stat_replication where state in ('startup', 'catchup', 'streaming')), \
    (select count(*) from pg_stat_replication where state in ('startup', 'catchup')), \
    (select coalesce(max(ceil(extract(epoch from replay_lag) * 1000)), 0)::bigint from pg_stat_replication), \
    case when pg_is_in_recovery() and pg_last_wal_receive_lsn() is distinct from pg_last_wal_replay_lsn() \
        then coalesce(ceil(extract(epoch from now() - pg_last_xact_replay_timestamp()) * 1000), 0)::bigint \
        else 0 end";

/// What the row says.
#[derive(Debug, PartialEq)]
struct Seen {
    sees_others: bool,
    open_transactions: u64,
    connections: u64,
    is_replica: bool,
    replicas: u64,
    catching_up: u64,
    lag_ms: u64,
    own_lag_ms: u64,
}

/// Asks it.
pub(crate) fn ask(
    stream: &mut (impl Read + Write),
    login: Login<'_>,
    probe: &PostgresProbe,
) -> Result<(GuardVerdict, String), ProbeError> {
    greet(stream, login, &probe.database)?;
    let mut query = QUERY.as_bytes().to_vec();
    query.push(0);
    send(stream, Some(b'Q'), &query)?;
    let seen = seen(&row(stream)?)?;
    // It has answered: whether it hears the farewell changes nothing.
    let _ = send(stream, Some(b'X'), b"");
    judge(&seen, probe)
}

fn judge(seen: &Seen, probe: &PostgresProbe) -> Result<(GuardVerdict, String), ProbeError> {
    if !seen.sees_others {
        let user = &probe.login.user;
        return Err(ProbeError::Login(format!(
            "user `{user}` does not see what others do: `grant pg_monitor to {user}` lets it"
        )));
    }
    let measure = |what, seen, most: u32| GuardMeasure { what, seen, most: most.into(), unit: "" };
    let mut measures = Vec::new();
    let open = |most| measure("open transactions", seen.open_transactions, most);
    measures.extend(probe.open_transactions.map(open));
    measures.extend(probe.connections.map(|most| measure("connections", seen.connections, most)));
    if let Some(Millis(most)) = probe.replication_lag {
        if !seen.is_replica && seen.replicas == 0 {
            return Ok((GuardVerdict::Refuses, "no replica is connected".to_owned()));
        }
        if !seen.is_replica {
            measures.push(measure("replicas that catch up", seen.catching_up, 0));
        }
        let lag = if seen.is_replica { seen.own_lag_ms } else { seen.lag_ms };
        measures.push(GuardMeasure { what: "replication lag", seen: lag, most, unit: " ms" });
    }
    Ok(GuardVerdict::of(&measures))
}

fn seen(row: &[String]) -> Result<Seen, ProbeError> {
    let foreign = || ProbeError::foreign(format!("a row of {} columns", row.len()));
    let [sees_others, open, connections, is_replica, replicas, catching_up, lag, own_lag] = row
    else {
        return Err(foreign());
    };
    let number = |text: &String| {
        // A clock that went back makes a lag that is below none.
        let number = text.parse::<i64>().map_err(|_| foreign())?;
        Ok::<_, ProbeError>(u64::try_from(number).unwrap_or_default())
    };
    Ok(Seen {
        sees_others: sees_others == "t",
        open_transactions: number(open)?,
        connections: number(connections)?,
        is_replica: is_replica == "t",
        replicas: number(replicas)?,
        catching_up: number(catching_up)?,
        lag_ms: number(lag)?,
        own_lag_ms: number(own_lag)?,
    })
}

fn send(stream: &mut impl Write, kind: Option<u8>, body: &[u8]) -> Result<(), ProbeError> {
    let length = i32::try_from(body.len() + 4)
        .map_err(|_| ProbeError::Login("a message is too long".to_owned()))?;
    let mut message: Vec<u8> = kind.into_iter().collect();
    message.extend(length.to_be_bytes());
    message.extend(body);
    Ok(stream.write_all(&message)?)
}

/// The next message; an error is told as one.
fn message(stream: &mut impl Read) -> Result<(u8, Vec<u8>), ProbeError> {
    let head = exactly(stream, 5)?;
    let length = i32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    let length = usize::try_from(length).ok().and_then(|length| length.checked_sub(4));
    let length = length.ok_or_else(|| ProbeError::foreign("a message without a length"))?;
    let body = exactly(stream, length)?;
    if head[0] == b'E' {
        return Err(ProbeError::Refused(error_text(&body)));
    }
    Ok((head[0], body))
}

/// The text of an error: its fields, of which each begins with a letter.
fn error_text(body: &[u8]) -> String {
    let mut fields = body.split(|byte| *byte == 0);
    let text = fields.find_map(|field| field.strip_prefix(b"M"));
    told(text.unwrap_or(b"an error without a text"))
}

/// Logs in, and waits until it takes a query.
fn greet(
    stream: &mut (impl Read + Write),
    login: Login<'_>,
    database: &str,
) -> Result<(), ProbeError> {
    let mut body = VERSION.to_be_bytes().to_vec();
    for text in ["user", login.user, "database", database, "application_name", "hornero-guard"] {
        body.extend(text.as_bytes());
        body.push(0);
    }
    body.push(0);
    send(stream, None, &body)?;
    let mut proof = Proof::NotAsked;
    for _ in 0..MESSAGES_MAX {
        match message(stream)? {
            (b'R', body) => authenticate(stream, &body, login, &mut proof)?,
            (b'Z', _) => return proof.whole(),
            _ => {}
        }
    }
    Err(ProbeError::foreign("it never takes a query"))
}

/// Whether the server has shown that it knows the password, which it has to where it asked for a proof that we do.
enum Proof {
    /// It asked for none.
    NotAsked,
    /// It is to answer our first message.
    Begun(Scram),
    /// It is to answer our last one.
    Owed(ServerProof),
    /// It did.
    Shown,
}

impl Proof {
    /// That nothing is owed: who asks for a proof and never shows that it knows the password is somebody else.
    fn whole(&self) -> Result<(), ProbeError> {
        match self {
            Self::NotAsked | Self::Shown => Ok(()),
            Self::Begun(_) | Self::Owed(_) => {
                Err(ProbeError::foreign("it does not show who it is"))
            }
        }
    }
}

fn authenticate(
    stream: &mut impl Write,
    body: &[u8],
    login: Login<'_>,
    proof: &mut Proof,
) -> Result<(), ProbeError> {
    let foreign = || ProbeError::foreign("a request for a password without a kind");
    let (kind, rest) = body.split_first_chunk::<4>().ok_or_else(foreign)?;
    let password = || {
        let missing = || {
            let user = login.user;
            ProbeError::Login(format!("it wants a password of `{user}`: name it as `password`"))
        };
        login.password.ok_or_else(missing)
    };
    match i32::from_be_bytes(*kind) {
        0 => proof.whole(),
        3 => {
            let mut body = password()?.to_vec();
            body.push(0);
            send(stream, Some(b'p'), &body)
        }
        10 => {
            let offered = rest.split(|byte| *byte == 0).any(|name| name == MECHANISM.as_bytes());
            if !offered {
                return Err(ProbeError::Login(format!("it does not offer {MECHANISM}")));
            }
            let begun = Scram::begin(password()?)?;
            let first = begun.first();
            let mut body = MECHANISM.as_bytes().to_vec();
            body.push(0);
            let length = i32::try_from(first.len()).unwrap_or_default();
            body.extend(length.to_be_bytes());
            body.extend(first.as_bytes());
            *proof = Proof::Begun(begun);
            send(stream, Some(b'p'), &body)
        }
        11 => {
            let Proof::Begun(begun) = proof else { return Err(foreign()) };
            let (last, owed) = begun.last(&String::from_utf8_lossy(rest))?;
            *proof = Proof::Owed(owed);
            send(stream, Some(b'p'), last.as_bytes())
        }
        12 => match proof {
            Proof::Owed(owed) if owed.is(&String::from_utf8_lossy(rest)) => {
                *proof = Proof::Shown;
                Ok(())
            }
            _ => Err(ProbeError::foreign("it does not know the password")),
        },
        5 => {
            let mut body = md5_answer(login.user, password()?, rest).into_bytes();
            body.push(0);
            send(stream, Some(b'p'), &body)
        }
        other => Err(ProbeError::Login(format!("it wants a login of kind {other}"))),
    }
}

/// What shows a password that the server keeps by MD5, by a salt of this connection.
fn md5_answer(user: &str, password: &[u8], salt: &[u8]) -> String {
    let kept = hexadecimal(md5(&[password, user.as_bytes()].concat()));
    format!("md5{}", hexadecimal(md5(&[kept.as_bytes(), salt].concat())))
}

/// The columns of the one row that answers.
fn row(stream: &mut impl Read) -> Result<Vec<String>, ProbeError> {
    let mut row = None;
    for _ in 0..MESSAGES_MAX {
        match message(stream)? {
            (b'D', body) => row = Some(columns(&body)?),
            (b'Z', _) => return row.ok_or_else(|| ProbeError::foreign("no row")),
            _ => {}
        }
    }
    Err(ProbeError::foreign("its answer does not end"))
}

fn columns(body: &[u8]) -> Result<Vec<String>, ProbeError> {
    let foreign = || ProbeError::foreign("a row that ends early");
    let (count, mut rest) = body.split_first_chunk::<2>().ok_or_else(foreign)?;
    let mut columns = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(foreign)?;
        // None of them may be null.
        let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| foreign())?;
        let value = after.get(..length).ok_or_else(foreign)?;
        columns.push(String::from_utf8_lossy(value).into_owned());
        rest = &after[length..];
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use hornero_model::ProbeLogin;

    use super::*;

    fn row(text: &str) -> Seen {
        seen(&text.split(' ').map(str::to_owned).collect::<Vec<_>>()).unwrap()
    }

    fn probe() -> PostgresProbe {
        PostgresProbe {
            port: 5_432,
            login: ProbeLogin { user: "watch".to_owned(), password: None },
            database: "postgres".to_owned(),
            open_transactions: Some(0),
            connections: None,
            replication_lag: None,
        }
    }

    #[test]
    fn what_it_sees_is_judged() {
        let judged = |row: Seen, probe: &PostgresProbe| judge(&row, probe).unwrap();
        let quiet = judged(row("t 0 3 f 0 0 0 0"), &probe());
        assert_eq!(quiet, (GuardVerdict::Passes, "0 open transactions (at most 0)".to_owned()));
        assert_eq!(judged(row("t 1 3 f 0 0 0 0"), &probe()).0, GuardVerdict::Refuses);
        let lag = PostgresProbe { replication_lag: Some(Millis(500)), ..probe() };
        let alone = judged(row("t 0 3 f 0 0 0 0"), &lag);
        assert_eq!(alone, (GuardVerdict::Refuses, "no replica is connected".to_owned()));
        for (row_text, verdict) in [
            ("t 0 3 f 1 0 400 0", GuardVerdict::Passes),
            ("t 0 3 f 1 0 501 0", GuardVerdict::Refuses),
            ("t 0 3 f 2 1 400 0", GuardVerdict::Refuses),
            ("t 0 3 t 0 0 0 -5", GuardVerdict::Passes),
            ("t 0 3 t 0 0 0 501", GuardVerdict::Refuses),
        ] {
            assert_eq!(judged(row(row_text), &lag).0, verdict, "{row_text}");
        }
    }

    #[test]
    fn a_user_who_sees_only_itself_is_no_witness() {
        let error = judge(&row("f 0 0 f 0 0 0 0"), &probe()).unwrap_err().to_string();
        assert!(error.contains("grant pg_monitor to watch"), "{error}");
    }
}
