//! WebSockets as the edge must know them: where their frames end, and how both sides are told that it goes away.

mod handshake;

pub(crate) use self::handshake::{accept, key};
use crate::stream::{Stream, send_now};

/// A frame's head at its longest: two bytes, a length of eight, a mask of four (RFC 6455, 5.2).
const HEAD_BYTES: usize = 14;
/// Close with 1001, "going away" (RFC 6455, 7.4.1), as servers send it.
const GOING_AWAY: &[u8] = b"\x88\x02\x03\xe9";
/// The same as clients send it, with a mask; it hides nothing from the server that it goes to.
const GOING_AWAY_MASKED: &[u8] = b"\x88\x82\0\0\0\0\x03\xe9";

/// Follows one direction of a WebSocket: a frame of the edge's own fits only between two others.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// Bytes left of the payload.
    left: u64,
    head: [u8; HEAD_BYTES],
    have: usize,
    /// A close frame has passed: nothing may follow it.
    closed: bool,
}

impl Frames {
    /// These bytes have passed.
    pub(crate) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            self.head[self.have] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            if self.have >= 2 && self.have == self.head_bytes() {
                self.closed |= self.head[0] & 0x0f == 8;
                self.left = self.payload_bytes();
                self.have = 0;
            }
        }
    }

    fn head_bytes(&self) -> usize {
        let mask = if self.head[1] & 0x80 == 0 { 0 } else { 4 };
        2 + mask
            + match self.head[1] & 0x7f {
                126 => 2,
                127 => 8,
                _ => 0,
            }
    }

    fn payload_bytes(&self) -> u64 {
        let long = |count: usize| {
            self.head[2..2 + count].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        };
        match self.head[1] & 0x7f {
            126 => long(2),
            127 => long(8),
            short => u64::from(short),
        }
    }

    /// Whether a frame may follow what has passed.
    fn may_follow(&self) -> bool {
        self.left == 0 && self.have == 0 && !self.closed
    }
}

/// Both directions of a WebSocket.
#[derive(Debug, Default)]
pub(crate) struct WebSocket {
    pub(crate) to_client: Frames,
    pub(crate) to_server: Frames,
}

impl WebSocket {
    /// Tells both sides that the other one goes away, as far as a frame can follow what they have got; whether the client
    /// was told.
    pub(crate) fn say_goodbye<C: Stream, B: Stream>(&self, client: &C, server: &B) -> bool {
        if self.to_server.may_follow() {
            send_now(server, GOING_AWAY_MASKED);
        }
        if self.to_client.may_follow() {
            send_now(client, GOING_AWAY);
        }
        self.to_client.may_follow()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(opcode: u8, masked: bool, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0x80 | opcode];
        let mask = if masked { 0x80 } else { 0 };
        match payload.len() {
            short @ 0..=125 => out.push(mask | short as u8),
            middle @ 126..=65_535 => {
                out.push(mask | 126);
                out.extend_from_slice(&(middle as u16).to_be_bytes());
            }
            long => {
                out.push(mask | 127);
                out.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        if masked {
            out.extend_from_slice(&[1, 2, 3, 4]);
        }
        out.extend_from_slice(payload);
        out
    }

    proptest! {
        #[test]
        fn a_frame_may_follow_between_two_only(
            frames in proptest::collection::vec(
                (1_u8..3, any::<bool>(), prop_oneof![0_usize..130, 65_500_usize..65_600]), 1..6),
            piece in 1_usize..70_000,
        ) {
            let mut whole = Vec::new();
            let mut ends = vec![0];
            for (opcode, masked, length) in frames {
                whole.extend(frame(opcode, masked, &vec![0x88; length]));
                ends.push(whole.len());
            }
            let mut followed = Frames::default();
            let mut at = 0;
            for piece in whole.chunks(piece) {
                followed.pass(piece);
                at += piece.len();
                prop_assert_eq!(followed.may_follow(), ends.contains(&at));
            }
            followed.pass(&frame(8, false, b"\x03\xe8"));
            prop_assert!(!followed.may_follow(), "nothing follows a close");
        }

        #[test]
        fn any_bytes_are_passed(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let (mut whole, mut single) = (Frames::default(), Frames::default());
            whole.pass(&bytes);
            bytes.iter().for_each(|byte| single.pass(&[*byte]));
            prop_assert_eq!(whole.may_follow(), single.may_follow());
        }
    }
}
