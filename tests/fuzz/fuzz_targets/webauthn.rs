//! What a client may answer for a passkey: a byte that says which ceremony, and the credential's
//! JSON. The ceremonies are begun once; the credential of the second is one from the corpus.
#![no_main]
