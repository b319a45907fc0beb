//! Paths as the kernel writes them into tables of mounts.

/// A field of `mountinfo` as it was meant: blanks, line ends and backslashes stand there as a backslash and three octal
/// digits (proc_pid_mountinfo(5)). What is no such number stays as it is.
pub fn mount_field(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let number = tail
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match number {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_numbers_are_bytes_and_all_else_stays() {
        for (field, meant) in
            [("/a\\040b\\134c", "/a b\\c"), ("/a\\04", "/a\\04"), ("/a\\999", "/a\\999"), ("", "")]
        {
            assert_eq!(mount_field(field.as_bytes()), meant.as_bytes(), "{field}");
        }
    }
}
