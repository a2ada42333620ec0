//! Stable codes for errors: for logs that are searched, for apps that translate texts, and for other
//! languages, which have no Rust enums.
//!
//! A code is kebab-case, as `gate-unreachable`, and does not change once it was released, while an
//! error's text may. An error that only passes another one on has that one's code.

mod client;
#[cfg(feature = "gate")]
mod factor;
#[cfg(feature = "gate")]
mod gate;
#[cfg(any(feature = "gate", feature = "runtime"))]
mod interface;
#[cfg(test)]
#[cfg(all(feature = "gate", feature = "runtime"))]
mod tests;

pub use crate::error_code::ErrorCode;

/// Gives each variant of each error its code, and the tests the list of them.
macro_rules! codes {
    ($($(#[$meta:meta])* $error:path { $($variant:pat => $code:expr,)+ })+) => {
        $(
            $(#[$meta])*
            impl ErrorCode for $error {
                fn code(&self) -> &'static str {
                    match self {
                        $($variant => $code,)+
                    }
                }
            }
        )+

        #[cfg(all(test, feature = "gate", feature = "runtime"))]
        pub(super) const LIST: &[(&str, &[(&str, &str)])] = &[
            $(
                $(#[$meta])*
                (stringify!($error), &[$((stringify!($variant), stringify!($code)),)+]),
            )+
        ];
    };
}

use codes;
