//! The common name of a certificate's subject: who a client with one is.

use hornero_edge::der::element;

/// Tags of elements (X.690, 8.1.2).
const VERSION: u8 = 0xa0;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
/// 2.5.4.3, the common name (RFC 5280, appendix A.1).
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
/// Bytes that a common name may have (RFC 5280, appendix A.1); in UTF-8 some more.
const NAME_BYTES: usize = 256;

/// The one common name of the subject of a certificate in DER; none where it has none or several.
pub fn common_name(certificate: &[u8]) -> Option<String> {
    let mut rest = element(element(certificate)?.content)?.content;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.rest;
    }
    // Serial number, algorithm, issuer and validity.
    for _ in 0..4 {
        rest = element(rest)?.rest;
    }
    let mut sets = element(rest)?.content;
    let mut found = None;
    while !sets.is_empty() {
        let set = element(sets)?;
        let mut pairs = set.content;
        while !pairs.is_empty() {
            let pair = element(pairs)?;
            let kind = element(pair.content)?;
            if kind.tag == OBJECT_IDENTIFIER && kind.content == COMMON_NAME {
                let value = element(kind.rest)?;
                let is_text = matches!(value.tag, UTF8_STRING | PRINTABLE_STRING);
                if !is_text || value.content.len() > NAME_BYTES || found.is_some() {
                    return None;
                }
                found = Some(String::from_utf8(value.content.to_vec()).ok()?);
            }
            pairs = pair.rest;
        }
        sets = set.rest;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(subject: &str) -> Vec<u8> {
        let made = std::process::Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-nodes", "-pkeyopt"])
            .args(["ec_paramgen_curve:prime256v1", "-subj", subject, "-days", "1"])
            .args(["-keyout", "/dev/null", "-outform", "DER"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        made.stdout
    }

    #[test]
    fn certificates_that_openssl_made_are_read() {
        assert_eq!(common_name(&made("/O=Example/CN=ci")).as_deref(), Some("ci"));
        assert_eq!(common_name(&made("/O=Example")), None);
        assert_eq!(common_name(&made("/CN=viewer/CN=admin")), None, "nobody is two");
        let whole = made("/CN=ci");
        for end in 0..whole.len() {
            let _ = common_name(&whole[..end]);
        }
    }
}
