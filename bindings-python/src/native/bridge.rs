//! asyncio on one side, tokio on the other.
//!
//! No thread of tokio's ever attaches to the interpreter: what has to be said to Python is a job, and
//! one thread of this module carries the jobs out, in order. So a program that holds the interpreter
//! for long delays no removal at the gate, and the interpreter's end has one thread to wait for.
//!
//! An attached thread at the interpreter's end is a crash (CPython ends threads in the middle of their
//! frames). `leave`, which `atexit` calls, lets no job begin any more and waits for the one that runs.
//! Jobs call no code of the app's, so that the wait is short: they schedule it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError, mpsc};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::{IntoPyObjectExt, intern};
use tokio::runtime::Runtime;
use tokio::task::{AbortHandle, JoinHandle};

use crate::native::failure::Failure;

/// What is carried out while attached.
type Job = Box<dyn FnOnce(Python<'_>) + Send>;

/// How many jobs are carried out before other threads have a turn.
const AT_ONCE: usize = 64;

/// The runtime of all clients and gates of the process.
pub(crate) fn runtime() -> PyResult<&'static Runtime> {
    static RUNTIME: OnceLock<io::Result<Runtime>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("mfagate")
            .enable_all()
            .build()
    });
    let failed = |error: &io::Error| PyRuntimeError::new_err(error.to_string());
    runtime.as_ref().map_err(failed)
}

/// Has a job carried out while attached. After the interpreter has begun to end it is dropped.
pub(crate) fn post(job: impl FnOnce(Python<'_>) + Send + 'static) {
    static JOBS: OnceLock<Option<mpsc::Sender<Job>>> = OnceLock::new();
    let jobs = JOBS.get_or_init(|| {
        let (sender, jobs) = mpsc::channel();
        let thread = std::thread::Builder::new().name("mfagate-python".to_owned());
        thread.spawn(move || carry_out(&jobs)).ok().map(|_| sender)
    });
    if let Some(jobs) = jobs {
        _ = jobs.send(Box::new(job));
    }
}

fn carry_out(jobs: &mpsc::Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let Some(_inside) = DOOR.enter() else { return };
        Python::attach(|py| {
            for job in std::iter::once(first).chain(jobs.try_iter().take(AT_ONCE)) {
                // A job that panics says nothing, which its receiver takes for a failure.
                _ = catch_unwind(AssertUnwindSafe(|| job(py)));
            }
        });
    }
}

/// Whether the interpreter may be attached to, and whether it is.
struct Door {
    state: Mutex<DoorState>,
    left: Condvar,
}

struct DoorState {
    is_closed: bool,
    is_inside: bool,
}

static DOOR: Door = Door {
    state: Mutex::new(DoorState {
        is_closed: false,
        is_inside: false,
    }),
    left: Condvar::new(),
};

struct Inside;

impl Door {
    fn enter(&self) -> Option<Inside> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_inside = !state.is_closed;
        state.is_inside.then_some(Inside)
    }

    fn close(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_closed = true;
        let left = self.left.wait_while(state, |state| state.is_inside);
        drop(left);
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let mut state = DOOR.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_inside = false;
        DOOR.left.notify_all();
    }
}

/// Called by `atexit`: from its return on, nothing of this library touches the interpreter by itself.
#[pyfunction]
pub(crate) fn leave(py: Python<'_>) {
    py.detach(|| DOOR.close());
}

/// Runs `work` on the runtime; its result becomes that of the asyncio future that is returned. When
/// the future is cancelled, `work` is dropped.
pub(crate) fn awaitable<'py, T>(
    py: Python<'py>,
    work: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> PyResult<Bound<'py, PyAny>>
where
    T: for<'a> IntoPyObject<'a> + Send + 'static,
{
    let asyncio = py.import(intern!(py, "asyncio"))?;
    let event_loop = asyncio.call_method0(intern!(py, "get_running_loop"))?;
    let future = event_loop.call_method0(intern!(py, "create_future"))?;
    let (event_loop, result) = (event_loop.unbind(), future.clone().unbind());
    let runtime = runtime()?;
    let inner = AbortOnDrop(runtime.spawn(work));
    let outer = runtime.spawn(async move {
        let mut inner = inner;
        // A panic of the core's is a failure like another here, not a future that never ends.
        let done = (&mut inner.0)
            .await
            .unwrap_or_else(|_| Err(Failure::panicked()));
        post(move |py| {
            // The loop may be closed by now: then no one waits.
            _ = deliver(py, &event_loop, result, done);
        });
    });
    let canceller = Canceller(outer.abort_handle());
    future.call_method1(intern!(py, "add_done_callback"), (canceller,))?;
    Ok(future)
}

fn deliver<T: for<'a> IntoPyObject<'a>>(
    py: Python<'_>,
    event_loop: &Py<PyAny>,
    future: Py<PyAny>,
    done: Result<T, Failure>,
) -> PyResult<()> {
    static RESOLVE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let resolve = RESOLVE.import(py, "mfagate._callbacks", "resolve")?;
    let (is_ok, value) = match done.map(|value| value.into_py_any(py)) {
        Ok(Ok(value)) => (true, value),
        Ok(Err(error)) => (false, error.into_value(py).into_any()),
        Err(failure) => (false, failure.to_py(py).into_value(py).into_any()),
    };
    let arguments = (resolve, future, is_ok, value);
    event_loop.call_method1(py, intern!(py, "call_soon_threadsafe"), arguments)?;
    Ok(())
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Called when the asyncio future is done: by its result, or because it was cancelled.
#[pyclass(frozen)]
struct Canceller(AbortHandle);

#[pymethods]
impl Canceller {
    fn __call__(&self, _future: &Bound<'_, PyAny>) {
        self.0.abort();
    }
}

/// Runs `work` to its end while the calling thread waits, detached.
pub(crate) fn block_on<T: Send>(
    py: Python<'_>,
    work: impl Future<Output = Result<T, Failure>> + Send,
) -> PyResult<T> {
    let runtime = runtime()?;
    let done = py.detach(|| runtime.block_on(work));
    done.map_err(|failure| failure.to_py(py))
}

/// Takes what became of a call of Python code, once: what comes after is ignored.
#[pyclass(frozen)]
pub(crate) struct Outcome {
    report: Mutex<Option<Report>>,
}

pub(crate) type Report = Box<dyn FnOnce(Result<&Bound<'_, PyAny>, String>) -> PyResult<()> + Send>;

impl Outcome {
    pub(crate) fn new(report: Report) -> Self {
        Self {
            report: Mutex::new(Some(report)),
        }
    }

    fn take(&self) -> Option<Report> {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.take()
    }
}

#[pymethods]
impl Outcome {
    /// The call returned this. A value of a wrong type is a failure, and a `TypeError` here.
    fn returned(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.take().map_or(Ok(()), |report| report(Ok(value)))
    }

    /// The call failed.
    fn failed(&self, why: String) -> PyResult<()> {
        self.take().map_or(Ok(()), |report| report(Err(why)))
    }
}

/// What becomes a Python object once attached.
pub(crate) struct Told<F>(F);

/// A value that `make` makes once attached.
pub(crate) fn told<F>(make: F) -> Told<F>
where
    F: for<'py> FnOnce(Python<'py>) -> PyResult<Bound<'py, PyAny>> + Send,
{
    Told(make)
}

impl<'py, F> IntoPyObject<'py> for Told<F>
where
    F: FnOnce(Python<'py>) -> PyResult<Bound<'py, PyAny>>,
{
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        (self.0)(py)
    }
}
