//! Images.

use super::{
    check::{HTTP_CHECK, TCP_CHECK},
    words::{
        BlockWords,
        ValueKind::{Duration, Flag, Map, Reference, Scratch, Size, Text, Texts},
        block, key, required,
    },
};

const COPY: BlockWords = block(
    "copy",
    "SOURCE",
    "a file or directory that goes into the image",
    &[
        required("to", Text, "absolute path in the image"),
        key("mode", Text, "permission bits, as octal digits"),
        key("owner", Text, "`USER` or `USER:GROUP`"),
    ],
    &[],
);

const PROVISION: BlockWords = block(
    "provision",
    "KIND",
    "a build step: `shell` or `ansible`",
    &[
        key("inline", Texts, "shell: commands, in one shell that ends at the first that fails"),
        key("script", Text, "shell: a file of the directory"),
        key("playbook", Text, "ansible: a playbook of the directory"),
        key("extra_vars", Map, "ansible: variables over all others"),
        key("groups", Texts, "ansible: groups of the inventory that the image is in"),
        key("env", Map, "environment of the step, over the image's own"),
        key("network", Flag, "whether it has a network"),
        key("secrets", Texts, "names of secrets of the image"),
    ],
    &[],
);

const SECRET: BlockWords = block(
    "secret",
    "NAME",
    "a value for provisions that name it, never stored",
    &[
        key("env", Text, "environment variable of the process that bakes"),
        key("file", Text, "file, absolute or relative to the directory"),
    ],
    &[],
);

const ARCHIVE: BlockWords = block(
    "archive",
    "NAME",
    "an archive of packages besides Debian's",
    &[
        required("url", Text, "its address"),
        required("suite", Text, "its suite; ends in `/` where its lists lie in a directory"),
        key("components", Texts, "its components; `main` by default"),
        required("signed_by", Text, "file with the keys that may sign it"),
    ],
    &[],
);

const TEST: BlockWords = block(
    "test",
    "NAME",
    "what must pass before a release gets traffic",
    &[
        key("run", Texts, "program and arguments; exit 0 passes"),
        key("timeout", Duration, "how long it may take; `30s` by default"),
    ],
    &[&HTTP_CHECK, &TCP_CHECK],
);

pub(super) const IMAGE: BlockWords = block(
    "image",
    "NAME",
    "a golden image",
    &[
        key("debian", Text, "the Debian suite that it is made on"),
        key("from", Reference, "the image that it is made on"),
        key("mirror", Text, "address of the archive for `debian`"),
        key("keyring", Text, "keyring for `mirror`"),
        key("packages", Texts, "Debian packages to install"),
        key("run", Texts, "shell commands in the build sandbox"),
        key("network", Flag, "whether `run` and provisions have a network"),
        key(
            "max_size",
            Size,
            "what one step may write and one package unpack to; `64GiB` by default",
        ),
        key("user", Text, "whom the command runs as"),
        key("command", Texts, "the program and its arguments"),
        key("env", Map, "environment of the command"),
        key("workdir", Text, "absolute path that the command starts in"),
        key("scratch", Scratch, "writable directories"),
    ],
    &[&ARCHIVE, &COPY, &PROVISION, &SECRET, &TEST],
);
