//! Calls of what an app wrote in Python: prompts, verifiers, stores, signers, interfaces.
//!
//! The Python half, `mfagate._callbacks.Callbacks`, runs coroutines on the app's event loop and plain
//! functions on a bounded pool of threads. Whatever happens there is one of three things here: a value
//! of the right type, a failure, or nothing within the time limit.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3::{IntoPyObjectExt, intern};
use tokio::sync::oneshot;

use crate::native::bridge::{Outcome, post};

/// Why there is no value. Names the exception's type and repeats nothing of it.
#[derive(Debug)]
pub(crate) struct CallFailed(String);

impl std::fmt::Display for CallFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CallFailed {}

/// An object of the app's, ready to be called from any thread.
#[derive(Clone)]
pub(crate) struct Callbacks(Arc<Py<PyAny>>);

impl Callbacks {
    /// Takes a `mfagate._callbacks.Callbacks`.
    pub(crate) fn new(callbacks: Py<PyAny>) -> Self {
        Self(Arc::new(callbacks))
    }

    /// Calls a method, with arguments that are made while attached, and converts what it returned.
    /// Dropped, it cancels the call.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        method: &'static str,
        limit: Duration,
        arguments: impl for<'py> FnOnce(Python<'py>) -> PyResult<Bound<'py, PyTuple>> + Send + 'static,
        convert: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T> + Send + 'static,
    ) -> Result<T, CallFailed> {
        let (sender, receiver) = oneshot::channel();
        let (started, under_way) = std::sync::mpsc::channel();
        let target = Arc::clone(&self.0);
        post(move |py| {
            let outcome = Outcome::new(Box::new(move |returned| {
                let (converted, raise) = match returned.map(convert) {
                    Ok(Ok(value)) => (Ok(value), Ok(())),
                    Ok(Err(error)) => (
                        Err("it returned a value of a wrong type".to_owned()),
                        Err(error),
                    ),
                    Err(why) => (Err(why), Ok(())),
                };
                _ = sender.send(converted);
                raise
            }));
            let call = arguments(py).and_then(|arguments| {
                let start = (method, arguments, outcome);
                target.call_method1(py, intern!(py, "start"), start)
            });
            // Where it could not be started, the outcome is dropped, which is a failure.
            if let Ok(call) = call {
                _ = started.send(call);
            }
        });
        let _cancel = Cancel(Some(under_way));
        let failed = |why: &str| CallFailed(format!("{method}: {why}"));
        match tokio::time::timeout(limit, receiver).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(why))) => Err(failed(&why)),
            Ok(Err(_)) => Err(failed(
                "it could not be called: the event loop or the interpreter has ended",
            )),
            Err(_) => Err(failed("it took too long")),
        }
    }
}

/// Cancels a call when it is dropped. A call that has ended ignores that.
struct Cancel(Option<std::sync::mpsc::Receiver<Py<PyAny>>>);

impl Drop for Cancel {
    fn drop(&mut self) {
        if let Some(under_way) = self.0.take() {
            // Behind the job that started the call: jobs are carried out in order.
            post(move |py| {
                if let Ok(call) = under_way.try_recv() {
                    _ = call.call_method0(py, intern!(py, "cancel"));
                }
            });
        }
    }
}

/// One text as the arguments of a call.
pub(crate) fn text(
    text: String,
) -> impl for<'py> FnOnce(Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
    move |py| PyTuple::new(py, [text.into_bound_py_any(py)?])
}

/// Arguments that were made without a lifetime.
pub(crate) fn bound(
    make: impl FnOnce(Python<'_>) -> PyResult<Py<PyTuple>> + Send + 'static,
) -> impl for<'py> FnOnce(Python<'py>) -> PyResult<Bound<'py, PyTuple>> + Send + 'static {
    move |py| Ok(make(py)?.into_bound(py))
}
