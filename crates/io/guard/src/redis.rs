//! Redis by its protocol (RESP 2): `AUTH` where there is a password, and `INFO`.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
};

use hornero_model::{GuardMeasure, GuardVerdict, RedisProbe};

use crate::{
    Login, ProbeError,
    wire::{exactly, line, told},
};

/// The longest line that is no content: an error, or a length.
const LINE_BYTES_MAX: usize = 4_096;

/// Asks it.
pub(crate) fn ask(
    stream: &mut (impl Read + Write),
    login: Login<'_>,
    probe: &RedisProbe,
) -> Result<(GuardVerdict, String), ProbeError> {
    if let Some(password) = login.password {
        let user = (!login.user.is_empty()).then_some(login.user.as_bytes());
        let words: Vec<&[u8]> = [b"AUTH".as_slice()].into_iter().chain(user).collect();
        send(stream, &[&words[..], &[password]].concat())?;
        answer(stream)?;
    }
    send(stream, &[b"INFO"])?;
    let info = answer(stream)?;
    judge(&fields(&String::from_utf8_lossy(&info)), probe)
}

fn send(stream: &mut impl Write, words: &[&[u8]]) -> Result<(), ProbeError> {
    let mut message = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        message.extend(format!("${}\r\n", word.len()).into_bytes());
        message.extend(*word);
        message.extend(b"\r\n");
    }
    Ok(stream.write_all(&message)?)
}

fn answer(stream: &mut impl Read) -> Result<Vec<u8>, ProbeError> {
    let line = line(stream, LINE_BYTES_MAX)?;
    match line.split_first() {
        Some((b'+', text)) => Ok(text.to_vec()),
        Some((b'-', text)) => Err(ProbeError::Refused(told(text))),
        Some((b'$', length)) => {
            let length = String::from_utf8_lossy(length).parse::<usize>();
            let length = length.map_err(|_| ProbeError::foreign("a text without a length"))?;
            let mut content = exactly(stream, length.saturating_add(2))?;
            content.truncate(length);
            Ok(content)
        }
        Some(_) | None => Err(ProbeError::foreign(told(&line))),
    }
}

fn fields(info: &str) -> BTreeMap<&str, &str> {
    info.lines().filter_map(|line| line.trim_end().split_once(':')).collect()
}

fn judge(
    fields: &BTreeMap<&str, &str>,
    probe: &RedisProbe,
) -> Result<(GuardVerdict, String), ProbeError> {
    let number = |name: &str| {
        let text = fields.get(name);
        let number = text.and_then(|text| text.parse::<u64>().ok());
        number.ok_or_else(|| ProbeError::foreign(format!("it does not tell `{name}`")))
    };
    let measure = |what, seen, most: u32| GuardMeasure { what, seen, most: most.into(), unit: "" };
    let mut measures = Vec::new();
    if let Some(most) = probe.clients {
        // The one that asks is one of them.
        let others = number("connected_clients")?.saturating_sub(1);
        measures.push(measure("clients", others, most));
    }
    if let Some(most) = probe.pending_persistence {
        // Told only by servers that append to a file.
        let pending = number("aof_pending_bio_fsync").unwrap_or_default();
        let saves = number("rdb_bgsave_in_progress")?;
        let under_way = saves.saturating_add(number("aof_rewrite_in_progress")?);
        let under_way = under_way.saturating_add(pending);
        measures.push(measure("saves and syncs under way", under_way, most));
    }
    if let Some(most) = probe.unsaved_changes {
        measures.push(measure("unsaved changes", number("rdb_changes_since_last_save")?, most));
    }
    Ok(GuardVerdict::of(&measures))
}

#[cfg(test)]
mod tests {
    use hornero_model::ProbeLogin;

    use super::*;

    #[test]
    fn what_it_tells_is_judged() {
        let info = "# Clients\r\nconnected_clients:3\r\n# Persistence\r\nrdb_changes_since_last_save:7\r\n\
                    rdb_bgsave_in_progress:1\r\naof_rewrite_in_progress:0\r\n";
        let probe = |clients, pending_persistence, unsaved_changes| RedisProbe {
            port: 6_379,
            login: ProbeLogin { user: String::new(), password: None },
            clients,
            pending_persistence,
            unsaved_changes,
        };
        let judged = |probe| judge(&fields(info), &probe).unwrap();
        let passes = judged(probe(Some(2), Some(1), Some(7)));
        assert_eq!(
            passes,
            (
                GuardVerdict::Passes,
                "2 clients (at most 2), 1 saves and syncs under way (at most 1), 7 unsaved changes (at most 7)"
                    .to_owned()
            )
        );
        for refused in
            [probe(Some(1), None, None), probe(None, Some(0), None), probe(None, None, Some(6))]
        {
            assert_eq!(judged(refused).0, GuardVerdict::Refuses);
        }
        let most = u64::MAX;
        let huge = format!(
            "rdb_bgsave_in_progress:{most}\r\naof_rewrite_in_progress:1\r\naof_pending_bio_fsync:{most}\r\n"
        );
        let huge = judge(&fields(&huge), &probe(None, Some(7), None)).unwrap();
        assert_eq!(huge.0, GuardVerdict::Refuses, "a sum that does not wrap");
        assert!(judge(&fields("connected_clients:x"), &probe(Some(0), None, None)).is_err());
    }
}
