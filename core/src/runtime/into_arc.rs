//! Values where a builder keeps shared trait objects.

use std::sync::Arc;

#[cfg(feature = "gate")]
use crate::authorise::Authoriser;
#[cfg(feature = "gate")]
use crate::factor::MfaVerifier;
use crate::interface::InterfaceBackend;
use crate::runtime::Transport;
#[cfg(feature = "gate")]
use crate::store::AdminStore;
use crate::time::Clock;

/// What a builder takes for a trait object that it shares: a value, an [`Arc`] of one, or an `Arc`
/// of the trait object.
///
/// ```
/// # #[cfg(feature = "gate")]
/// # {
/// use std::sync::Arc;
///
/// use mfagate::IntoArc;
/// use mfagate::time::{Clock, SystemClock};
///
/// fn take(clock: impl IntoArc<dyn Clock>) -> Arc<dyn Clock> {
///     clock.into_arc()
/// }
/// take(SystemClock::new());
/// take(take(Arc::new(SystemClock::new())));
/// # }
/// ```
pub trait IntoArc<T: ?Sized> {
    /// The shared trait object.
    fn into_arc(self) -> Arc<T>;
}

macro_rules! into_arc {
    ($($object:ident),+) => {$(
        impl<T: $object> IntoArc<dyn $object> for T {
            fn into_arc(self) -> Arc<dyn $object> {
                Arc::new(self)
            }
        }

        impl<T: $object> IntoArc<dyn $object> for Arc<T> {
            fn into_arc(self) -> Arc<dyn $object> {
                self
            }
        }

        impl IntoArc<dyn $object> for Arc<dyn $object> {
            fn into_arc(self) -> Self {
                self
            }
        }
    )+};
}

into_arc!(Clock, InterfaceBackend, Transport);
#[cfg(feature = "gate")]
into_arc!(AdminStore, Authoriser, MfaVerifier);
