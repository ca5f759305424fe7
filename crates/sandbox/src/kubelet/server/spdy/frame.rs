//! SPDY/3.1 frames: reading a client's, writing ours.
//!
//! # Source
//! The SPDY/3.1 draft, section 2.6. A control frame is a version, a type, flags, a length and its body; a data frame a
//! stream, flags, a length and its bytes. Header blocks of one direction share one zlib stream.

use super::dictionary;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::{Decompress, FlushDecompress};

const VERSION: u16 = 3;
const CONTROL: u32 = 1 << 31;
const HEADER: usize = 8;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

const FIN: u8 = 1;

/// 64 KiB: a client's header blocks have some hundred bytes; more is no port-forward.
const BLOCK: usize = 64 * 1024;

/// A client broke the protocol.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    /// A control frame of another version.
    #[error("SPDY version {0}")]
    Version(u16),
    /// A control frame that is too short.
    #[error("a frame of type {0} that is cut short")]
    Short(u16),
    /// Headers that cannot be read.
    #[error("a header block that cannot be read")]
    Headers,
}

/// What a client sends, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A new stream.
    SynStream {
        stream: u32,
        headers: Vec<(String, String)>,
        fin: bool,
    },
    /// Bytes of a stream.
    Data {
        stream: u32,
        bytes: Bytes,
        fin: bool,
    },
    /// A stream is given up.
    Reset { stream: u32 },
    /// To be sent back.
    Ping { id: u32 },
    /// No more streams come.
    GoAway,
    /// Nothing to be done about it.
    Other,
}

