//! ZooKeeper's record encoding, written a second time: big-endian integers, length-prefixed
//! strings and buffers, -1 for null. Just enough for a client, and for frames that no client sends.

/// Builds the body of a frame field by field.
#[derive(Clone, Default)]
pub struct Body(Vec<u8>);

impl Body {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn byte(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub fn int(mut self, value: i32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub fn long(mut self, value: i64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub fn buffer(self, bytes: &[u8]) -> Self {
        let length = i32::try_from(bytes.len()).expect("short test data");
        self.int(length).raw(bytes)
    }

    pub fn string(self, text: &str) -> Self {
        self.buffer(text.as_bytes())
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// One ACL entry: everybody may do everything.
    pub fn open_acl(self) -> Self {
        self.int(1).int(31).string("world").string("anyone")
    }

    pub fn bytes(self) -> Vec<u8> {
        self.0
    }

    /// With its length in front.
    pub fn frame(self) -> Vec<u8> {
        Self::new().buffer(&self.0).0
    }
}

/// Reads fields; a frame that ends early fails the test, for no correct server sends one.
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        assert!(
            count <= self.0.len(),
            "record ends {} bytes early",
            count - self.0.len()
        );
        let (head, rest) = self.0.split_at(count);
        self.0 = rest;
        head
    }

    pub fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    pub fn int(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().expect("4 bytes"))
    }

    pub fn long(&mut self) -> i64 {
        i64::from_be_bytes(self.take(8).try_into().expect("8 bytes"))
    }

    /// `None` is null.
    pub fn buffer(&mut self) -> Option<&'a [u8]> {
        let length = self.int();
        assert!(length >= -1, "buffer of length {length}");
        usize::try_from(length).ok().map(|length| self.take(length))
    }

    pub fn string(&mut self) -> String {
        String::from_utf8(self.buffer().unwrap_or_default().to_vec()).expect("UTF-8")
    }

    pub fn strings(&mut self) -> Vec<String> {
        (0..self.int()).map(|_| self.string()).collect()
    }

    pub fn rest(&self) -> &'a [u8] {
        self.0
    }
}
