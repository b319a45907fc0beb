//! What a scanner of secrets finds in a layer: private keys, passwords and tokens where programs keep them, and whatever is
//! as random as a key and not for everyone to read.

use hornero_store::{Entry, EntryKind, Store};

use crate::{BakeError, key_files, outcome::StepOutcome, source::LayerSource};

/// Larger files are data; the longest RSA key in use has 13 kB.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// What is below directories of these names is made to be read by all.
const EXAMPLES: [&[u8]; 6] = [b"doc", b"example", b"examples", b"test", b"testdata", b"tests"];

/// Files that programs keep secrets in, by the end of their path, and words of which one has to be there; without words
/// anything counts.
const FILES: [(&str, &[&str]); 13] = [
    ("/.aws/credentials", &["aws_secret_access_key"]),
    ("/.docker/config.json", &["\"auth\"", "\"identitytoken\""]),
    ("/.erlang.cookie", &[]),
    ("/.git-credentials", &["://"]),
    ("/.kube/config", &["client-key-data", "token:"]),
    ("/.my.cnf", &["password"]),
    ("/.netrc", &["password"]),
    ("/.npmrc", &["_authToken", "_password", "_auth="]),
    ("/.pgpass", &[":"]),
    ("/.pypirc", &["password"]),
    ("/.vault-token", &[]),
    // Passwords that scripts asked debconf for, or made up where nobody answered.
    ("/debconf/passwords.dat", &["\nValue: "]),
    ("/rndc.key", &["secret"]),
];

/// How tokens begin whose issuers marked them so that scanners find them, and how many letters follow at least.
const TOKENS: [(&str, usize); 9] = [
    ("AKIA", 16),
    ("ghp_", 36),
    ("gho_", 36),
    ("ghs_", 36),
    ("github_pat_", 36),
    ("glpat-", 20),
    ("npm_", 36),
    ("sk_live_", 24),
    ("xoxb-", 24),
];

/// Absolute paths of files with secrets in what a step made; packages of an archive are everybody's.
pub(crate) fn secrets_of(store: &Store, gave: &StepOutcome) -> Result<Vec<String>, BakeError> {
    let mut found = Vec::new();
    for (layer, source) in gave.layers.iter().zip(&gave.sources) {
        match source {
            LayerSource::Package(_) | LayerSource::Database | LayerSource::Imported { .. } => {
                continue;
            }
            LayerSource::Configured
            | LayerSource::Copy { .. }
            | LayerSource::Run { .. }
            | LayerSource::Provision { .. } => {}
        }
        for entry in store.layer(layer).map_err(BakeError::store)?.entries() {
            let EntryKind::File { digest, size } = &entry.kind else { continue };
            if !(1..=FILE_BYTES_MAX).contains(size) {
                continue;
            }
            let bytes = store.read_object(digest).map_err(BakeError::store)?;
            if has_secret(entry, &bytes) {
                found.push(entry.path.to_string());
            }
        }
    }
    Ok(found)
}

