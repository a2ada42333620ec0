//! nftables' netlink messages, as bytes: `linux/netfilter/nfnetlink.h` and
//! `linux/netfilter/nf_tables.h`. Numbers inside attributes are big-endian.

use std::ops::Range;

use netlink_packet_core::{
    NLA_F_NESTED, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST, emit_u16,
    emit_u32,
};

/// What a message asks for (`enum nf_tables_msg_types`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    NewTable,
    GetTable,
    DelTable,
    NewChain,
    NewRule,
    DelRule,
    NewSet,
    NewElement,
    GetElement,
    DelElement,
    GetGeneration,
}

impl Ask {
    const fn number(self) -> u16 {
        match self {
            Self::NewTable => 0,
            Self::GetTable => 1,
            Self::DelTable => 2,
            Self::NewChain => 3,
            Self::NewRule => 6,
            Self::DelRule => 8,
            Self::NewSet => 9,
            Self::NewElement => 12,
            Self::GetElement => 13,
            Self::DelElement => 14,
            Self::GetGeneration => 16,
        }
    }

    /// Flags in addition to those that every message has. A rule goes after those that are there.
    const fn flags(self) -> u16 {
        match self {
            Self::NewTable | Self::NewChain | Self::NewSet | Self::NewElement => NLM_F_CREATE,
            Self::NewRule => NLM_F_CREATE | NLM_F_APPEND,
            Self::GetTable
            | Self::DelTable
            | Self::DelRule
            | Self::GetElement
            | Self::DelElement
            | Self::GetGeneration => 0,
        }
    }
}

/// `NFNL_SUBSYS_NFTABLES`.
const NFTABLES: u16 = 10;
/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END`.
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
/// `NFPROTO_INET`, and `AF_UNSPEC` around a batch.
const INET: u8 = 1;
const UNSPECIFIED: u8 = 0;

/// Messages to the kernel, one after another; each has its own sequence number.
#[derive(Debug)]
pub(super) struct Messages {
    bytes: Vec<u8>,
    first: u32,
    next: u32,
}

impl Messages {
    /// No messages yet; they will be numbered from here.
    pub(super) const fn from_sequence(first: u32) -> Self {
        Self {
            bytes: Vec::new(),
            first,
            next: first,
        }
    }

    /// Opens a transaction.
    pub(super) fn begin(&mut self) {
        self.message(BATCH_BEGIN, NLM_F_REQUEST, UNSPECIFIED, NFTABLES, |_| ());
    }

    /// Closes a transaction: all of it is done, or nothing.
    pub(super) fn end(&mut self) {
        self.message(BATCH_END, NLM_F_REQUEST, UNSPECIFIED, NFTABLES, |_| ());
    }

    /// One message whose answer is wanted.
    pub(super) fn ask(&mut self, ask: Ask, attributes: impl FnOnce(&mut Attributes<'_>)) {
        let flags = NLM_F_REQUEST | NLM_F_ACK | ask.flags();
        let kind = NFTABLES << 8 | ask.number();
        self.message(kind, flags, INET, 0, attributes);
    }

    /// One message that asks for many.
    pub(super) fn dump(&mut self, ask: Ask, attributes: impl FnOnce(&mut Attributes<'_>)) {
        let kind = NFTABLES << 8 | ask.number();
        self.message(kind, NLM_F_REQUEST | NLM_F_DUMP, INET, 0, attributes);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The sequence numbers of the messages so far.
    pub(super) const fn sequences(&self) -> Range<u32> {
        self.first..self.next
    }

    fn message(
        &mut self,
        kind: u16,
        flags: u16,
        family: u8,
        resource: u16,
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]); // the length, once it is known
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(self.next.to_ne_bytes());
        self.bytes.extend([0; 4]); // to the kernel
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        attributes(&mut Attributes(&mut self.bytes));
        let message = self.bytes.get_mut(start..).unwrap_or_default();
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let _written = message.get_mut(..4).map(|head| emit_u32(head, length));
        self.next = self.next.wrapping_add(1);
    }
}

/// Attributes of a message, or of an attribute around them.
#[derive(Debug)]
pub(super) struct Attributes<'a>(&'a mut Vec<u8>);

impl Attributes<'_> {
    pub(super) fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.attribute(kind, |bytes| bytes.extend(value));
    }

    /// A text, with the zero that ends it.
    pub(super) fn text(&mut self, kind: u16, text: &str) {
        self.attribute(kind, |bytes| {
            bytes.extend(text.bytes());
            bytes.push(0);
        });
    }

    pub(super) fn u32(&mut self, kind: u16, number: u32) {
        self.bytes(kind, &number.to_be_bytes());
    }

    pub(super) fn u64(&mut self, kind: u16, number: u64) {
        self.bytes(kind, &number.to_be_bytes());
    }

    pub(super) fn nested(&mut self, kind: u16, inner: impl FnOnce(&mut Attributes<'_>)) {
        self.attribute(kind | NLA_F_NESTED, |bytes| inner(&mut Attributes(bytes)));
    }

    /// An attribute that doesn't fit its 16 bits of length gets one that the kernel refuses.
    fn attribute(&mut self, kind: u16, value: impl FnOnce(&mut Vec<u8>)) {
        let start = self.0.len();
        self.0.extend([0; 2]); // the length, once it is known
        self.0.extend(kind.to_ne_bytes());
        value(self.0);
        let attribute = self.0.get_mut(start..).unwrap_or_default();
        let length = u16::try_from(attribute.len()).unwrap_or(0);
        let _written = attribute.get_mut(..2).map(|head| emit_u16(head, length));
        let padded = self.0.len().next_multiple_of(4);
        self.0.resize(padded, 0);
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{NetlinkBuffer, NlasIterator};

    use super::*;

    #[test]
    fn a_message_reads_back() {
        let mut messages = Messages::from_sequence(7);
        messages.begin();
        messages.ask(Ask::NewTable, |table| {
            table.text(1, "wg0");
            table.nested(2, |inner| inner.u32(3, 4));
        });
        messages.end();
        assert_eq!(messages.sequences(), 7..10);

        let second = NetlinkBuffer::new_checked(&messages.bytes()[20..]).unwrap();
        assert_eq!(second.sequence_number(), 8);
        assert_eq!(second.message_type(), 0x0a00);
        let attributes: Vec<_> = NlasIterator::new(&second.payload()[4..])
            .map(Result::unwrap)
            .map(|attribute| (attribute.kind(), attribute.value().to_vec()))
            .collect();
        let nested = vec![8, 0, 3, 0, 0, 0, 0, 4];
        assert_eq!(attributes, [(1, b"wg0\0".to_vec()), (2, nested)]);
        assert_eq!(messages.bytes().len(), 20 + 20 + 8 + 12 + 20);
    }
}
