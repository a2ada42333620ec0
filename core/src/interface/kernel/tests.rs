//! What can be said without a kernel: which entries a message has, and what a dump means.
