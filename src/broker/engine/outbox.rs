//! What waits to be written to one connection, in order, with a count of its bytes.

use std::collections::VecDeque;

use super::publication::Frame;

/// Bytes that a waiting frame takes beside its publication.
const OVERHEAD: usize = 128;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    frames: VecDeque<Frame>,
    bytes: usize,
    /// Frames that are no PUBLISH: what the client itself asked for.
    answers: usize,
}

impl Outbox {
    /// Appends a frame.
    pub fn push(&mut self, frame: Frame) {
        self.bytes += frame.size() + OVERHEAD;
        self.answers += usize::from(matches!(frame, Frame::Packet(_)));
        self.frames.push_back(frame);
    }

    /// Takes the first frame.
    pub fn pop(&mut self) -> Option<Frame> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.size() + OVERHEAD;
        self.answers -= usize::from(matches!(frame, Frame::Packet(_)));
        if self.frames.is_empty() {
            // What a burst took is given back.
            self.frames.shrink_to(64);
        }
        Some(frame)
    }

    /// How many frames wait.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// How many of them are no PUBLISH.
    pub fn answers(&self) -> usize {
        self.answers
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// How many bytes wait, with what they cost in memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets the messages that the session still holds: they will be sent again. What is only
    /// here (answers, QoS 0) stays and is written before the connection closes.
    pub fn forget_stored(&mut self) {
        self.frames.retain(|frame| !matches!(frame, Frame::Publish(publish) if publish.id.is_some()));
        self.bytes = self.frames.iter().map(|frame| frame.size() + OVERHEAD).sum();
    }
}
