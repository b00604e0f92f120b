//! What hyper and h2 say by themselves, and how it is recognised: neither tells anybody but the client.

/// GOAWAY without a last stream, as nothing was promised, and with the reason ENHANCE_YOUR_CALM (RFC 9113, sections 6.8
/// and 7).
pub(super) const GOAWAY_ENHANCE_YOUR_CALM: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xb];

/// What h2 has had enough of when it ends a connection by itself, as it tells the client in the debug data of GOAWAY (RFC
/// 9113, section 6.8), and nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastWords {
    /// Streams that were reset before they were looked at.
    Resets,
    /// Streams that it had to reset.
    Mistakes,
    /// Frames of one head.
    Continuations,
    /// Small or empty DATA.
    SmallFrames,
    /// Bytes of one head.
    Head,
}

impl LastWords {
    pub(super) const ALL: [Self; 5] =
        [Self::Resets, Self::Mistakes, Self::Continuations, Self::SmallFrames, Self::Head];

    /// The words with which these bytes end, if they do.
    pub(super) fn at_the_end_of(bytes: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|words| bytes.ends_with(words.text()))
    }

    const fn text(self) -> &'static [u8] {
        match self {
            Self::Resets => b"too_many_resets",
            Self::Mistakes => b"too_many_internal_resets",
            Self::Continuations => b"too_many_continuations",
            Self::SmallFrames => b"too_many_data_frames",
            Self::Head => b"header_list_way_too_large",
        }
    }
}

/// Whether these bytes are the answer that hyper gives to a head by itself, and nothing besides: no other response has so
/// few fields, because each has a request id.
pub(super) fn is_bare_refusal(bytes: &[u8]) -> bool {
    let Some(fields) = bytes.strip_prefix(b"HTTP/1.1 4").and_then(|rest| rest.strip_suffix(b"\r\n\r\n")) else {
        return false;
    };
    let mut lines = fields.split(|byte| *byte == b'\n').skip(1);
    lines.all(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        line == b"connection: close" || line == b"content-length: 0" || line.starts_with(b"date: ")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hyper_says_by_itself_is_told_from_what_others_say() {
        let of_hyper = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: now\r\n\r\n";
        assert!(is_bare_refusal(of_hyper.as_bytes()));
        for other in [
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\nx-request-id: 1\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n",
            &format!("HTTP/1.1 404 Not Found\r\nx-request-id: 1\r\n\r\n{of_hyper}"),
            &format!("content{of_hyper}"),
            "",
        ] {
            assert!(!is_bare_refusal(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn the_last_words_of_h2_are_those_at_the_end() {
        for (bytes, words) in [
            (&b"\0\0\x0btoo_many_resets"[..], Some(LastWords::Resets)),
            (b"\0\0\x0btoo_many_internal_resets", Some(LastWords::Mistakes)),
            (b"too_many_continuations", Some(LastWords::Continuations)),
            (b"too_many_data_frames", Some(LastWords::SmallFrames)),
            (b"too_many_data_frames.", None),
            (b"", None),
        ] {
            assert_eq!(LastWords::at_the_end_of(bytes), words);
        }
        for (place, words) in LastWords::ALL.into_iter().enumerate() {
            assert_eq!(words as usize, place);
        }
    }
}
