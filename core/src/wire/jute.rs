//! Jute, ZooKeeper's record encoding: big-endian integers, length-prefixed strings and buffers
//! (-1 is null), counted vectors, records as their fields in order without tags.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::limits::RECORD_FIELD_BYTES_MAX;

/// Why bytes are not the record that they should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// The bytes end inside a field. On a stream: more may come.
    Truncated,
    /// A string or buffer claims a length that is negative or over the limit.
    Length(i32),
    /// A field holds a value that the record does not allow: which field.
    Value(&'static str),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("ends inside a field"),
            Self::Length(n) => write!(f, "unreasonable length {n}"),
            Self::Value(field) => write!(f, "impossible value of {field}"),
        }
    }
}

impl core::error::Error for DecodeError {}

pub type Decoded<T> = Result<T, DecodeError>;

/// Reads fields one after the other from borrowed bytes.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    pub fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn take(&mut self, n: usize) -> Decoded<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..n).ok_or(DecodeError::Truncated)?;
        self.at += n;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub fn u8(&mut self) -> Decoded<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// Any non-zero byte is true, as in Java.
    pub fn bool(&mut self) -> Decoded<bool> {
        Ok(self.u8()? != 0)
    }

    pub fn i32(&mut self) -> Decoded<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub fn i64(&mut self) -> Decoded<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A length-prefixed buffer; `None` is null, which is not the same as empty.
    pub fn buffer(&mut self) -> Decoded<Option<&'a [u8]>> {
        let n = self.i32()?;
        match n {
            -1 => Ok(None),
            0.. if n as usize <= RECORD_FIELD_BYTES_MAX => self.take(n as usize).map(Some),
            _ => Err(DecodeError::Length(n)),
        }
    }

    /// A length-prefixed string; bytes that are not UTF-8 become U+FFFD, as in Java.
    pub fn string(&mut self) -> Decoded<Option<Cow<'a, str>>> {
        Ok(self.buffer()?.map(String::from_utf8_lossy))
    }

    /// Like [`Self::string`], null read as empty (kazoo writes empty strings as null).
    pub fn string_or_empty(&mut self) -> Decoded<Cow<'a, str>> {
        Ok(self.string()?.unwrap_or_default())
    }

    /// A vector's count: `None` is null; other negative counts mean no elements, as in Java. The
    /// count is not trusted: reserve no memory by it.
    pub fn count(&mut self) -> Decoded<Option<usize>> {
        let n = self.i32()?;
        Ok(if n == -1 {
            None
        } else {
            Some(n.max(0) as usize)
        })
    }

    /// A vector of anything, null read as empty.
    pub fn vector<T>(&mut self, mut one: impl FnMut(&mut Self) -> Decoded<T>) -> Decoded<Vec<T>> {
        let n = self.count()?.unwrap_or(0);
        let mut out = Vec::new();
        for _ in 0..n {
            out.push(one(self)?);
        }
        Ok(out)
    }
}

/// Appends fields to a byte vector.
pub trait Write {
    fn put_u8(&mut self, v: u8);
    fn put_bool(&mut self, v: bool);
    fn put_i32(&mut self, v: i32);
    fn put_i64(&mut self, v: i64);
    /// `None` is written as null.
    fn put_buffer(&mut self, v: Option<&[u8]>);
    fn put_string(&mut self, v: &str);
    /// The count of a vector that follows.
    fn put_count(&mut self, n: usize);
}

impl Write for Vec<u8> {
    fn put_u8(&mut self, v: u8) {
        self.push(v);
    }

    fn put_bool(&mut self, v: bool) {
        self.push(u8::from(v));
    }

    fn put_i32(&mut self, v: i32) {
        self.extend_from_slice(&v.to_be_bytes());
    }

    fn put_i64(&mut self, v: i64) {
        self.extend_from_slice(&v.to_be_bytes());
    }

    fn put_buffer(&mut self, v: Option<&[u8]>) {
        match v {
            None => self.put_i32(-1),
            Some(bytes) => {
                self.put_count(bytes.len());
                self.extend_from_slice(bytes);
            }
        }
    }

    fn put_string(&mut self, v: &str) {
        self.put_buffer(Some(v.as_bytes()));
    }

    fn put_count(&mut self, n: usize) {
        self.put_i32(i32::try_from(n).expect("no field reaches 2 GiB"));
    }
}
