//! Bytes as choices.

/// Reads choices off the front of bytes. Where they end, every choice is the first.
#[derive(Clone, Debug)]
pub struct Choices<'bytes> {
    rest: &'bytes [u8],
}

impl<'bytes> Choices<'bytes> {
    /// From the beginning.
    #[must_use]
    pub const fn new(bytes: &'bytes [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether none is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What was not read.
    #[must_use]
    pub const fn rest(&self) -> &'bytes [u8] {
        self.rest
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        first
    }

    /// The next byte as a number.
    pub fn number(&mut self) -> u64 {
        u64::from(self.byte())
    }

    /// One of so many; 0 if there are none.
    pub fn pick(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count.max(1)
    }

    /// Up to so many of the next bytes.
    pub fn take(&mut self, count: usize) -> &'bytes [u8] {
        let (front, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        front
    }

    /// Bytes behind their length, which has two bytes.
    pub fn block(&mut self) -> &'bytes [u8] {
        let length = usize::from(u16::from_le_bytes([self.byte(), self.byte()]));
        self.take(length)
    }
}
