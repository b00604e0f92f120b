//! HPACK (RFC 7541), read: everything that others write.

use std::collections::VecDeque;

/// A field line as it stands in a block, whatever it holds.
pub(crate) type Line = (Vec<u8>, Vec<u8>);

/// Reads the blocks of one connection, in order.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    dynamic: VecDeque<Line>,
}

/// Bytes of the dynamic table (section 4.2): the size that both sides begin with.
const DYNAMIC_BYTES: usize = 4096;

impl Reader {
    /// The field lines of a block; panics where it is none.
    #[track_caller]
    pub(crate) fn read(&mut self, mut block: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        while let Some(&first) = block.first() {
            match first {
                0x80.. => {
                    let index = read_number(&mut block, 7);
                    lines.push(self.entry(index));
                }
                0x40.. => {
                    let line = self.literal(&mut block, 6);
                    self.remember(line.clone());
                    lines.push(line);
                }
                0x20.. => {
                    read_number(&mut block, 5);
                }
                _ => lines.push(self.literal(&mut block, 4)),
            }
        }
        lines
    }

    fn literal(&self, block: &mut &[u8], prefix_bits: u8) -> Line {
        let name = match read_number(block, prefix_bits) {
            0 => read_text(block),
            index => self.entry(index).0,
        };
        (name, read_text(block))
    }

    fn entry(&self, index: usize) -> Line {
        match STATIC.get(index - 1) {
            Some((name, value)) => (name.as_bytes().to_vec(), value.as_bytes().to_vec()),
            None => self.dynamic[index - 1 - STATIC.len()].clone(),
        }
    }

    fn remember(&mut self, line: Line) {
        self.dynamic.push_front(line);
        while self.dynamic.iter().map(|(name, value)| name.len() + value.len() + 32).sum::<usize>() > DYNAMIC_BYTES {
            self.dynamic.pop_back();
        }
    }
}

fn read_number(block: &mut &[u8], prefix_bits: u8) -> usize {
    let full = (1usize << prefix_bits) - 1;
    let mut number = usize::from(take_byte(block)) & full;
    if number < full {
        return number;
    }
    for shift in (0..).step_by(7) {
        let byte = take_byte(block);
        number += usize::from(byte & 127) << shift;
        if byte < 128 {
            break;
        }
    }
    number
}

fn take_byte(block: &mut &[u8]) -> u8 {
    let byte = block[0];
    *block = &block[1..];
    byte
}

fn read_text(block: &mut &[u8]) -> Vec<u8> {
    let huffman = block[0] & 0x80 != 0;
    let length = read_number(block, 7);
    let (text, rest) = block.split_at(length);
    *block = rest;
    if huffman { undo_huffman(text) } else { text.to_vec() }
}

/// The length of the Huffman code of each byte, in bits, as a digit to the base of 36. The code is canonical: lengths
/// alone say what it is (RFC 7541, appendix B).
const HUFFMAN_BITS: &[u8; 256] = b"dnsssssssoussussssssssusssssssss6aacd68baa8b8666555666666678f6ca\
    d67777777777777777777777878djde6f56565666577666567655677777fbeds\
    kmkkmmmnmnnnnnonoomnonnnnlmnmnnomlkmmnnlnmmolmnnllmlnmnnkmmmnmmn\
    qqkjmnmpqqqrrqopjlqrrqrollqqsrrrkoklmllnmmppooqnqrqqrrrrrsrrrrrq";

fn undo_huffman(coded: &[u8]) -> Vec<u8> {
    let bits_of = |symbol: usize| (HUFFMAN_BITS[symbol] as char).to_digit(36).unwrap();
    let mut order: Vec<usize> = (0..HUFFMAN_BITS.len()).collect();
    order.sort_by_key(|symbol| (bits_of(*symbol), *symbol));
    let (mut text, mut seen, mut bits) = (Vec::new(), 0u32, 0u32);
    for index in 0..coded.len() * 8 {
        seen = seen << 1 | u32::from(coded[index / 8] >> (7 - index % 8) & 1);
        bits += 1;
        let (mut code, mut length) = (0u32, bits_of(order[0]));
        for symbol in &order {
            code <<= bits_of(*symbol) - length;
            length = bits_of(*symbol);
            if length > bits {
                break;
            }
            if length == bits && code == seen {
                text.push(*symbol as u8);
                (seen, bits) = (0, 0);
                break;
            }
            code += 1;
        }
    }
    text
}

/// RFC 7541, appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];