/// Reads frames from bytes as they come.
pub(super) struct Decoder {
    buffer: BytesMut,
    inflate: Decompress,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self {
            buffer: BytesMut::new(),
            inflate: Decompress::new(true),
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if it is there.
    ///
    /// # Errors
    /// The bytes are no SPDY/3.1; nothing after them can be read.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, Error> {
        if self.buffer.len() < HEADER {
            return Ok(None);
        }
        let mut header = &self.buffer[..HEADER];
        let first = header.get_u32();
        let second = header.get_u32();
        let [flags, ..] = second.to_be_bytes();
        let length = usize::try_from(second & 0x00ff_ffff).unwrap_or(0);
        if self.buffer.len() < HEADER + length {
            self.buffer.reserve(HEADER + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(HEADER);
        let body = self.buffer.split_to(length).freeze();
        let fin = flags & FIN != 0;
        if first & CONTROL == 0 {
            return Ok(Some(Frame::Data {
                stream: first,
                bytes: body,
                fin,
            }));
        }
        let [version, kind] =
            [first >> 16 & 0x7fff, first & 0xffff].map(|n| u16::try_from(n).unwrap_or(0));
        if version != VERSION {
            return Err(Error::Version(version));
        }
        self.control(kind, fin, body).map(Some)
    }

    fn control(&mut self, kind: u16, fin: bool, mut body: Bytes) -> Result<Frame, Error> {
        let enough = |body: &Bytes, n: usize| {
            if body.len() < n {
                Err(Error::Short(kind))
            } else {
                Ok(())
            }
        };
        Ok(match kind {
            SYN_STREAM => {
                // The stream, the one it belongs to, a priority and a slot.
                enough(&body, 10)?;
                let stream = body.get_u32() & !CONTROL;
                body.advance(6);
                let headers = self.headers(&body)?;
                Frame::SynStream {
                    stream,
                    headers,
                    fin,
                }
            }
            SYN_REPLY | HEADERS => {
                enough(&body, 4)?;
                body.advance(4);
                // What follows is compressed against what came before: none may be left out.
                self.headers(&body)?;
                Frame::Other
            }
            RST_STREAM => {
                enough(&body, 4)?;
                Frame::Reset {
                    stream: body.get_u32() & !CONTROL,
                }
            }
            PING => {
                enough(&body, 4)?;
                Frame::Ping { id: body.get_u32() }
            }
            GOAWAY => Frame::GoAway,
            _ => Frame::Other,
        })
    }

    fn headers(&mut self, block: &[u8]) -> Result<Vec<(String, String)>, Error> {
        let mut block = Bytes::from(self.inflate(block)?);
        let number = |block: &mut Bytes| {
            if block.len() < 4 {
                return Err(Error::Headers);
            }
            usize::try_from(block.get_u32()).map_err(|_| Error::Headers)
        };
        let text = |block: &mut Bytes| {
            let length = number(block)?;
            if block.len() < length {
                return Err(Error::Headers);
            }
            String::from_utf8(block.split_to(length).into()).map_err(|_| Error::Headers)
        };
        let count = number(&mut block)?;
        let mut headers = Vec::new();
        for _ in 0..count {
            headers.push((text(&mut block)?, text(&mut block)?));
        }
        Ok(headers)
    }

    fn inflate(&mut self, mut block: &[u8]) -> Result<Vec<u8>, Error> {
        let mut all = Vec::with_capacity(512);
        loop {
            let before = (self.inflate.total_in(), self.inflate.total_out());
            let result = self
                .inflate
                .decompress_vec(block, &mut all, FlushDecompress::Sync);
            let read =
                usize::try_from(self.inflate.total_in() - before.0).map_err(|_| Error::Headers)?;
            block = &block[read..];
            if let Err(error) = result {
                error.needs_dictionary().ok_or(Error::Headers)?;
                self.inflate
                    .set_dictionary(&dictionary::bytes())
                    .map_err(|_| Error::Headers)?;
                continue;
            }
            if all.len() > BLOCK {
                return Err(Error::Headers);
            }
            if all.len() == all.capacity() {
                // Perhaps there is more.
                all.reserve(all.len());
                continue;
            }
            if block.is_empty() {
                return Ok(all);
            }
            if (self.inflate.total_in(), self.inflate.total_out()) == before {
                return Err(Error::Headers);
            }
        }
    }
}

/// Writes frames. One for a connection: the first header block begins the zlib stream of all.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    begun: bool,
}

impl Encoder {
    /// Accepts a stream, with no headers. They are stored, not compressed, which every inflater reads.
    pub(super) fn syn_reply(&mut self, stream: u32) -> Bytes {
        let mut block = Vec::new();
        if !self.begun {
            // A zlib header: deflate, 32 KiB window, no dictionary.
            block.extend_from_slice(&[0x78, 0x01]);
            self.begun = true;
        }
        let headers = 0_u32.to_be_bytes();
        // A stored block with its length and the length's complement, then an empty one, which flushes.
        block.extend_from_slice(&[0x00, 0x04, 0x00, 0xfb, 0xff]);
        block.extend_from_slice(&headers);
        block.extend_from_slice(&[0x00, 0x00, 0x00, 0xff, 0xff]);
        control(SYN_REPLY, &[&stream.to_be_bytes(), &block])
    }
}

/// Bytes of a stream.
pub(super) fn data(stream: u32, bytes: &[u8]) -> Bytes {
    data_frame(stream, 0, bytes)
}

/// The end of our side of a stream.
pub(super) fn fin(stream: u32) -> Bytes {
    data_frame(stream, FIN, &[])
}

/// The answer to a ping.
pub(super) fn pong(id: u32) -> Bytes {
    control(PING, &[&id.to_be_bytes()])
}

fn data_frame(stream: u32, flags: u8, bytes: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEADER + bytes.len());
    frame.put_u32(stream);
    frame.put_u32(length(flags, bytes.len()));
    frame.put_slice(bytes);
    frame.freeze()
}

fn control(kind: u16, parts: &[&[u8]]) -> Bytes {
    let size: usize = parts.iter().map(|p| p.len()).sum();
    let mut frame = BytesMut::with_capacity(HEADER + size);
    frame.put_u32(CONTROL | u32::from(VERSION) << 16 | u32::from(kind));
    frame.put_u32(length(0, size));
    for part in parts {
        frame.put_slice(part);
    }
    frame.freeze()
}

