//! Headers byte by byte, as the specification has them.

use proptest::prelude::{Just, Strategy, any, prop_oneof};

use super::*;

fn ends(source: &str, destination: &str) -> Endpoints {
    Endpoints { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

/// A header of version 2.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, block].concat()
}

const IPV4: [u8; 12] = [192, 168, 0, 1, 192, 168, 0, 11, 0xdc, 0x04, 0x01, 0xbb];

#[test]
fn lines_are_read_as_the_specification_has_them() {
    let of = |line: &str| parse(line.as_bytes());
    let relayed = |line: &str, source: &str, destination: &str| {
        let header = Header::Relayed(ends(source, destination));
        assert_eq!(of(line), Ok(Some((header, line.find('\n').unwrap() + 1))), "{line:?}");
    };
    relayed(
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET / HTTP/1.1\r\n",
        "192.168.0.1:56324",
        "192.168.0.11:443",
    );
    relayed(
        "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        "255.255.255.255:65535",
        "255.255.255.255:65535",
    );
    relayed("PROXY TCP4 0.0.0.0 1.2.3.4 0 0\r\n", "0.0.0.0:0", "1.2.3.4:0");
    relayed("PROXY TCP6 2001:DB8::1 ::1 1 2\r\n", "[2001:db8::1]:1", "[::1]:2");
    let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let (line, end) =
        (format!("PROXY TCP6 {longest} {longest} 65535 65535\r\n"), format!("[{longest}]:65535"));
    assert_eq!(line.len(), 104);
    relayed(&line, &end, &end);
    // HAProxy writes a mapped address so.
    relayed("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", "[::ffff:192.0.2.7]:1", "[::1]:2");

    for unknown in [
        "PROXY UNKNOWN\r\n".to_owned(),
        "PROXY UNKNOWN \r\n".to_owned(),
        format!("PROXY UNKNOWN {longest} {longest} 65535 65535\r\n"),
        "PROXY UNKNOWN what ever\0it says\r\n".to_owned(),
    ] {
        assert_eq!(of(&unknown), Ok(Some((Header::Own, unknown.len()))), "{unknown:?}");
    }
}

#[test]
fn lines_that_differ_in_anything_are_refused() {
    for bad in [
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r \r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443 \r\n",
        "PROXY TCP4  192.168.0.1 192.168.0.11 56324 443\r\n",
        "PROXY  TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443 1\r\n",
        "PROXY TCP4 192.168.0.01 192.168.0.11 56324 443\r\n",
        "PROXY TCP4 192.168.0 192.168.0.11 56324 443\r\n",
        "PROXY TCP4 192.168.0.256 192.168.0.11 56324 443\r\n",
        "PROXY TCP4 ::1 ::1 56324 443\r\n",
        "PROXY TCP6 192.168.0.1 192.168.0.11 56324 443\r\n",
        "PROXY TCP6 ::1%lo ::1 56324 443\r\n",
        "PROXY TCP6 ::1::2 ::1 56324 443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 056324 443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 65536 443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 +1 443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 -1 443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11  443\r\n",
        "PROXY TCP5 192.168.0.1 192.168.0.11 56324 443\r\n",
        "PROXY tcp4 192.168.0.1 192.168.0.11 56324 443\r\n",
        "PROXY UNKNOWN2\r\n",
        "PROXY UDP4 192.168.0.1 192.168.0.11 1 2\r\n",
        "PROXY \r\n",
        "PROXY TCP4 \u{661}92.168.0.1 192.168.0.11 1 2\r\n",
    ] {
        assert_eq!(parse(bad.as_bytes()), Err(BadHeader::Malformed), "{bad:?}");
    }
    for missing in
        ["GET / HTTP/1.1\r\n", "proxy TCP4", "PROXYTCP4 1", "P ", "\x16\x03\x01", "\r\n\r\n\r"]
    {
        assert_eq!(parse(missing.as_bytes()), Err(BadHeader::Missing), "{missing:?}");
    }
    let endless = format!("PROXY UNKNOWN {}", "a".repeat(LINE_BYTES - 14));
    assert_eq!(parse(&endless.as_bytes()[..LINE_BYTES - 1]), Ok(None));
    assert_eq!(parse(endless.as_bytes()), Err(BadHeader::TooLong));
    let late = format!("{endless}\r\n");
    assert_eq!(parse(late.as_bytes()), Err(BadHeader::TooLong));
}

#[test]
fn bytes_are_read_as_the_specification_has_them() {
    let relayed = |family: u8, block: &[u8], source: &str, destination: &str| {
        let header = v2(0x21, family, block);
        let read = Header::Relayed(ends(source, destination));
        assert_eq!(parse(&header), Ok(Some((read, header.len()))));
        let followed = [&header[..], b"GET /"].concat();
        assert_eq!(parse(&followed), Ok(Some((read, header.len()))));
    };
    relayed(0x11, &IPV4, "192.168.0.1:56324", "192.168.0.11:443");
    // With a TLV behind the addresses: NOOP of one byte.
    let with_tlv = [&IPV4[..], &[0x04, 0, 1, 0]].concat();
    relayed(0x11, &with_tlv, "192.168.0.1:56324", "192.168.0.11:443");
    let mut ipv6 = [0; 36];
    ipv6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    (ipv6[15], ipv6[31], ipv6[33], ipv6[35]) = (7, 1, 8, 9);
    relayed(0x21, &ipv6, "[2001:db8::7]:8", "[::1]:9");

    for own in [
        v2(0x20, 0x00, &[]),
        // The block of LOCAL is skipped, its family not looked at.
        v2(0x20, 0x11, &IPV4),
        v2(0x20, 0xff, &[1, 2, 3]),
        v2(0x21, 0x00, &[]),
        v2(0x21, 0x00, &[0; 99]),
        v2(0x21, 0x10, &[]),
        v2(0x21, 0x01, &[]),
        v2(0x21, 0x12, &IPV4),
        v2(0x21, 0x22, &[0; 36]),
        v2(0x21, 0x31, &[0; 216]),
        v2(0x21, 0x32, &[0; 216]),
    ] {
        assert_eq!(parse(&own), Ok(Some((Header::Own, own.len()))), "{own:?}");
    }
}

#[test]
fn bytes_that_the_specification_does_not_have_are_refused() {
    for bad in [
        v2(0x11, 0x11, &IPV4),
        v2(0x31, 0x11, &IPV4),
        v2(0x22, 0x11, &IPV4),
        v2(0x2f, 0x11, &IPV4),
        v2(0x21, 0x13, &IPV4),
        v2(0x21, 0x41, &[0; 216]),
        v2(0x21, 0xf1, &[0; 216]),
        v2(0x21, 0x11, &IPV4[..11]),
        v2(0x21, 0x21, &[0; 35]),
        v2(0x21, 0x31, &[0; 215]),
    ] {
        assert_eq!(parse(&bad), Err(BadHeader::Malformed), "{bad:?}");
    }
    let longest = v2(0x21, 0x11, &[0; HEADER_BYTES - FIXED_BYTES]);
    assert!(matches!(parse(&longest), Ok(Some((Header::Relayed(_), HEADER_BYTES)))));
    let longer = v2(0x21, 0x11, &[0; HEADER_BYTES - FIXED_BYTES + 1]);
    assert_eq!(parse(&longer[..FIXED_BYTES]), Err(BadHeader::TooLong), "before it has come");
}

#[test]
fn headers_are_written_as_the_specification_has_them() {
    let client = ends("192.168.0.1:56324", "192.168.0.11:443");
    assert_eq!(
        write(ProxyProtocol::V1, &client),
        b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"
    );
    assert_eq!(write(ProxyProtocol::V2, &client), v2(0x21, 0x11, &IPV4));
    let mapped = ends("[::ffff:192.168.0.1]:56324", "192.168.0.11:443");
    assert_eq!(write(ProxyProtocol::V2, &mapped), v2(0x21, 0x11, &IPV4));
    let mixed = ends("[2001:db8::1]:1", "192.0.2.1:2");
    let line = b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 1 2\r\n";
    assert_eq!(write(ProxyProtocol::V1, &mixed), line);
    assert_eq!(write_own(ProxyProtocol::V2, &client), v2(0x20, 0, &[]));
    assert_eq!(write_own(ProxyProtocol::V1, &client), write(ProxyProtocol::V1, &client));
}

fn versions() -> impl Strategy<Value = ProxyProtocol> {
    prop_oneof![Just(ProxyProtocol::V1), Just(ProxyProtocol::V2)]
}

proptest::proptest! {
    #[test]
    fn what_is_written_is_read_and_no_part_of_it_is(
        version in versions(),
        source in any::<SocketAddr>(),
        destination in any::<SocketAddr>(),
        behind in any::<Vec<u8>>(),
    ) {
        let plain = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
        let written = write(version, &Endpoints { source, destination });
        for length in 0..written.len() {
            proptest::prop_assert_eq!(parse(&written[..length]), Ok(None));
        }
        let read = parse(&[&written[..], &behind].concat());
        let Ok(Some((Header::Relayed(read), used))) = read else {
            return Err(proptest::test_runner::TestCaseError::fail(format!("{read:?}")));
        };
        proptest::prop_assert_eq!(used, written.len());
        proptest::prop_assert_eq!(plain(read.source), plain(source));
        proptest::prop_assert_eq!(plain(read.destination), plain(destination));
    }

    #[test]
    fn more_bytes_never_change_what_was_read(
        begin in prop_oneof![
            Just(Vec::new()),
            Just(SIGNATURE.to_vec()),
            Just([&SIGNATURE[..], &[0x21, 0x11, 0]].concat()),
            Just(b"PROXY ".to_vec()),
            Just(b"PROXY TCP4 1.2.3.4 ".to_vec()),
        ],
        bytes in any::<Vec<u8>>(),
    ) {
        let input = [begin, bytes].concat();
        let whole = parse(&input);
        for length in 0..input.len() {
            let part = parse(&input[..length]);
            if part != Ok(None) {
                proptest::prop_assert_eq!(part, whole);
            }
        }
        if let Ok(Some((_, used))) = whole {
            proptest::prop_assert!(used <= input.len() && used <= HEADER_BYTES);
        }
    }
}
