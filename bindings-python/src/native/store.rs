//! A store written in Python: four calls, over which the core's `Keyed` has the whole of it.

use std::time::Duration;

use async_trait::async_trait;
use mfagate::store::keyed::{
    BackendError, Commit, Entry, Expected, KeyedBackend, Page, Versioned, Write,
};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyList, PyTuple};

use crate::native::callback::{CallFailed, Callbacks, bound};

/// The four calls.
pub(crate) struct Store {
    callbacks: Callbacks,
    limit: Duration,
}

impl Store {
    pub(crate) const fn new(callbacks: Callbacks, limit: Duration) -> Self {
        Self { callbacks, limit }
    }
}

/// Whether a call took effect is not known where it failed.
fn unavailable(error: CallFailed) -> BackendError {
    BackendError::unavailable("the store's own code failed").with_source(error)
}

#[async_trait]
impl KeyedBackend for Store {
    async fn read(&self, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Versioned>>, BackendError> {
        let asked = keys.len();
        let arguments = move |py: Python<'_>| {
            let list = PyList::new(py, keys.iter().map(|key| PyBytes::new(py, key)))?;
            Ok(PyTuple::new(py, [list])?.unbind())
        };
        let read = self
            .callbacks
            .call("read", self.limit, bound(arguments), |found| {
                let found: Vec<Option<(Vec<u8>, u64)>> = found.extract()?;
                let versioned = |(value, version)| Versioned { value, version };
                Ok(found
                    .into_iter()
                    .map(|found| found.map(versioned))
                    .collect())
            });
        let found: Vec<_> = read.await.map_err(unavailable)?;
        if found.len() == asked {
            return Ok(found);
        }
        Err(BackendError::permanent(
            "the store read another number of keys than it was asked for",
        ))
    }

    async fn commit(
        &self,
        expected: Vec<Expected>,
        writes: Vec<Write>,
    ) -> Result<Commit, BackendError> {
        let arguments = move |py: Python<'_>| {
            let expected = PyList::new(
                py,
                expected
                    .iter()
                    .map(|one| (PyBytes::new(py, &one.key), one.version)),
            )?;
            let value = |write: &Write| write.value.as_ref().map(|value| PyBytes::new(py, value));
            let writes = PyList::new(
                py,
                writes
                    .iter()
                    .map(|one| (PyBytes::new(py, &one.key), value(one))),
            )?;
            Ok(PyTuple::new(py, [expected, writes])?.unbind())
        };
        let commit = self
            .callbacks
            .call("commit", self.limit, bound(arguments), |done| {
                // Not whatever is true: a store that forgot to answer has committed nothing.
                let is_committed = done.cast::<PyBool>()?.is_true();
                Ok(if is_committed {
                    Commit::Committed
                } else {
                    Commit::Conflict
                })
            });
        commit.await.map_err(unavailable)
    }

    async fn scan(
        &self,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Page, BackendError> {
        let arguments = move |py: Python<'_>| {
            let after = after.as_ref().map(|after| PyBytes::new(py, after));
            Ok((PyBytes::new(py, &prefix), after, limit)
                .into_pyobject(py)?
                .unbind())
        };
        let scan = self
            .callbacks
            .call("scan", self.limit, bound(arguments), |page| {
                type Entries = Vec<(Vec<u8>, Vec<u8>, u64)>;
                let (entries, has_more): (Entries, Bound<'_, PyAny>) = page.extract()?;
                let has_more = has_more.cast::<PyBool>()?.is_true();
                let entry = |(key, value, version)| Entry {
                    key,
                    found: Versioned { value, version },
                };
                let entries = entries.into_iter().map(entry).collect();
                Ok(Page { entries, has_more })
            });
        scan.await.map_err(unavailable)
    }

    async fn changes(&self, key: Vec<u8>, after: Option<u64>) -> Result<(), BackendError> {
        let arguments =
            move |py: Python<'_>| Ok((PyBytes::new(py, &key), after).into_pyobject(py)?.unbind());
        let changes = self
            .callbacks
            .call("changes", self.limit, bound(arguments), |_| Ok(()));
        changes.await.map_err(unavailable)
    }
}

/// Runs the core's conformance suite for stores, each check on a store that `fresh` makes. For tests:
/// a check that fails is an error that says which.
#[cfg(feature = "testing")]
#[pyfunction]
pub(crate) fn check_store<'py>(
    py: Python<'py>,
    fresh: Py<PyAny>,
    limit: f64,
) -> PyResult<Bound<'py, PyAny>> {
    use crate::native::bridge::{awaitable, runtime};
    use crate::native::failure::Failure;
    use mfagate::store::keyed::Keyed;

    let fresh = Callbacks::new(fresh);
    let limit = crate::native::convert::seconds(limit)?;
    awaitable(py, async move {
        let suite = mfagate::testing::store::conformance(move || {
            let fresh = fresh.clone();
            async move {
                let none = bound(|py| Ok(PyTuple::empty(py).unbind()));
                let made = fresh.call("fresh", limit, none, |made| Ok(made.clone().unbind()));
                let made = made.await.unwrap_or_else(|error| panic!("{error}"));
                let opened = Keyed::open(Store::new(Callbacks::new(made), limit)).await;
                opened.unwrap_or_else(|error| panic!("{error}"))
            }
        });
        let done = runtime()
            .map_err(|_| Failure::panicked())?
            .spawn(suite)
            .await;
        done.map_err(|error| {
            let said = error.try_into_panic().ok().and_then(|panic| {
                let text = panic.downcast_ref::<String>().cloned();
                text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
            });
            Failure::own("not-conformant", said.unwrap_or_default())
        })
    })
}