/// Flags and the length of what follows; nothing here writes as much as 16 MiB in one frame.
fn length(flags: u8, size: usize) -> u32 {
    u32::from(flags) << 24 | (u32::try_from(size).unwrap_or(0) & 0x00ff_ffff)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use flate2::{Compress, Compression, FlushCompress};

    /// A client's side of the codec: compressed headers with the dictionary.
    pub(in super::super) struct Peer {
        deflate: Compress,
    }

    impl Peer {
        pub(in super::super) fn new() -> Self {
            let mut deflate = Compress::new(Compression::best(), true);
            deflate.set_dictionary(&dictionary::bytes()).unwrap();
            Self { deflate }
        }

        pub(in super::super) fn syn_stream(
            &mut self,
            stream: u32,
            headers: &[(&str, &str)],
        ) -> Bytes {
            let mut block = BytesMut::new();
            block.put_u32(headers.len() as u32);
            for text in headers.iter().flat_map(|(n, v)| [n, v]) {
                block.put_u32(text.len() as u32);
                block.put_slice(text.as_bytes());
            }
            let mut compressed = Vec::with_capacity(4096);
            self.deflate
                .compress_vec(&block, &mut compressed, FlushCompress::Sync)
                .unwrap();
            control(SYN_STREAM, &[&stream.to_be_bytes(), &[0; 6], &compressed])
        }
    }

    pub(in super::super) fn reset(stream: u32) -> Bytes {
        control(RST_STREAM, &[&stream.to_be_bytes(), &5_u32.to_be_bytes()])
    }

    /// Frames of a server that stores its headers; replies lose them.
    #[test]
    fn frames_are_read_however_they_are_cut() {
        let mut peer = Peer::new();
        let sent = [
            ("streamtype", "error"),
            ("port", "5432"),
            ("requestid", "7"),
        ];
        let mut wire = Vec::new();
        wire.extend(peer.syn_stream(1, &sent));
        wire.extend(peer.syn_stream(
            3,
            &[("streamtype", "data"), ("port", "5432"), ("requestid", "7")],
        ));
        wire.extend(data(3, b"hello"));
        wire.extend(fin(3));
        wire.extend(pong(9));
        wire.extend(reset(3));
        wire.extend(control(GOAWAY, &[&[0; 8]]));
        wire.extend(control(4, &[&[0; 4]]));
        for cut in [1, 2, 3, 7, 8, 9, 100, wire.len()] {
            let mut decoder = Decoder::new();
            let mut frames = Vec::new();
            for piece in wire.chunks(cut) {
                decoder.push(piece);
                while let Some(frame) = decoder.next().unwrap() {
                    frames.push(frame);
                }
            }
            let Frame::SynStream {
                stream: 1,
                headers,
                fin: false,
            } = &frames[0]
            else {
                panic!("{frames:?}");
            };
            assert_eq!(
                headers
                    .iter()
                    .map(|(n, v)| (&**n, &**v))
                    .collect::<Vec<_>>(),
                sent
            );
            assert!(
                matches!(&frames[1], Frame::SynStream { stream: 3, headers, .. } if headers[0].1 == "data")
            );
            let rest = [
                Frame::Data {
                    stream: 3,
                    bytes: Bytes::from_static(b"hello"),
                    fin: false,
                },
                Frame::Data {
                    stream: 3,
                    bytes: Bytes::new(),
                    fin: true,
                },
                Frame::Ping { id: 9 },
                Frame::Reset { stream: 3 },
                Frame::GoAway,
                Frame::Other,
            ];
            assert_eq!(frames[2..], rest, "cut at {cut}");
        }
    }

    #[test]
    fn replies_share_one_zlib_stream() {
        let mut encoder = Encoder::default();
        let mut inflate = Decompress::new(true);
        for stream in [1, 3, 5] {
            let frame = encoder.syn_reply(stream);
            let mut out = Vec::with_capacity(64);
            inflate
                .decompress_vec(&frame[12..], &mut out, FlushDecompress::Sync)
                .unwrap();
            assert_eq!(out, [0, 0, 0, 0]);
            assert_eq!(frame[8..12], u32::to_be_bytes(stream));
        }
    }

    #[test]
    fn what_is_no_spdy_is_an_error() {
        let mut decoder = Decoder::new();
        decoder.push(b"\x80\x02\x00\x01\x00\x00\x00\x00");
        assert_eq!(decoder.next(), Err(Error::Version(2)));
        let mut decoder = Decoder::new();
        decoder.push(&control(SYN_STREAM, &[&[0; 10], b"no zlib"]));
        assert_eq!(decoder.next(), Err(Error::Headers));
        let mut decoder = Decoder::new();
        decoder.push(&control(PING, &[&[0; 3]]));
        assert_eq!(decoder.next(), Err(Error::Short(PING)));
        // A block that inflates without end.
        let mut deflate = Compress::new(Compression::best(), true);
        let mut bomb = Vec::with_capacity(64 * 1024);
        deflate
            .compress_vec(&vec![0; 1 << 20], &mut bomb, FlushCompress::Sync)
            .unwrap();
        let mut decoder = Decoder::new();
        decoder.push(&control(SYN_STREAM, &[&[0; 10], &bomb]));
        assert_eq!(decoder.next(), Err(Error::Headers));
    }
}
