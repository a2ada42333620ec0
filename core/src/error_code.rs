//! What every error is made with, below the modules that have one: `code` knows them all.

/// An error, or another reason, with a code.
pub trait ErrorCode {
    /// The code.
    fn code(&self) -> &'static str;
}

/// Makes a public error of a private enum: its text, its source and its code are the enum's. What a
/// program may rely on is then the code, and another reason is no breaking change.
macro_rules! opaque {
    ($(#[$meta:meta])* pub struct $error:ident($fault:ident); $(from $other:ty;)*) => {
        $(#[$meta])*
        pub struct $error(pub(crate) $fault);

        impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(&self.0, f)
            }
        }

        impl std::fmt::Display for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.0, f)
            }
        }

        impl std::error::Error for $error {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                std::error::Error::source(&self.0)
            }
        }

        impl From<$fault> for $error {
            fn from(fault: $fault) -> Self {
                Self(fault)
            }
        }

        impl From<$error> for $fault {
            fn from(error: $error) -> Self {
                error.0
            }
        }

        $(
            impl From<$other> for $error {
                fn from(other: $other) -> Self {
                    Self(other.into())
                }
            }
        )*

        impl crate::error_code::ErrorCode for $error {
            fn code(&self) -> &'static str {
                crate::error_code::ErrorCode::code(&self.0)
            }
        }
    };
}

pub(crate) use opaque;
