//! What waits to be written to one connection, in order, with a count of its bytes.

use std::collections::VecDeque;

use super::limits::{BACKLOG_STEP, COPY_BYTES};
use super::publication::Frame;

/// Bytes that a waiting frame takes beside its publication.
const OVERHEAD: usize = 128;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    frames: VecDeque<Frame>,
    bytes: usize,
    /// Those of them that are no large payload: such a one is counted once, however many wait for it.
    light: usize,
    /// Steps that the total was told of.
    settled: usize,
    /// Frames that are no PUBLISH: what the client itself asked for.
    answers: usize,
}

impl Outbox {
    /// Appends a frame.
    pub fn push(&mut self, frame: Frame) {
        self.bytes += frame.size() + OVERHEAD;
        self.light += light(&frame);
        self.answers += usize::from(matches!(frame, Frame::Packet(_)));
        self.frames.push_back(frame);
    }

    /// Takes the first frame.
    pub fn pop(&mut self) -> Option<Frame> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.size() + OVERHEAD;
        self.light -= light(&frame);
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
        self.light = self.frames.iter().map(light).sum();
    }

    /// Forgets all that waits.
    pub fn clear(&mut self) {
        self.frames.clear();
        (self.bytes, self.light, self.answers) = (0, 0, 0);
    }

    /// Tells a total by how many steps what waits here has grown or shrunk since the last time.
    pub fn settle(&mut self, total: &mut usize) {
        let steps = self.light / BACKLOG_STEP;
        if steps != self.settled {
            *total = total.saturating_add(steps).saturating_sub(self.settled);
            self.settled = steps;
        }
    }
}

/// What a frame counts against the total.
fn light(frame: &Frame) -> usize {
    let size = frame.size();
    OVERHEAD + if size > COPY_BYTES { 0 } else { size }
}