fn has_secret(entry: &Entry, bytes: &[u8]) -> bool {
    if entry.path.components().any(|name| EXAMPLES.contains(&name)) {
        return false;
    }
    let is_for_all = entry.metadata.mode & 0o004 != 0;
    if key_files::is_binary_key(bytes) || (!is_for_all && key_files::is_random(bytes)) {
        return true;
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let path = entry.path.to_string();
    let kept_in = FILES.iter().any(|(end, words)| {
        path.ends_with(end) && (words.is_empty() || words.iter().any(|word| text.contains(word)))
    });
    kept_in
        || has_key(text, is_for_all)
        || has_token(text)
        || (!is_for_all && text.lines().any(sets_password))
}

/// A file that is a private key; also one that has it among other things, where not everyone may read it: programs that
/// look for keys have their first words, too.
fn has_key(text: &str, is_for_all: bool) -> bool {
    let is_key = |line: &str| {
        line.starts_with("-----BEGIN ") && line.contains(" PRIVATE KEY")
            || line.starts_with("-----BEGIN PRIVATE KEY")
            || line.starts_with("PuTTY-User-Key-File-")
            || line.starts_with("AGE-SECRET-KEY-1")
    };
    let lines = text.lines().map(str::trim_start).filter(|line| !line.is_empty());
    let mut own = lines.clone().filter(|line| !line.starts_with('#'));
    own.next().is_some_and(is_key)
        || (!is_for_all && lines.clone().any(is_key))
        || text.contains("algorithm hmac-") && text.contains("secret \"")
}

/// A line of a configuration file that not everyone may read: `NAME = "VALUE"` and what comes near it, whose name ends as
/// that of a password does. Values that stand for others (`$x`, `<x>`) are none.
fn sets_password(line: &str) -> bool {
    const NAMES: [&str; 6] = ["password", "passwd", "pass", "secret", "token", "apikey"];
    let line = line.trim();
    if line.starts_with(['#', ';', '*']) || line.starts_with("//") || line.starts_with("--") {
        return false;
    }
    let Some((name, value)) = line.split_once(['=', ':']) else { return false };
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    let name = name.trim_end_matches(|letter| !is_letter(letter));
    let name = name.rsplit(|letter| !is_letter(letter)).next().unwrap_or_default();
    let name = name.to_ascii_lowercase().replace(['_', '-'], "");
    let value = value.trim_start_matches(|letter: char| "=:> \t\"'`".contains(letter));
    let value: String = value.chars().take_while(|letter| !"\"'`;, \t".contains(*letter)).collect();
    NAMES.iter().any(|end| name.ends_with(end))
        && value.len() >= 8
        && !value.starts_with(['$', '<', '%', '{', '/', '@', '('])
}

fn has_token(text: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    text.split(|letter| !is_letter(letter)).any(|word| {
        TOKENS.iter().any(|(begin, length)| {
            word.strip_prefix(begin).is_some_and(|rest| rest.len() >= *length)
                // As their issuers write them in manuals.
                && !word.contains("EXAMPLE")
                && !word.to_ascii_lowercase().contains("xxxx")
        })
    })
}

#[cfg(test)]
mod tests {
    use hornero_model::Digest;
    use hornero_store::{Metadata, TreePath};

    use super::*;

    fn check(path: &str, mode: u32, text: &str, expected: bool) {
        let entry = Entry {
            path: TreePath::new(path).unwrap(),
            kind: EntryKind::File { digest: Digest::of(b""), size: 1 },
            metadata: Metadata { mode, ..Metadata::default() },
        };
        assert_eq!(has_secret(&entry, text.as_bytes()), expected, "{path} {text}");
    }

    #[test]
    fn secrets_are_found_by_what_they_are() {
        const KEY: &str = "-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\n";
        check("etc/ssl/made.key", 0o600, KEY, true);
        check("srv/app/id_rsa", 0o644, KEY, true);
        check("root/.ssh/id_ed25519", 0o600, "-----BEGIN OPENSSH PRIVATE KEY-----\n", true);
        check("etc/key", 0o600, "-----BEGIN PRIVATE KEY-----\n", true);
        check("etc/key", 0o600, "-----BEGIN PGP PRIVATE KEY BLOCK-----\n", true);
        check("etc/age", 0o600, "# created: today\nAGE-SECRET-KEY-1QQ\n", true);
        let bundle = format!("-----BEGIN CERTIFICATE-----\nMII\n{KEY}");
        check("etc/haproxy.pem", 0o640, &bundle, true);
        check("usr/lib/looks.py", 0o644, &format!("BEGINS = [\n{KEY}"), false);
        check("etc/ca.crt", 0o644, "-----BEGIN CERTIFICATE-----\nMII\n", false);
        check("etc/key.pub", 0o644, "-----BEGIN PUBLIC KEY-----\nMII\n", false);
        check("usr/share/doc/x/server.key", 0o644, KEY, false);
        check("srv/node_modules/x/tests/key.pem", 0o644, KEY, false);
        let rndc = "key \"rndc-key\" {\n\talgorithm hmac-sha256;\n\tsecret \"c2VjcmV0\";\n};\n";
        check("etc/bind/rndc.key", 0o640, rndc, true);
        check("etc/bind/named.conf.local", 0o644, rndc, true);
        check("var/lib/rabbitmq/.erlang.cookie", 0o400, "ABCDEFGH", true);
        check("root/.npmrc", 0o600, "//registry.example/:_authToken=abc\n", true);
        check("root/.npmrc", 0o600, "registry=https://registry.example/\n", false);
        check("root/.netrc", 0o600, "machine x login y password z\n", true);
        check("home/web/.pgpass", 0o600, "*:*:*:web:secret\n", true);
        check("root/.aws/credentials", 0o600, "[default]\naws_secret_access_key = abc\n", true);
        check("srv/app/.env", 0o644, &format!("TOKEN=ghp_{}\n", "a1".repeat(18)), true);
        check("srv/app/.env", 0o644, "KEY_ID=\"AKIAABCDEFGHIJKLMNOP\"\n", true);
        check("srv/app/README", 0o644, "like AKIAIOSFODNN7EXAMPLE\n", false);
        check("srv/app/.env", 0o644, "TOKEN=ghp_short\n", false);
        let answers = "Name: slapd/internal/adminpw\nTemplate: slapd/internal/adminpw\nValue: x7\n";
        check("var/cache/debconf/passwords.dat", 0o600, answers, true);
        check("var/cache/debconf/passwords.dat", 0o600, "Name: a\nTemplate: a\n", false);
        check("var/lib/app/cookie", 0o400, "JQWNYDLVKRXMZTUCBPAE", true);
        check("var/lib/app/cookie", 0o444, "JQWNYDLVKRXMZTUCBPAE", false);
    }

    #[test]
    fn passwords_are_told_of_where_not_everyone_may_read_them() {
        for line in [
            "$dbpass='kTq8vBn2Lw';",
            "dbc_dbpass='kTq8vBn2Lw'",
            "$cfg['blowfish_secret'] = 'kTq8vBn2Lw';",
            "password = kTq8vBn2Lw",
            "    \"api_key\": \"kTq8vBn2Lw\",",
            "requirepass: kTq8vBn2Lw",
        ] {
            check("etc/app/config", 0o640, &format!("first\n{line}\n"), true);
            check("etc/app/config", 0o644, &format!("first\n{line}\n"), false);
            check("etc/app/config", 0o640, &format!("# {line}\n"), false);
        }
        for line in [
            "password = ",
            "password = ''",
            "password = ${DB_PASSWORD}",
            "passwd: files systemd",
            "password\t[success=1 default=ignore]\tpam_unix.so",
            "password_file = /run/secrets/password",
            "authority = kTq8vBn2Lw",
        ] {
            check("etc/app/config", 0o640, &format!("{line}\n"), false);
        }
    }
}
