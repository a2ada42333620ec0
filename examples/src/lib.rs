//! The examples are under this package's folders; this library is empty.
