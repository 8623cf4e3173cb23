//! Engine API, attaching to a container's standard streams: a hijacked connection that carries raw
//! stdin one way and multiplexed stdout and stderr the other
//! (`/containers/{id}/attach`: frames of stream type, three zeros, length, payload).

use std::io::{self, Read, Write};

use serde_json::Value;

use super::connect::Socket;
use super::{Daemon, DockerError};
use crate::base::deadline::Deadline;

/// Bytes read from the daemon at once.
const READ_BYTES: usize = 64 * 1024;

/// What a container printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output<'a> {
    /// Bytes of its stdout.
    Stdout(&'a [u8]),
    /// Bytes of its stderr.
    Stderr(&'a [u8]),
}

/// A container's standard streams. Dropping it ends the container's stdin.
#[derive(Debug)]
pub struct Attached {
    stream: io::BufReader<Socket>,
    buffer: Box<[u8]>,
    frames: FrameReader,
}

impl Daemon {
    /// Attaches to all three streams; to be done before the container starts, so that nothing is
    /// lost.
    ///
    /// # Errors
    /// When the container does not exist or the daemon does not hand over the connection.
    pub fn attach(&self, id: &str, deadline: Deadline) -> Result<Attached, DockerError> {
        let path = format!("/containers/{id}/attach?stream=1&stdin=1&stdout=1&stderr=1");
        self.hijack(&path, None, deadline)
    }

    /// Asks for a connection that then carries raw streams.
    pub(super) fn hijack(
        &self,
        path: &str,
        body: Option<&Value>,
        deadline: Deadline,
    ) -> Result<Attached, DockerError> {
        let version = self.api_version(deadline)?;
        let path = format!("/v{version}{path}");
        let mut headers = vec![("Connection", "Upgrade"), ("Upgrade", "tcp")];
        headers.extend(body.map(|_| ("Content-Type", "application/json")));
        let body = body.map(Value::to_string).unwrap_or_default();
        let answer = self
            .send("POST", &path, &headers, body.as_bytes(), deadline)?
            .accepted()?;
        // Podman's service may hand over with 200.
        if !matches!(answer.head.status, 101 | 200) {
            return Err(DockerError::Protocol(
                "attaching did not hand over the connection",
            ));
        }
        Ok(Attached {
            stream: answer.stream,
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            frames: FrameReader::default(),
        })
    }
}

impl Attached {
    /// Writes to the container's stdin.
    ///
    /// # Errors
    /// [`DockerError::TimedOut`] when the container does not read; otherwise the stream has ended.
    pub fn write(&mut self, bytes: &[u8], deadline: Deadline) -> Result<(), DockerError> {
        let socket = self.stream.get_mut();
        socket.set_deadline(deadline);
        let written = socket.write_all(bytes).and_then(|()| socket.flush());
        written.map_err(DockerError::from_io)
    }

    /// Whether the streams are open and nothing has come, without waiting.
    pub fn is_silent(&mut self) -> bool {
        self.stream.buffer().is_empty() && self.stream.get_mut().is_silent()
    }

    /// Waits for output and hands every piece to `take`; `false` once the streams have ended.
    ///
    /// # Errors
    /// [`DockerError::TimedOut`] when nothing came before the deadline.
    pub fn read(
        &mut self,
        deadline: Deadline,
        take: &mut dyn FnMut(Output<'_>),
    ) -> Result<bool, DockerError> {
        self.stream.get_mut().set_deadline(deadline);
        let count = self
            .stream
            .read(&mut self.buffer)
            .map_err(DockerError::from_io)?;
        let bytes = self.buffer.get(..count).unwrap_or_default();
        self.frames
            .read(bytes, take)
            .map_err(DockerError::Protocol)?;
        Ok(count > 0)
    }
}

/// Takes the multiplexed stream apart, at whatever boundaries it arrives.
#[derive(Debug, Default)]
struct FrameReader {
    header: [u8; 8],
    header_length: usize,
    payload_left: usize,
}

impl FrameReader {
    fn read(
        &mut self,
        mut bytes: &[u8],
        take: &mut dyn FnMut(Output<'_>),
    ) -> Result<(), &'static str> {
        while !bytes.is_empty() {
            if self.payload_left == 0 {
                bytes = self.read_header(bytes)?;
                continue;
            }
            let (payload, rest) = bytes.split_at(self.payload_left.min(bytes.len()));
            match self.header {
                [2, ..] => take(Output::Stderr(payload)),
                _ => take(Output::Stdout(payload)),
            }
            self.payload_left -= payload.len();
            bytes = rest;
        }
        Ok(())
    }

    /// Collects header bytes; what is left of `bytes` behind them.
    fn read_header<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], &'static str> {
        let missing = self.header.len() - self.header_length;
        let (part, rest) = bytes.split_at(missing.min(bytes.len()));
        for byte in part {
            if let Some(slot) = self.header.get_mut(self.header_length) {
                *slot = *byte;
            }
            self.header_length += 1;
        }
        if self.header_length == self.header.len() {
            let [kind, 0, 0, 0, a, b, c, d] = self.header else {
                return Err("the attached stream is not multiplexed");
            };
            if kind > 2 {
                return Err("the attached stream names an unknown channel");
            }
            let length = u32::from_be_bytes([a, b, c, d]);
            self.payload_left = usize::try_from(length).map_err(|_| "a frame is too long")?;
            self.header_length = 0;
        }
        Ok(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(chunks: &[&[u8]]) -> Result<(Vec<u8>, Vec<u8>), &'static str> {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut reader = FrameReader::default();
        for chunk in chunks {
            reader.read(chunk, &mut |output| match output {
                Output::Stdout(bytes) => out.extend_from_slice(bytes),
                Output::Stderr(bytes) => err.extend_from_slice(bytes),
            })?;
        }
        Ok((out, err))
    }

    #[test]
    fn frames_at_every_split_point() {
        let stream =
            b"\x01\0\0\0\0\0\0\x02ab\x02\0\0\0\0\0\0\x03err\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x01c";
        for split in 0..=stream.len() {
            let (left, right) = stream.split_at(split);
            let expected = (b"abc".to_vec(), b"err".to_vec());
            assert_eq!(collect(&[left, right]).unwrap(), expected, "{split}");
        }
    }

    #[test]
    fn a_raw_stream_is_refused() {
        assert!(collect(&[b"hello world"]).is_err());
        assert!(collect(&[b"\x07\0\0\0\0\0\0\x01x"]).is_err());
    }
}
