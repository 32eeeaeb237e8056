//! HTTP/1.1 with lengths given, which is all that our programs and API servers send.

use std::io::{self, Read, Write};

/// One request or response.
#[derive(Debug, Default)]
pub(crate) struct Message {
    /// The first line.
    pub(crate) first: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The second word of the first line: a path, or a status.
    pub(crate) fn second(&self) -> &str {
        self.first.split(' ').nth(1).unwrap_or_default()
    }
}

/// Reads messages of a stream, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Reader(Vec<u8>);

impl Reader {
    /// The next message; `None` at the end of the stream.
    pub(crate) fn request(&mut self, stream: &mut impl Read) -> io::Result<Option<Message>> {
        let head = loop {
            if let Some(at) = self.0.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more(stream)? {
                return Ok(None);
            }
        };
        let text = String::from_utf8_lossy(&self.0[..head]).into_owned();
        let mut lines = text.lines();
        let mut message =
            Message { first: lines.next().unwrap_or_default().to_owned(), ..Message::default() };
        for line in lines {
            if let Some((name, value)) = line.split_once(':') {
                message.headers.push((name.to_owned(), value.trim().to_owned()));
            }
        }
        let length = message.header("content-length").and_then(|text| text.parse().ok());
        let end = head + length.unwrap_or(0);
        while self.0.len() < end {
            if !self.more(stream)? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        message.body = self.0[head..end].to_vec();
        self.0.drain(..end);
        Ok(Some(message))
    }

    fn more(&mut self, stream: &mut impl Read) -> io::Result<bool> {
        let mut part = [0; 16 << 10];
        match stream.read(&mut part) {
            Ok(0) => Ok(false),
            Ok(length) => {
                self.0.extend_from_slice(&part[..length]);
                Ok(true)
            }
            // A peer that ends without a goodbye.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Writes a whole response.
pub(crate) fn respond(stream: &mut impl Write, status: u16, body: &str) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status} Status\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    stream.flush()
}
